"""Estimate tokens and rubles of counted rows: low, expected, high. Pure functions."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil, sqrt
from typing import TYPE_CHECKING, Final

from visionq.contract import Usage
from visionq.ledger.usage import MARGIN_BEFORE
from visionq.pricing.caching import load_caching
from visionq.pricing.prices import cost_nano_rubles
from visionq.pricing.prompt_cache import cache_plan, cached_prefix
from visionq.pricing.vision import forecast_text_tokens

if TYPE_CHECKING:
    from collections.abc import Mapping

    from producer.quote.census import Group
    from visionq.contract import JobDocument, PromptCache
    from visionq.ledger.usage import Output, TokenCalibration
    from visionq.pricing.prices import Price

#: Different prefixes that are counted; each further row counts as writing its own.
_MOST_PREFIXES: Final = 10_000


@dataclass(frozen=True, slots=True)
class Prefix:
    """The part of a job's prompt for the provider's cache."""

    tokens: int = 0
    digest: str = ""
    #: The provider caches whole prompts implicitly; `tokens` are those that it reads again.
    whole: bool = False
    #: The request says what to cache, possibly nothing.
    explicit: bool = True


@dataclass
class SharedPrefixes:
    """The prefixes of a group, in tokens by the tables."""

    #: Tokens that first rows write, and that later rows read.
    written: int = 0
    read: int = 0
    #: Rows whose whole prompt is written, and the tokens that they read.
    whole: int = 0
    whole_read: int = 0
    #: Rows whose request says what to cache.
    explicit: int = 0
    _seen: set[str] = field(default_factory=set)

    def add(self, prefix: Prefix) -> None:
        """Count a row."""
        self.explicit += prefix.explicit
        self.whole += prefix.whole
        if prefix.digest in self._seen:
            self.read += prefix.tokens
            self.whole_read += prefix.tokens if prefix.whole else 0
            return
        self.written += 0 if prefix.whole else prefix.tokens
        if prefix.tokens and len(self._seen) < _MOST_PREFIXES:
            self._seen.add(prefix.digest)


@dataclass(frozen=True, slots=True)
class CacheUse:
    """Tokens read from the cache, written to it, and the most that can be written."""

    read: float = 0
    written: float = 0
    most_written: float = 0


def prefix_of(job: JobDocument, default: PromptCache | None) -> Prefix:
    """Return the prefix of a job; `default` is VISIONQ_PROMPT_CACHE."""
    plan, terms = cache_plan(job, default), load_caching().for_model(job.model or "")
    if plan is None or terms is None:
        return Prefix(explicit=False)
    whole = not plan.options.get("mode")
    text = cached_prefix(job) if plan.breakpoint or whole else ""
    tokens = forecast_text_tokens(text)
    if tokens < terms.min_tokens:
        return Prefix(whole=whole)
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return Prefix(tokens, digest, whole)


def cache_use(
    shared: SharedPrefixes,
    rows: int,
    each: float,
    questions: Mapping[str, int],
    *,
    outputs: Mapping[str, Output],
    calibration: TokenCalibration | None,
) -> CacheUse:
    """Return the cache use of `rows` with `each` tokens of input on average.

    It follows earlier answers to the same questions, else the request's own cache options, else
    earlier answers of the model.
    """
    read = written = known = 0.0
    for question, count in questions.items():
        output = outputs.get(question)
        if output is not None and output.cached is not None:
            known += count
            read += min(each, output.cached) * count
            written += output.written * max(0.0, each - output.cached) * count
    factor = calibration.texts if calibration else 1.0
    of_parts = shared.written + shared.read - shared.whole_read
    most = shared.whole * each + of_parts * factor
    rest = 1 - known / max(1, rows)
    if shared.explicit:
        read += shared.read * factor * rest
        whole = max(0.0, shared.whole * each - shared.whole_read * factor)
        written += (shared.written * factor + whole) * rest
    elif calibration is not None:
        read += calibration.cached * each * rows * rest
        written += calibration.written * each * rows * rest
        most = calibration.written * each * rows
    return CacheUse(read, written, max(most, written))


#: Guessed tokens of an answer without its reasoning, if nothing is known; the quote says that it
#: is a guess. Alt texts, verdicts and a few extracted fields take 20 to 150.
GUESSED_OUTPUT: Final = 100
#: Fewest tokens of an answer.
_LEAST_OUTPUT: Final = 16
#: Error of a calibrated forecast besides the scatter of single answers, as a share.
_DOUBT: Final = 0.02
#: Lower bound of an uncalibrated forecast; the upper one is the margin of reservations.
_LEAST_BEFORE: Final = 0.75
#: Answers to another question are between half and twice as long.
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
    """Tokens of a group of rows, and its cost in nano-rubles if there is a price."""

    input: Span
    output: Span
    cost: tuple[int, int, int] | None
    #: Whether the output follows earlier answers, not guesses.
    output_learned: bool


def estimate(
    group: Group,
    price: Price | None,
    calibration: TokenCalibration | None,
    outputs: Mapping[str, Output],
) -> Estimate:
    """Return the estimate for the rows of one model, detail and effort."""
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
        output_learned=learned,
    )


def _input(group: Group, calibration: TokenCalibration | None) -> Span:
    if calibration is None:
        plain = float(group.pictures + group.texts)
        lowest = (group.least_pictures + group.texts) * _LEAST_BEFORE
        return Span(lowest, plain, plain * MARGIN_BEFORE)
    doubt = _DOUBT + _scatter(calibration.spread, group.rows, calibration.answers)
    expected = calibration.input_tokens(group.pictures, group.texts)
    least = calibration.input_tokens(group.least_pictures, group.texts)
    return Span(least * max(0.0, 1 - doubt), expected, expected * (1 + doubt))


def _scatter(deviation: float, rows: int, answers: int) -> float:
    """Return two standard errors, of the learned mean and of the mean of `rows`."""
    return 2 * deviation * sqrt(1 / max(1, rows) + 1 / max(1, answers))


def _output(
    group: Group, calibration: TokenCalibration | None, outputs: Mapping[str, Output]
) -> tuple[Span, bool]:
    """Return the tokens of all answers, and whether all questions were answered before."""
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
    """Return the cost; at worst the cache reads nothing and writes all that it can."""
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
