"""From answers of all models to a sample, the threshold that keeps a promise of agreement.

The method, its assumptions and its sources are in `docs/cascade.md`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Final

from visionq.sureness import Sureness, is_sure

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: Thresholds from the strictest to the loosest. They are fixed before any answer is seen; as they
#: are tested in this order until the first fails, many of them cost no confidence.
CANDIDATES: Final = tuple(step / 200 for step in range(200, -1, -1))
#: Shares of disagreement by which an audit's evidence is weighed, between the promise and 1.
_ALTERNATIVES: Final = 20
#: Part of the strong model's cost that a ladder must save to be worth it.
_LEAST_SAVING: Final = 0.02
#: By so much a product of floats may miss a whole number.
_ROUNDING: Final = 1e-9
#: Rows of a sample, by the fewest on which the promise can be made.
_USUAL_TIMES: Final = 4


@dataclass(frozen=True, slots=True)
class Promise:
    """The share of rows whose answers agree with the strong model's, and how sure that is."""

    agree: float
    confidence: float

    @property
    def differing(self) -> float:
        """Share of rows that may differ."""
        return 1 - self.agree

    @property
    def risk(self) -> float:
        """Probability with which the promise may be broken."""
        return 1 - self.confidence


@dataclass(frozen=True, slots=True)
class SampledStep:
    """The answer of a model below the strong one."""

    #: Kind → how sure the answer is; empty: no valid answer.
    sureness: Mapping[Sureness, float | None]
    #: Whether it is the strong model's answer.
    agrees: bool
    rub: float


@dataclass(frozen=True, slots=True)
class SampledRow:
    """A row that all models of the ladder have answered."""

    steps: tuple[SampledStep, ...]
    #: Rubles of the strong model's answer.
    strong_rub: float

    def end(self, kind: Sureness, sure_at: float) -> tuple[int, bool, float]:
        """Return who answers this row, whether as the strong model does, and for how much."""
        rub = 0.0
        for place, step in enumerate(self.steps):
            rub += step.rub
            if is_sure(step.sureness.get(kind), sure_at):
                return place, step.agrees, rub
        return len(self.steps), True, rub + self.strong_rub


@dataclass(frozen=True, slots=True)
class Threshold:
    """What a threshold would have done to the sample."""

    kind: Sureness
    sure_at: float
    rows: int
    differing: int
    #: Rubles of a row, and the share of rows that the strong model is asked about.
    rub: float
    strong_share: float

    @property
    def agreement(self) -> float:
        """Share of rows of the sample that agree with the strong model."""
        return 1 - self.differing / self.rows


@dataclass(frozen=True, slots=True)
class Calibration:
    """The cheapest threshold of each kind of sureness that keeps the promise."""

    promise: Promise
    rows: int
    #: Rubles of a row that the strong model alone is asked about.
    strong_rub: float
    #: Kind → its threshold, None where no threshold keeps the promise.
    found: Mapping[Sureness, Threshold | None]

    @property
    def best(self) -> Threshold | None:
        """The cheapest of them, None where the strong model alone costs no more."""
        kept = [one for one in self.found.values() if one is not None]
        best = min(kept, key=lambda one: one.rub, default=None)
        most = self.strong_rub * (1 - _LEAST_SAVING)
        return best if best is not None and best.rub <= most else None


def calibrate(
    rows: Sequence[SampledRow],
    promise: Promise,
    kinds: Sequence[Sureness],
    population: int,
) -> Calibration:
    """Return the thresholds that keep the promise over `population` rows.

    `rows` are drawn from them by lot. The risk is divided among the kinds, as the cheapest of
    them is taken after looking at all.
    """
    found = {
        kind: _loosest(rows, promise, kind, promise.risk / len(kinds), population) for kind in kinds
    }
    strong = fmean(row.strong_rub for row in rows) if rows else math.inf
    return Calibration(promise, len(rows), strong, found)


