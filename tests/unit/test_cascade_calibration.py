"""The threshold of a cascade keeps its promise, in worlds whose truth is known."""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random
from statistics import fmean
from typing import TYPE_CHECKING, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producer.cascade.calibration import (
    Audit,
    Promise,
    SampledRow,
    SampledStep,
    calibrate,
    chance_of_so_few,
    fewest_rows,
    usual_rows,
)
from tests.support.docs_blocks import ROOT
from visionq.sureness import Sureness

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

PROMISE: Final = Promise(agree=0.95, confidence=0.95)
ROWS: Final = 2_000
AUDITED: Final = 20
PAGE: Final = ROOT / "docs" / "cascade.md"
#: What the cheap model costs where the strong one costs 1.
CHEAP: Final = 0.1
FIELD, AGREEMENT = Sureness.FIELD, Sureness.AGREEMENT


# Worlds -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class World:
    """How a cheap model answers: its sureness and its rightness, row by row."""

    rows: Sequence[tuple[float, bool]]
    #: The rows as the sample sees them, before the model changes.
    at_first: Sequence[tuple[float, bool]]


def peaked(random: Random, power: int) -> float:
    """Draw from the beta distribution (power, 1)."""
    return math.pow(random.random(), 1 / power)


def middling(random: Random) -> float:
    """Draw from the beta distribution (2, 2)."""
    return sorted((random.random(), random.random(), random.random()))[1]


def informed(random: Random, right: float) -> tuple[float, bool]:
    """Return an answer whose sureness is higher where it is right."""
    is_right = random.random() < right
    return peaked(random, 6) if is_right else middling(random), is_right


def steady(draw: Callable[[Random], tuple[float, bool]], random: Random) -> World:
    rows = [draw(random) for _ in range(ROWS)]
    return World(rows, rows)


def easy(random: Random) -> World:
    right = random.uniform(0.93, 0.995)
    return steady(lambda draw: informed(draw, right), random)


def hard(random: Random) -> World:
    right = random.uniform(0.4, 0.85)
    return steady(lambda draw: informed(draw, right), random)


def adversarial(random: Random) -> World:
    """Sureness that says nothing, is the same for all, or is highest where answers are wrong."""
    right, kind = random.uniform(0.9, 0.97), random.randrange(3)

    def draw(random: Random) -> tuple[float, bool]:
        is_right = random.random() < right
        if kind == 0:
            return random.random(), is_right
        if kind == 1:
            return 0.99, is_right
        return middling(random) if is_right else peaked(random, 8), is_right

    return steady(draw, random)


def drifting(random: Random) -> World:
    """A model that is replaced while the run goes on, and is as sure as before."""
    right, then = random.uniform(0.8, 0.97), random.randrange(ROWS)
    worse = random.uniform(0.1, 0.6)
    at_first = [informed(random, right) for _ in range(ROWS)]
    rows = [
        (sure, is_right and not (place >= then and random.random() < worse))
        for place, (sure, is_right) in enumerate(at_first)
    ]
    return World(rows, at_first)


# Runs ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Run:
    """What became of a run in a world."""

    agreement: float
    rub: float
    is_stopped: bool
    has_threshold: bool

    @property
    def is_broken(self) -> bool:
        return not self.is_stopped and self.agreement < PROMISE.agree

    @property
    def saved(self) -> float:
        return 1 - self.rub / ROWS


def sampled(rows: Sequence[tuple[float, bool]]) -> list[SampledRow]:
    return [SampledRow((SampledStep({FIELD: sure}, right, CHEAP),), 1.0) for sure, right in rows]


def run_in(world: World, random: Random) -> Run:
    fewest = fewest_rows(PROMISE, 1, ROWS)
    assert fewest is not None
    sample = set(random.sample(range(ROWS), usual_rows(fewest)))
    found = calibrate(
        sampled([world.at_first[place] for place in sorted(sample)]), PROMISE, [FIELD], ROWS
    )
    best, audit = found.best, Audit(PROMISE)
    rub, differing = len(sample) * (1 + CHEAP), 0
    for place, (sure, is_right) in enumerate(world.rows):
        if place in sample:
            continue
        if best is None:
            rub += 1
            continue
        is_sure = sure >= best.sure_at
        if random.randrange(AUDITED) == 0:
            audit = audit.and_row(agrees=is_right or not is_sure)
            rub += 1 + CHEAP
            if audit.has_tripped:
                return Run(1 - differing / ROWS, rub, is_stopped=True, has_threshold=True)
        else:
            differing += is_sure and not is_right
            rub += CHEAP if is_sure else 1 + CHEAP
    agreement = 1 - differing / ROWS
    return Run(agreement, rub, is_stopped=audit.is_doubtful, has_threshold=best is not None)


WORLDS: Final = {"easy": easy, "hard": hard, "adversarial": adversarial, "drifting": drifting}


def runs_of(kind: str, count: int = 50) -> list[Run]:
    found = []
    for seed in range(count):
        random = Random(f"{kind}/{seed}")
        found.append(run_in(WORLDS[kind](random), random))
    return found


def test_the_promise_is_kept_in_two_hundred_worlds() -> None:
    """It is broken in no more worlds than its confidence allows; where models are good it saves."""
    worlds = {kind: runs_of(kind) for kind in WORLDS}
    broken = {kind: sum(run.is_broken for run in runs) for kind, runs in worlds.items()}
    assert sum(broken.values()) <= PROMISE.risk * 200, broken
    # Only a model that changes after the sample breaks more than one promise in fifty.
    assert all(broken[kind] <= 1 for kind in ("easy", "hard", "adversarial")), broken
    stopped = {kind: sum(run.is_stopped for run in runs) for kind, runs in worlds.items()}
    assert all(stopped[kind] <= 2 for kind in ("easy", "hard", "adversarial")), stopped
    assert stopped["drifting"] >= 30
    table = "".join(
        f"| {kind} | {sum(run.has_threshold for run in runs)} | {broken[kind]} | {stopped[kind]}"
        f" | {fmean(run.saved for run in runs):.0%} |\n"
        for kind, runs in worlds.items()
    )
    assert table in PAGE.read_text("utf-8")


