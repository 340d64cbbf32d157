"""What is wrong with values from outside, in one line that begins with the field."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence


def complaint(errors: Sequence[Any]) -> tuple[str, str]:
    """Return the field that the first of pydantic's errors is about, and the line about them."""
    first = errors[0]
    if first["type"] == "json_invalid":
        return "body", f"body: not JSON: {first['ctx']['error']}"
    parts = [str(part) for part in first["loc"] if part not in {"body", "query", "header", "path"}]
    field = ".".join(parts) or "body"
    said = "not supported here"
    allows_none = first["type"] == "too_long" and first["ctx"]["max_length"] == 0
    if first["type"] != "extra_forbidden" and not allows_none:
        said = str(first["msg"]).removeprefix("Value error, ")
        said = said[:1].lower() + said[1:]
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return field, f"{field}: {said}{more}"
