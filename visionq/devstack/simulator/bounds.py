"""Numbers within the bounds that a JSON Schema sets."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class UnsatisfiableError(ValueError):
    """No value was found for a schema."""


def number(schema: Mapping[str, Any], nth: int, *, whole: bool) -> int | float:
    """Return the nth number, from zero or the lower bound on, that the bounds allow."""
    low, above = _bound(schema, "minimum", "exclusiveMinimum", max)
    high, below = _bound(schema, "maximum", "exclusiveMaximum", min)
    multiple = schema.get("multipleOf")
    step = Fraction(str(multiple)) if multiple else Fraction(1)
    if whole and step.denominator != 1:
        step *= step.denominator
    if not whole and not multiple and low is not None and high is not None:
        step = min(step, (high - low) / (nth + 2)) or step
    if low is None:
        start = Fraction(0) if high is None or high > 0 else high
        start = math.floor(start / step) * step
        if high is not None and (start > high or (below and start == high)):
            start -= step
        found = start - nth * step if high is not None else start + nth * step
    else:
        grid = whole or multiple
        start = math.ceil(low / step) * step if grid else low
        if above and start == low:
            start += step
        found = start + nth * step
    if high is not None and (found > high or (below and found == high)):
        raise UnsatisfiableError("no number lies within the bounds")
    return int(found) if whole or found.denominator == 1 else float(found)


def _bound(
    schema: Mapping[str, Any], plain: str, exclusive: str, tighter: Callable[..., Fraction]
) -> tuple[Fraction | None, bool]:
    found = [
        (Fraction(str(schema[name])), name == exclusive)
        for name in (plain, exclusive)
        if schema.get(name) is not None
    ]
    if not found:
        return None, False
    value = tighter(value for value, _ in found)
    return value, any(strict for each, strict in found if each == value)
