"""What is wrong with values from outside, in one line that begins with the field."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

#: The type of errors that say in whole sentences what is not supported: they go before all others.
NOT_SUPPORTED: Final = "not_supported"
#: Of what a client calls the kind of a thing.
_LONGEST_TAG: Final = 64


def complaint(errors: Sequence[Any]) -> tuple[str, str]:
    """Return the field that pydantic's errors are about, and the line about them."""
    first = next((error for error in errors if error["type"] == NOT_SUPPORTED), errors[0])
    if first["type"] == "json_invalid":
        return "body", f"body: not JSON: {first['ctx']['error']}"
    parts = [str(part) for part in first["loc"] if part not in {"body", "query", "header", "path"}]
    field = ".".join(parts) or "body"
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    if first["type"] == NOT_SUPPORTED:
        more = ""
    return field, f"{field}: {_said(first)}{more}"


def _said(error: Any) -> str:  # noqa: ANN401  # pydantic's own type is a loose one
    match error["type"]:
        case "extra_forbidden":
            return "not supported here"
        case "union_tag_invalid":
            tag = str(error["ctx"]["tag"])[:_LONGEST_TAG]
            return f"{tag!r} is not supported; give {error['ctx']['expected_tags']}"
        case _:
            said = str(error["msg"]).removeprefix("Value error, ")
            return said[:1].lower() + said[1:]
