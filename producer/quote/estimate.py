"""From counted rows to rubles: what is sure, what is expected, what is the most. Pure functions."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import ceil, sqrt
from typing import TYPE_CHECKING, Final

from producer.quote.caching import cache_use
from visionq.contract import Usage
from visionq.ledger.usage import MARGIN_BEFORE
from visionq.pricing.prices import cost_nano_rubles

if TYPE_CHECKING:
    from collections.abc import Mapping

    from producer.quote.caching import CacheUse
    from producer.quote.census import Group
    from visionq.ledger.usage import Calibration, Output
    from visionq.pricing.prices import Price

#: Tokens of an answer of which nothing is known, without its reasoning: a guess, and said to be
#: one. Alt texts, verdicts and a few extracted fields, what most are asked for, take 20 to 150.
GUESSED_OUTPUT: Final = 100
#: The fewest.
_LEAST_OUTPUT: Final = 16
#: What a calibrated forecast may be off by beside the scatter of single answers, as a share.
_DOUBT: Final = 0.02
#: Of an uncalibrated one, downwards; upwards it is the margin of the reserve.
_LEAST_BEFORE: Final = 0.75
#: An answer of another question: between half and twice as long.
_OTHER_QUESTION: Final = 2.0


@dataclass(frozen=True, slots=True)
class Span:
    """A figure with its bounds."""

    low: float = 0
    expected: float = 0
    high: float = 0

    def __add__(self, other: Span) -> Span:
        return Span(self.low + other.low, self.expected + other.expected, self.high + other.high)


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a group of rows will count, and cost in nano-rubles; no cost without a price."""

    input: Span
    output: Span
    cost: tuple[int, int, int] | None
    #: Whether input and answers' lengths rest on answers, and not on tables and guesses.
    input_learned: bool
    output_learned: bool


def estimate(
    group: Group,
    price: Price | None,
    calibration: Calibration | None,
    outputs: Mapping[str, Output],
) -> Estimate:
    """Return what the rows of one model, detail and effort will cost."""
    taken = _input(group, calibration)
    given, learned = _output(group, calibration, outputs)
    each = taken.expected / max(1, group.rows)
    use = cache_use(
        group.prefixes,
        group.rows,
        each,
        group.questions,
        outputs=outputs,
        calibration=calibration,
    )
    return Estimate(
        input=taken,
        output=given,
        cost=_cost(price, group, taken, given, use) if price else None,
        input_learned=calibration is not None,
        output_learned=learned,
    )


def _input(group: Group, calibration: Calibration | None) -> Span:
    if calibration is None:
        plain = float(group.pictures + group.texts)
        lowest = (group.least_pictures + group.texts) * _LEAST_BEFORE
        return Span(lowest, plain, plain * MARGIN_BEFORE)
    doubt = _DOUBT + _scatter(calibration.spread, group.rows, calibration.answers)
    expected = calibration.input_tokens(group.pictures, group.texts)
    least = calibration.input_tokens(group.least_pictures, group.texts)
    return Span(least * max(0.0, 1 - doubt), expected, expected * (1 + doubt))


def _scatter(deviation: float, rows: int, answers: int) -> float:
    """Return two standard errors: of the mean that was learned, and of that of so many rows."""
    return 2 * deviation * sqrt(1 / max(1, rows) + 1 / max(1, answers))


def _output(
    group: Group, calibration: Calibration | None, outputs: Mapping[str, Output]
) -> tuple[Span, bool]:
    """Return the tokens of all answers, and whether the questions have been answered before."""
    total, known = Span(), 0
    for question, rows in group.questions.items():
        if (output := outputs.get(question)) is not None:
            known += rows
            doubt = _DOUBT * output.mean + _scatter(output.spread, rows, output.answers)
            low, high = max(0.0, output.mean - doubt), output.mean + doubt
            total += Span(low * rows, output.mean * rows, high * rows)
    rest = group.rows - known
    limit = group.limits / max(1, group.rows)
    if rest and calibration is not None:
        mean = min(limit, calibration.output)
        total += Span(mean / _OTHER_QUESTION * rest, mean * rest, mean * _OTHER_QUESTION * rest)
    elif rest:
        guess = GUESSED_OUTPUT + group.reasoning / max(1, group.rows)
        total += Span(min(limit, _LEAST_OUTPUT) * rest, min(limit, guess) * rest, limit * rest)
    most = max(float(group.limits), total.low)
    return Span(total.low, min(total.expected, most), min(total.high, most)), rest == 0


def _cost(
    price: Price, group: Group, taken: Span, given: Span, use: CacheUse
) -> tuple[int, int, int] | None:
    """In the dearest case nothing is read from the cache, and all is written that can be."""
    factors = [(price.tier_factor(tier), rows) for tier, rows in group.tiers.items()]
    if any(factor is None for factor, _ in factors):
        return None
    rows = max(1, group.rows)
    factor = sum(Fraction(each or 1) * count for each, count in factors) / rows if factors else 1

    def cost(tokens: float, answers: float, read: float, written: float) -> int:
        whole = ceil(tokens)
        cached = int(min(whole, read))
        usage = Usage(
            input_tokens=whole,
            cached_tokens=cached,
            cache_write_tokens=int(min(whole - cached, written)),
            output_tokens=ceil(answers),
        )
        return ceil(cost_nano_rubles(price, usage, calls=rows) * factor)

    return (
        cost(taken.low, given.low, use.read, use.written),
        cost(taken.expected, given.expected, use.read, use.written),
        cost(taken.high, given.high, 0, use.most_written),
    )
