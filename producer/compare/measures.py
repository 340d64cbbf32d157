"""Shares, means, likeness and confusion of answers, each with its interval and its number."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections import Counter
from dataclasses import dataclass
from statistics import NormalDist, fmean, quantiles
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Sequence
    from random import Random

#: Standard deviations on either side of an interval of 95 %.
_Z: Final = NormalDist().inv_cdf(0.975)
#: Means of resampled values in a bootstrap, as long as they take no more draws than this.
_RESAMPLES: Final = 2_000
_FEWEST_RESAMPLES: Final = 200
_MOST_DRAWS: Final = 200_000
#: Share of a number by which its last digits may differ.
_ROUNDING: Final = 1e-9
_WORD: Final = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Measured:
    """A figure, its interval, and the number of rows that it rests on."""

    #: None: there is no row.
    value: float | None
    low: float
    high: float
    n: int


# Intervals ----------------------------------------------------------------------------------------


def share(hits: int, n: int) -> Measured:
    """Return a share of rows with its Wilson interval."""
    if n == 0:
        return Measured(None, 0.0, 1.0, 0)
    value, scale = hits / n, 1 + _Z * _Z / n
    centre = (value + _Z * _Z / (2 * n)) / scale
    half = _Z * math.sqrt(value * (1 - value) / n + _Z * _Z / (4 * n * n)) / scale
    # At 0 and 1 the formula gives the bound itself but for rounding.
    low = 0.0 if hits == 0 else max(0.0, centre - half)
    high = 1.0 if hits == n else min(1.0, centre + half)
    return Measured(value, low, high, n)


def mean(values: Sequence[float], random: Random) -> Measured:
    """Return a mean with its interval by the bootstrap's percentiles."""
    if not values:
        return Measured(None, -math.inf, math.inf, 0)
    n = len(values)
    resamples = max(_FEWEST_RESAMPLES, min(_RESAMPLES, _MOST_DRAWS // n))
    means = [fmean(random.choices(values, k=n)) for _ in range(resamples)]
    low, *_, high = quantiles(means, n=40, method="inclusive")
    value = fmean(values)
    return Measured(value, min(low, value), max(high, value), n)


def mean_score(scores: Sequence[float], random: Random) -> Measured:
    """Return the mean of scores from 0 to 1.

    Where all are 0 or 1 resampling can show nothing else: they are a share of rows. Where all are
    alike it shows no width, and as many others may be unseen as of a share that is 0.
    """
    if all(score in (0, 1) for score in scores):
        return share(round(sum(scores)), len(scores))
    if len(set(scores)) == 1:
        value, unseen = scores[0], share(0, len(scores)).high
        return Measured(value, value * (1 - unseen), value + (1 - value) * unseen, len(scores))
    return mean(scores, random)


def difference(first: Sequence[bool], second: Sequence[bool]) -> Measured:
    """Return by how much the second's share of hits is higher, row by row.

    The interval is Bonett and Price's: unlike resampling it has a width where all pairs are alike.
    """
    n = len(first)
    if n == 0:
        return Measured(None, -1.0, 1.0, 0)
    steps = Counter(two - one for one, two in zip(first, second, strict=True))
    gained, lost = ((steps[step] + 1) / (n + 2) for step in (1, -1))
    centre = gained - lost
    half = _Z * math.sqrt((gained + lost - centre * centre) / (n + 2))
    value = (steps[1] - steps[-1]) / n
    low, high = max(-1.0, min(centre - half, value)), min(1.0, max(centre + half, value))
    return Measured(value, low, high, n)


def rows_needed(half_width: float) -> int:
    """Return how many rows tell any share to this half of an interval."""
    return math.ceil((_Z / (2 * half_width)) ** 2)


# Likeness of two values ---------------------------------------------------------------------------


def normalised(text: str) -> str:
    """Return a text without what makes no other answer: case, form of letters, marks, spaces."""
    return " ".join(_WORD.findall(unicodedata.normalize("NFKC", text).casefold()))


def similarity(one: str, other: str) -> float:
    """Return the F1 of the words of two texts, their order left aside."""
    return f1(normalised(one).split(), normalised(other).split())


def f1(one: Iterable[Hashable], other: Iterable[Hashable]) -> float:
    """Return twice the common items by all items; of two empty lists 1."""
    first, second = Counter(one), Counter(other)
    whole = first.total() + second.total()
    return 2 * (first & second).total() / whole if whole else 1.0


def jaccard(one: Iterable[Hashable], other: Iterable[Hashable]) -> float:
    """Return the common items by the items of either; of two empty lists 1."""
    first, second = Counter(one), Counter(other)
    either = (first | second).total()
    return (first & second).total() / either if either else 1.0


def within(one: float, other: float, absolute: float, relative: float) -> bool:
    """Return whether two numbers differ by no more than either tolerance, and rounding."""
    larger = max(abs(one), abs(other))
    return abs(one - other) <= max(absolute, relative * larger) + _ROUNDING * larger


def item(value: object) -> str:
    """Return a JSON value as a countable item: case and spaces left aside, keys sorted."""
    if isinstance(value, str):
        return " ".join(unicodedata.normalize("NFKC", value).casefold().split())
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


# Labels -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LabelScore:
    """How often a label was given, and was right, against a reference."""

    label: str
    precision: Measured
    recall: Measured


def label_scores(pairs: Sequence[tuple[str, str]]) -> list[LabelScore]:
    """Return the scores of each label, of pairs of reference and answer."""
    expected = Counter(reference for reference, _ in pairs)
    given = Counter(answer for _, answer in pairs)
    right = Counter(reference for reference, answer in pairs if reference == answer)
    return [
        LabelScore(
            label,
            precision=share(right[label], given[label]),
            recall=share(right[label], expected[label]),
        )
        for label in sorted(expected | given)
    ]
