"""Regular expressions that callers write into schemas, applied in bounded time.

They are of JavaScript's dialect (ECMA 262), as JSON Schema has it. The engine takes time in
proportion to the text; the few expressions that it can't have, those with lookaheads or references
to groups, are tried step by step, up to a number of steps, on texts of ordinary length.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from jsonschema_rs import Validator

#: Characters of an expression, and bytes of memory that one may take when it is made ready.
MAX_LENGTH: Final = 1000
_MAX_COMPILED: Final = 4_000_000
_MAX_STATES: Final = 1_000_000
#: Steps back for an expression outside the linear engine, and characters of a text for one.
_MAX_STEPS: Final = 1000
MAX_TEXT: Final = 1000


@dataclass(frozen=True, slots=True)
class Pattern:
    """An expression made ready."""

    is_linear: bool
    _validator: Validator

    def is_in(self, text: str) -> bool:
        """Return whether the expression is found anywhere in the text.

        Raises:
            ValueError: the text is too long for an expression outside the linear engine.
        """
        if not self.is_linear and len(text) > MAX_TEXT:
            raise ValueError(
                f"a pattern with a lookahead or a reference is held against {MAX_TEXT:,} characters"
                f" at most, and this text has {len(text):,}"
            )
        return self._validator.is_valid(text)


@lru_cache(maxsize=64)
def compiled(pattern: str) -> Pattern:
    """Return the expression made ready.

    Raises:
        ValueError: it is none, or too large.
    """
    from jsonschema_rs import FancyRegexOptions, RegexOptions  # noqa: PLC0415  # slow to import

    if len(pattern) > MAX_LENGTH:
        raise ValueError(f"a pattern of more than {MAX_LENGTH:,} characters")
    bounds = {"size_limit": _MAX_COMPILED, "dfa_size_limit": _MAX_STATES}
    linear = _validator(pattern, RegexOptions(**bounds))
    if linear is not None:
        return Pattern(is_linear=True, _validator=linear)
    stepwise = _validator(pattern, FancyRegexOptions(backtrack_limit=_MAX_STEPS, **bounds))
    if stepwise is None:
        raise ValueError(f"not a regex, or one of too many repetitions: {pattern!r}")
    return Pattern(is_linear=False, _validator=stepwise)


def _validator(pattern: str, options: Any) -> Validator | None:  # noqa: ANN401  # of either engine
    from jsonschema_rs import Draft202012Validator, ValidationError  # noqa: PLC0415  # slow to import

    try:
        return Draft202012Validator({"pattern": pattern}, pattern_options=options)
    except (ValidationError, UnicodeEncodeError):
        return None