def _loosest(
    rows: Sequence[SampledRow],
    promise: Promise,
    kind: Sureness,
    risk: float,
    population: int,
) -> Threshold | None:
    """Test thresholds from the strictest on; return the last before the first that fails."""
    met = sorted(
        (
            (sure, place)
            for place, row in enumerate(rows)
            for step in row.steps
            if (sure := step.sureness.get(kind)) is not None
        ),
    )
    differs = [False] * len(rows)
    passed = None
    for sure_at in CANDIDATES:
        before = sum(differs) if passed is not None else None
        while met and met[-1][0] >= sure_at:
            _, place = met.pop()
            differs[place] = not rows[place].end(kind, sure_at)[1]
        if sum(differs) != before:
            chance = chance_of_so_few(sum(differs), len(rows), promise.agree, population)
            if chance > risk:
                break
        passed = sure_at
    return None if passed is None else _measured(rows, kind, passed)


def _measured(rows: Sequence[SampledRow], kind: Sureness, sure_at: float) -> Threshold:
    ends = [(len(row.steps), row.end(kind, sure_at)) for row in rows]
    return Threshold(
        kind=kind,
        sure_at=sure_at,
        rows=len(rows),
        differing=sum(not agrees for _, (_, agrees, _) in ends),
        rub=fmean(rub for _, (_, _, rub) in ends) if ends else math.inf,
        strong_share=fmean(place == last for last, (place, _, _) in ends) if ends else 1.0,
    )


# The bounds ---------------------------------------------------------------------------------------


def chance_of_so_few(differing: int, rows: int, agree: float, population: int) -> float:
    """Return the chance of so few differing rows if the promise is just broken.

    Exact for drawing without replacement: the promise is broken by one row more than may differ.
    """
    broken = math.floor(population * (1 - agree) + _ROUNDING) + 1
    if rows <= 0:
        return 1.0
    return sum(_chance_of(count, rows, broken, population) for count in range(differing + 1))


def _chance_of(count: int, rows: int, broken: int, population: int) -> float:
    """Return the hypergeometric chance of `count` of `broken` rows in a sample."""
    if count > broken or rows - count > population - broken:
        return 0.0
    ways = _log_ways(broken, count) + _log_ways(population - broken, rows - count)
    return math.exp(ways - _log_ways(population, rows))


def _log_ways(whole: int, taken: int) -> float:
    return math.lgamma(whole + 1) - math.lgamma(taken + 1) - math.lgamma(whole - taken + 1)


def fewest_rows(promise: Promise, kinds: int, population: int) -> int | None:
    """Return the fewest rows on which the promise can be made at all."""
    low, high = 1, population
    risk = promise.risk / kinds
    if population == 0 or chance_of_so_few(0, high, promise.agree, population) > risk:
        return None
    while low < high:
        middle = (low + high) // 2
        if chance_of_so_few(0, middle, promise.agree, population) <= risk:
            high = middle
        else:
            low = middle + 1
    return low


def usual_rows(fewest: int) -> int:
    """Return the rows of a sample that leaves room for some answers that differ."""
    return _USUAL_TIMES * fewest


# The audit ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Audit:
    """Rows that were asked of all models while the run went on."""

    promise: Promise
    rows: int = 0
    differing: int = 0

    def and_row(self, *, agrees: bool) -> Audit:
        """Return the audit with one row more."""
        return Audit(self.promise, self.rows + 1, self.differing + (not agrees))

    @property
    def agreement(self) -> float | None:
        """Share of the audited rows that agree."""
        return 1 - self.differing / self.rows if self.rows else None

    @property
    def log_evidence(self) -> float:
        """Return by how much a broken promise explains the audit better than a kept one.

        It may be looked at after every row: while the promise is kept, its exponential reaches
        1 / risk in no more than this share of runs, however long they are.
        """
        usual, agrees = self.promise.differing, self.rows - self.differing
        shares = [
            usual + (1 - usual) * (step / (_ALTERNATIVES + 1)) ** 2
            for step in range(1, _ALTERNATIVES + 1)
        ]
        logs = [
            self.differing * math.log(one / usual) + agrees * math.log((1 - one) / (1 - usual))
            for one in shares
        ]
        most = max(logs)
        return most + math.log(fmean(math.exp(one - most) for one in logs))

    @property
    def has_tripped(self) -> bool:
        """Whether agreement has certainly fallen below the promise."""
        return self.log_evidence >= -math.log(self.promise.risk)

    @property
    def is_doubtful(self) -> bool:
        """Whether the audit speaks for a broken promise rather than for a kept one."""
        return self.log_evidence > 0