def test_no_threshold_is_found_where_sureness_misleads() -> None:
    """Answers that are surest where they are wrong leave the strong model alone."""
    random = Random(7)
    rows = [(0.99, False) if random.random() < 0.1 else (0.5, True) for _ in range(400)]
    found = calibrate(sampled(rows), PROMISE, [FIELD], 100_000)
    threshold = found.found[FIELD]
    assert threshold is not None
    assert threshold.strong_share == 1
    assert found.best is None


def test_the_better_kind_of_sureness_is_taken() -> None:
    """Of a field that says nothing and of two answers that agree, the second is measured."""
    random = Random(3)
    rows = []
    for _ in range(300):
        first, second = random.random() < 0.9, random.random() < 0.9
        sure = random.random()
        steps = (
            SampledStep({FIELD: sure, AGREEMENT: None}, first, CHEAP),
            SampledStep({FIELD: sure, AGREEMENT: float(first == second)}, second, CHEAP),
        )
        rows.append(SampledRow(steps, 1.0))
    found = calibrate(rows, PROMISE, [FIELD, AGREEMENT], 100_000)
    assert found.best is not None
    assert found.best.kind is AGREEMENT
    assert found.best.rub == pytest.approx(2 * CHEAP + found.best.strong_share)


def test_a_dear_ladder_is_no_ladder() -> None:
    """A cheap model that costs what it saves leaves the strong one alone."""
    rows = [SampledRow((SampledStep({FIELD: 0.9}, agrees=True, rub=1.2),), 1.0)] * 100
    found = calibrate(rows, PROMISE, [FIELD], 100_000)
    assert found.found[FIELD] is not None
    assert found.best is None


def test_an_invalid_answer_always_goes_up() -> None:
    """An answer without a sureness is never taken, even at the loosest threshold."""
    rows = [SampledRow((SampledStep({}, agrees=False, rub=CHEAP),), 1.0)] * 100
    found = calibrate(rows, PROMISE, [FIELD], 100_000).found[FIELD]
    assert found is not None
    assert (found.sure_at, found.strong_share, found.differing) == (0.0, 1.0, 0)


# The bounds ---------------------------------------------------------------------------------------


def test_the_chance_is_that_of_the_binomial_for_many_rows() -> None:
    """Drawn from millions, a sample is as if drawn with replacement; from few it says more."""
    exact = sum(math.comb(200, k) * 0.05**k * 0.95 ** (200 - k) for k in range(5))
    assert chance_of_so_few(4, 200, 0.95, 5_000_000) == pytest.approx(exact, rel=0.01)
    assert chance_of_so_few(4, 200, 0.95, 300) < exact / 10


@given(
    st.floats(0.5, 0.999),
    st.floats(0.5, 0.999),
    st.integers(1, 3),
    st.integers(1, 100_000),
)
def test_the_fewest_rows_are_the_fewest(
    agree: float, confidence: float, kinds: int, population: int
) -> None:
    """With one row less nothing can be promised at all."""
    promise = Promise(agree, confidence)
    fewest = fewest_rows(promise, kinds, population)
    if fewest is None:
        return
    risk = promise.risk / kinds
    assert chance_of_so_few(0, fewest, agree, population) <= risk
    assert chance_of_so_few(0, fewest - 1, agree, population) > risk


def test_fewest_rows_of_a_usual_promise() -> None:
    """The documentation says how many rows a promise needs, and when an audit trips."""
    page = PAGE.read_text("utf-8")
    for agree in (0.8, 0.9, 0.95, 0.98, 0.99):
        fewest = fewest_rows(Promise(agree, 0.95), 1, 1_000_000)
        assert fewest is not None
        assert f"| {agree:g} | {fewest} | {usual_rows(fewest)} |\n" in page
    assert fewest_rows(PROMISE, 2, 1_000_000) == 72
    assert "5 differing of 20 rows, 14 of 100, 22 of 200 or 75 of 1,000" in page
    for differing, rows in ((5, 20), (14, 100), (22, 200), (75, 1_000)):
        assert Audit(PROMISE, rows, differing).has_tripped
        assert not Audit(PROMISE, rows, differing - 1).has_tripped


@given(st.integers(0, 400), st.integers(0, 400))
def test_more_differing_rows_are_more_evidence(agreeing: int, differing: int) -> None:
    """Evidence grows with each row that differs, and falls with each that agrees."""
    here = Audit(PROMISE, agreeing + differing, differing)
    assert here.and_row(agrees=False).log_evidence > here.log_evidence
    assert here.and_row(agrees=True).log_evidence < here.log_evidence


def test_an_audit_stops_few_runs_that_keep_the_promise() -> None:
    """Looked at after each of a thousand rows, it trips in no more runs than the risk."""
    tripped = 0
    for seed in range(200):
        random, audit = Random(seed), Audit(PROMISE)
        for _ in range(1_000):
            agrees = random.random() >= PROMISE.differing
            audit = audit.and_row(agrees=agrees)
            if not agrees and audit.has_tripped:  # an agreeing row can't trip it
                tripped += 1
                break
    assert tripped <= PROMISE.risk * 200
