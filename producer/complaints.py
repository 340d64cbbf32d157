"""What is wrong with values from outside, in one line that begins with the field."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from visionq.input_errors import also, wording

if TYPE_CHECKING:
    from collections.abc import Sequence

#: The type of errors that say in whole sentences what is not supported: they go before all others.
NOT_SUPPORTED: Final = "not_supported"


def complaint(errors: Sequence[Any]) -> tuple[str, str]:
    """Return the field that pydantic's errors are about, and the line about them."""
    first = next((error for error in errors if error["type"] == NOT_SUPPORTED), errors[0])
    if first["type"] == "json_invalid":
        return "body", f"body: {wording(first)}"
    field = ".".join(_path(first)) or "body"
    said = "not supported here" if first["type"] == "extra_forbidden" else wording(first)
    if first["type"] != NOT_SUPPORTED:
        # What stands below them pydantic names as it tries them, one form of a value after another.
        said += also([(_path(error) or ["body"])[0] for error in (first, *errors)])
    return field, f"{field}: {said[:1].lower()}{said[1:]}"


def _path(error: Any) -> list[str]:  # noqa: ANN401  # pydantic's own type is a loose one
    return [str(part) for part in error["loc"] if part not in {"body", "query", "header", "path"}]
