"""Measure how much of the provider's limit a fleet reaches, and how often it is refused.

A real fleet works through a backlog against a simulator that allows R requests a minute, with a
burst of one second. The figures come from the simulator's bill. Slow cases run side by side, each
with its own Redis, simulator and workers; the others run alone.
"""

from __future__ import annotations

import json
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks.comparison import progress
from benchmarks.rate_limit.cases import SETTLING, THREADS, Case, groups, quick_cases
from benchmarks.rate_limit.judging import COLUMNS, in_words, judged, reached
from benchmarks.tables import Cells, Table
from tests.support.fleet import Fleet, running_fleet
from tests.support.pictures import picture
from visionq.contract.limits import Limits
from visionq.ledger import Ledger
from visionq.ledger.rate_limits import OPERATOR
from visionq.names import DISPATCHER
from visionq.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

#: Longest window, as a multiple of its expected duration.
_PATIENCE: Final = 1.15
_MODEL: Final[str] = Settings.model_fields["default_model"].default
_FAILURES: Final = (AssertionError, RuntimeError, OSError, ValueError)


def measure(*, quick: bool = False) -> list[Table]:
    """Measure all cases, or with `quick` the four most telling."""
    fastest = _unlimited()
    progress(f"  rate limit: unlimited: {fastest:,.0f} calls a minute")
    rows = [
        row
        for group in ((quick_cases(),) if quick else groups(fastest))
        for row in _side_by_side(group)
    ]
    note = (
        f"Unlimited, this machine made {fastest:,.0f} calls a minute in the same run; no R is"
        " above 90 % of that. Where R changes, 30 s or 30 calls pass before the measurement; where"
        f" it is unknown, {SETTLING['unknown']:.0f} s of learning. `takes a call`: jobs taken from"
        " their lanes for each call, from the first on; each is one claim and one decode."
    )
    title = "rate limit: a fleet at the provider's limit"
    return [Table(title, COLUMNS, tuple(rows), note), reached(rows)]


def _side_by_side(cases: Sequence[Case]) -> list[Cells]:
    """Start the fleets one by one, since starting is CPU-bound; measure them together."""
    with ExitStack() as stack, ThreadPoolExecutor(len(cases)) as pool:
        fleets: list[Fleet | str] = []
        for case in cases:
            try:
                fleets.append(stack.enter_context(_fleet(case)))
            except _FAILURES as error:
                fleets.append(f"the fleet did not start: {error}")
        return list(pool.map(_row, cases, fleets))


def _row(case: Case, fleet: Fleet | str) -> Cells:
    try:
        found = fleet if isinstance(fleet, str) else _measured(case, fleet)
    except _FAILURES as error:
        found = str(error)
    row = judged(case, found)
    progress(f"  rate limit: {case.name}: {in_words(row)}")
    return row


def _unlimited() -> float:
    """Return the calls a minute of this machine without a limit."""
    with _fleet(Case(0, "unknown", 1)) as fleet:
        _submit(fleet, 1500)
        _until(fleet, 200, time.monotonic() + 60)
        before, started = fleet.simulator.bill(), time.monotonic()
        _until(fleet, 1200, started + 60)
        after = fleet.simulator.bill()
        return float(after["calls"] - before["calls"]) * 60 / (time.monotonic() - started)


def _measured(case: Case, fleet: Fleet) -> dict[str, float]:
    limit = partial(fleet.simulator.configure, rate_headers=case.source == "headers")
    limit(requests_per_minute=case.rate)
    _submit(fleet, case.jobs)
    time.sleep(SETTLING[case.source])
    if case.then:
        limit(requests_per_minute=case.then)
        if case.source == "setting":
            limits = {_MODEL: Limits(requests_per_minute=case.then)}
            Ledger(fleet.redis).set_limits(OPERATOR, limits)
        time.sleep(case.adapting)
    before, started = fleet.simulator.bill(), time.monotonic()
    _until(
        fleet, before["calls"] + case.calls, started + case.calls * 60 / case.measured * _PATIENCE
    )
    after, seconds = fleet.simulator.bill(), time.monotonic() - started
    calls, billed = after["calls"] - before["calls"], after["billed"] - before["billed"]
    taken: Any = fleet.redis.hget(DISPATCHER, "turn")
    return {
        "calls": float(calls),
        "reached": billed * 60 / seconds / case.measured * 100,
        "refused": (calls - billed) * 100 / max(1, calls),
        "takes": int(taken) / max(1, after["calls"]),
    }


def _until(fleet: Fleet, calls: int, end: float) -> None:
    while fleet.simulator.bill()["calls"] < calls and time.monotonic() < end:
        time.sleep(0.1)


@contextmanager
def _fleet(case: Case) -> Iterator[Fleet]:
    limits = {_MODEL: {"requests_per_minute": case.rate}}
    with (
        tempfile.TemporaryDirectory(prefix="visionq-rate-limit-") as folder,
        running_fleet(
            Path(folder),
            workers=case.workers,
            concurrency=THREADS // case.workers,
            extra={"VISIONQ_LIMITS": json.dumps(limits)} if case.source == "setting" else {},
        ) as fleet,
    ):
        yield fleet


def _submit(fleet: Fleet, count: int) -> None:
    """Submit equal jobs without reuse: one picture is enough."""
    image = picture(1)
    job = {"prompt": "Что изображено?", "images": [image], "reuse": "off", "max_output_tokens": 64}
    for _ in fleet.client.submit_many(dict(job) for _ in range(count)):
        pass
