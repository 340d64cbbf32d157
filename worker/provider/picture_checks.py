"""Ask the model to judge the pictures, beside the job's question.

The answer that the user wants becomes one field of an object, the report on the pictures another:
one call, one price. Readers see the answer as if nothing else had been asked.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from worker.provider.schema import Mismatch, parse_answer

if TYPE_CHECKING:
    from collections.abc import Sequence

#: What a requirement of `PictureOptions` means to the model.
MEANINGS: Final = {
    "text": "readable text, letters or numbers anywhere in the picture",
    "logo": "a logo or trademark of a company or product",
    "watermark": "a watermark laid over the picture",
    "nsfw": "nudity, sexual content, or graphic violence",
}
_ANSWER: Final = "answer"
_REPORT: Final = "picture_report"
#: Place of the job's own schema, out of the way of its own names.
_OWN: Final = "visionq_answer"
#: Tokens of the wrapping, of each picture's object, and of each flag in it; on the high side.
_WRAP_TOKENS: Final = 32
_PICTURE_TOKENS: Final = 8
_FLAG_TOKENS: Final = 8


@dataclass(frozen=True, slots=True)
class Opened:
    """The answer taken out of its wrapping."""

    text: str
    #: For each picture what the model found; None where it gave no report that can be used.
    findings: tuple[frozenset[str], ...] | None


def instruction(asked: Sequence[str], pictures: int) -> str:
    """Return the text to append to the job's instructions."""
    flags = "; ".join(f"`{name}`: {MEANINGS[name]}" for name in asked)
    return (
        f"Reply with a JSON object of two fields. `{_ANSWER}`: the reply to the user, exactly as it"
        f" would be without these lines. `{_REPORT}`: a list of {pictures} objects, one for each"
        f" picture in order, that say whether the picture shows it: {flags}."
    )


def wrapped_schema(
    asked: Sequence[str], pictures: int, own: dict[str, Any] | None
) -> dict[str, Any]:
    """Return the schema of the wrapping around the job's own, or around a plain text."""
    report = {
        "type": "object",
        "properties": {name: {"type": "boolean"} for name in asked},
        "required": list(asked),
        "additionalProperties": False,
    }
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {
            _ANSWER: {"type": "string"} if own is None else {"$ref": f"#/$defs/{_OWN}"},
            _REPORT: {"type": "array", "items": report, "minItems": pictures, "maxItems": pictures},
        },
        "required": [_ANSWER, _REPORT],
        "additionalProperties": False,
    }
    if own is not None:
        schema |= _placed(own)
    return schema


def _placed(own: dict[str, Any]) -> dict[str, Any]:
    """Return the definitions of the wrapping: the job's schema, its references still right."""
    if "$id" in own:  # a document of its own: references are resolved inside it
        return {"$defs": {_OWN: own}}
    shared = {name: own[name] for name in ("definitions",) if name in own}
    root = {key: value for key, value in own.items() if key not in {"$defs", "definitions"}}
    root.pop("$schema", None)
    moved = _repointed({"root": root, "$defs": own.get("$defs", {}), **shared})
    placed: dict[str, Any] = {"$defs": {**moved["$defs"], _OWN: moved["root"]}}
    return placed | {name: moved[name] for name in shared}


def _repointed(node: Any) -> Any:  # noqa: ANN401  # any JSON value
    """Point references to the root, or into it, to its new place."""
    if isinstance(node, list):
        return [_repointed(child) for child in node]
    if not isinstance(node, dict):
        return node
    moved = {key: _repointed(child) for key, child in node.items()}
    reference = node.get("$ref")
    if isinstance(reference, str) and (reference == "#" or reference.startswith("#/")):
        stays = reference.startswith(("#/$defs/", "#/definitions/"))
        moved["$ref"] = reference if stays else f"#/$defs/{_OWN}{reference[1:]}"
    return moved


def extra_tokens(asked: Sequence[str], pictures: int) -> int:
    """Return by how many tokens the report makes an answer longer, at most."""
    if not asked:
        return 0
    return _WRAP_TOKENS + pictures * (_PICTURE_TOKENS + _FLAG_TOKENS * len(asked))


def open_answer(
    text: str, asked: Sequence[str], pictures: int, own: dict[str, Any] | None
) -> Opened:
    """Take the answer out of its wrapping, if it has one."""
    try:
        found = parse_answer(text, {"type": "object", "required": [_ANSWER]})
    except Mismatch:
        return Opened(text, None)
    answer = found[_ANSWER]
    if own is None and not isinstance(answer, str):
        return Opened(text, None)
    plain = answer if own is None else json.dumps(answer, ensure_ascii=False)
    return Opened(plain, _findings(found.get(_REPORT), asked, pictures))


def _findings(
    report: object, asked: Sequence[str], pictures: int
) -> tuple[frozenset[str], ...] | None:
    if not isinstance(report, list) or len(report) != pictures:
        return None
    if not all(isinstance(item, dict) and set(asked) <= item.keys() for item in report):
        return None
    return tuple(frozenset(name for name in asked if item[name] is True) for item in report)
