"""The identity of a question: same pictures, same question, same model, and the same tenant."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

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
