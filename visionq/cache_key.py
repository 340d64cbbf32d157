"""The identity of a question: same pictures, same question, same model, and the same tenant."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from visionq.contract import JobDocument

#: Fields that shape the answer, besides the pictures.
_SHAPING: Final = frozenset(
    {
        "prompt",
        "instructions",
        "model",
        "api",
        "detail",
        "answer_schema",
        "max_output_tokens",
        "temperature",
        "tenant",
    }
)
#: The same, left out where they hold their default, so that answers stored before there was such a
#: field are still found.
_SHAPING_SINCE: Final = frozenset({"service_tier", "extra_body", "effort"})


#: Fields that shape a call, besides the answer.
_OF_THE_CALL: Final = frozenset({"url_mode", "prompt_cache", "prompt_cache_ttl"})
#: What jobs that share a call may differ in, besides their answers' form and fate.
_OWN_IN_SHARED_CALL: Final = frozenset({"prompt", "answer_schema", "max_output_tokens"})


#: Keywords whose meaning depends on the place of a schema in its document.
_ANCHORED: Final = ("$id", "$anchor", "$dynamicRef", "$dynamicAnchor", "$recursiveRef")
#: Questions of one call.
MOST_QUESTIONS: Final = 16


def together_key(job: JobDocument) -> str:
    """Return the key of jobs that may share a call; empty: asked alone."""
    is_plain = job.answer_format is None and not (job.pictures.asked_of_model or job.further_models)
    if not (job.together and is_plain and _is_movable(job.answer_schema)):
        return ""
    shape = job.model_dump(mode="json", include={*_SHAPING, *_SHAPING_SINCE, *_OF_THE_CALL})
    kept = {name: value for name, value in shape.items() if name not in _OWN_IN_SHARED_CALL}
    kept["pictures"] = job.pictures.model_dump(mode="json", exclude_defaults=True)
    kept["images"] = [image.blob or image.url for image in job.images]
    text = json.dumps(kept, ensure_ascii=False, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _is_movable(schema: Mapping[str, Any] | None) -> bool:
    """Return whether a schema means the same inside another one."""
    if schema is None:
        return True
    return not any(keyword in node for node in _objects(schema) for keyword in _ANCHORED)


def _objects(node: object) -> Iterator[Mapping[str, Any]]:
    if isinstance(node, dict):
        yield node
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    for child in children:
        yield from _objects(child)


def cache_key(job: JobDocument, pictures: Sequence[str], *, shared: bool = False) -> str:
    """Return the cache key of a job; `pictures` are their sha256, in order.

    `shared`: the key is the same for every tenant.
    """
    shape = job.model_dump(mode="json", include=set(_SHAPING))
    shape |= job.model_dump(mode="json", include=set(_SHAPING_SINCE), exclude_defaults=True)
    if shared:
        del shape["tenant"]
    if options := job.pictures.model_dump(mode="json", exclude_defaults=True):
        shape["pictures"] = options
    text = json.dumps([shape, *pictures], ensure_ascii=False, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
