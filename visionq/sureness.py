"""How sure a model is of an answer: a number from 0 to 1, or None where that can't be told."""

from __future__ import annotations

import json
import math
import unicodedata
from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

#: The field of an answer that says it, unless another is named.
USUAL_FIELD: Final = "confidence"


class Sureness(StrEnum):
    """By what an answer is trusted."""

    FIELD = "field"
    """A field of the answer in which the model says how sure it is."""
    LOGPROBS = "logprobs"
    """The probability that the model gave to what it wrote."""
    AGREEMENT = "agreement"
    """Whether two models have given the same answer."""


def field_sureness(data: object, field: str) -> float | None:
    """Return the number from 0 to 1 in a field, named by a dotted path."""
    for name in field.split("."):
        if not isinstance(data, Mapping):
            return None
        data = data.get(name)
    if isinstance(data, bool) or not isinstance(data, int | float) or not 0 <= data <= 1:
        return None
    return float(data)


def logprob_sureness(logprobs: Sequence[float]) -> float | None:
    """Return the geometric mean of the probabilities of an answer's tokens."""
    if not logprobs or not all(math.isfinite(one) for one in logprobs):
        return None
    return min(1.0, math.exp(math.fsum(logprobs) / len(logprobs)))


def agreement_sureness(one: str, other: str, field: str = USUAL_FIELD) -> float:
    """Return 1 where two texts give the same answer, else 0.

    In JSON the order of names and items does not count, nor does the field with the sureness.
    """
    first, second = (_comparable(_parsed(text), field) for text in (one, other))
    return float(first == second)


def is_sure(sureness: float | None, sure_at: float | None) -> bool:
    """Return whether an answer is sure enough; with None for a threshold no answer is."""
    return sureness is not None and sure_at is not None and sureness >= sure_at


def _parsed(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _comparable(value: object, field: str) -> str:
    """Return a text that is the same for the same answer."""
    if isinstance(value, str):
        return " ".join(unicodedata.normalize("NFKC", value).casefold().split())
    if isinstance(value, Mapping):
        name, _, rest = field.partition(".")
        kept = {
            key: _comparable(one, rest if key == name else "")
            for key, one in value.items()
            if field == "" or key != name or rest
        }
        return json.dumps(kept, sort_keys=True)
    if isinstance(value, list):
        return json.dumps(sorted(_comparable(one, "") for one in value))
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return json.dumps(value)
