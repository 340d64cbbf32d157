"""Large fleets simulated at measured costs; small ones real and simulated side by side."""

from __future__ import annotations

import os
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from typing import Final

from benchmarks.comparison import load, progress
from benchmarks.pictures import photo_file
from benchmarks.scale.real import LATENCY, THREADS, Real, fleet_of, measured
from benchmarks.scale.simulation import Costs, simulate
from benchmarks.tables import Cells, Table, goal, goals
from tests.support.prepare_picture import prepare
from visionq.contract import Detail
from visionq.pricing.vision import load_rules, seen_size
from worker.images import ImageLimits

#: Allowed error of a simulated rate, in percent.
_MARGIN: Final = 15.0
_COLUMNS: Final = (
    "worker processes", "limit a minute", "latency s", "jobs/s", "bound by", "Redis busy %",
    "workers' cores busy %", "wait for Redis p99 ms", "calls answered 429 %",
)  # fmt: skip
_CHECK_COLUMNS: Final = (
    "worker processes", "limit a minute", "jobs/s", "simulated", "off by %", "Redis busy %",
    "simulated Redis busy %", "429 %", "simulated 429 %", f"within {_MARGIN:g} %",
)  # fmt: skip
#: Limited fleets run side by side, unlimited ones alone.
_LIMITED: Final = ((1, 300.0), (4, 300.0), (1, 1_000.0), (4, 1_000.0))
_UNLIMITED: Final = ((1, 0.0), (4, 0.0))
_FULL: Final = 95.0


def measure(*, quick: bool = False) -> list[Table]:
    """Measure the costs, check small fleets against real ones, and simulate large ones."""
    with fleet_of(1, 0) as fleet:
        found = measured(fleet, 0)
    progress(f"  scale: one process without a limit: {found}")
    checked = [*_limited(found), *(_unlimited(found, *case) for case in _UNLIMITED)]
    return [_fleets(found, quick=quick), _check(found, checked), _goals(checked)]


def _limited(found: Real) -> list[Cells]:
    with ExitStack() as stack, ThreadPoolExecutor(len(_LIMITED)) as pool:
        fleets = [stack.enter_context(fleet_of(*case)) for case in _LIMITED]
        reals = list(pool.map(measured, fleets, [limit for _, limit in _LIMITED]))
    return [_compared(found, *case, real) for case, real in zip(_LIMITED, reals, strict=True)]


def _unlimited(found: Real, workers: int, limit: float) -> Cells:
    with fleet_of(workers, limit) as fleet:
        return _compared(found, workers, limit, measured(fleet, limit))


def _compared(found: Real, workers: int, limit: float, real: Real) -> Cells:
    """Return the row that compares a real small fleet with its simulation."""
    costs = Costs(
        worker=_turn(found),
        redis=found.redis,
        provider=found.provider,
        latency=LATENCY,
        threads=THREADS // workers,
        cores=os.cpu_count() or 1,
    )
    simulated = simulate(workers, limit, costs)
    off = (simulated.jobs_per_second / real.jobs_per_second - 1) * 100
    row: Cells = (
        *(float(workers), limit or None, real.jobs_per_second, simulated.jobs_per_second, off),
        *(real.redis_busy, simulated.redis_busy, real.refused, simulated.refused),
        "yes" if abs(off) <= _MARGIN else "no",
    )
    progress(
        f"  scale: {workers} workers at {limit:g}: {real.jobs_per_second:.1f} jobs/s, {off:+.1f} %"
    )
    return row


def _turn(found: Real) -> float:
    """Return the seconds that a job occupies its process: more than its CPU time.

    Threads wait for the GIL and for a core; the unlimited rate of a single process shows how long.
    """
    return max(found.worker, 1 / found.jobs_per_second)


def _check(found: Real, rows: list[Cells]) -> Table:
    note = (
        f"Tiny pictures, {LATENCY:g} s latency, {THREADS} threads in total; workers, Redis and the"
        f" simulator share the {os.cpu_count()} cores. Costs come from one process without a"
        f" limit, in the same run: {_turn(found) * 1000:.1f} ms of its time a job"
        f" ({found.worker * 1000:.1f} ms of CPU), {found.redis * 1000:.2f} ms of Redis,"
        f" {found.provider * 1000:.2f} ms of the simulator. Load at the end: {load()}."
    )
    return Table("scale: small fleets, real and simulated", _CHECK_COLUMNS, tuple(rows), note)


def _goals(rows: list[Cells]) -> Table:
    worst = max(abs(float(row[4] or 0)) for row in rows)
    name = "scale: simulated jobs/s, off by at most %"
    return goals("scale: goals", [goal(name, worst, _MARGIN, at_least=False)])


def _fleets(found: Real, *, quick: bool) -> Table:
    costs = Costs(worker=found.worker + _picture_seconds(), redis=found.redis)
    cases = [(1, 0.0), (2, 0.0), (10, 0.0), (10, 3_000.0), (100, 0.0), (100, 30_000.0)]
    if not quick:
        cases.append((1_000, 30_000.0))
    rows = tuple(_row(workers, limit, costs) for workers, limit in cases)
    if not quick:
        rows += (_row(1_000, 30_000.0, replace(costs, latency=5.0)),)
    note = (
        f"6 MP photos. Each process has a core and {costs.threads} threads; a job takes"
        f" {costs.worker * 1000:.0f} ms of it and {costs.redis * 1000:.2g} ms of Redis, as measured"
        " in the same run."
    )
    return Table("scale: fleets, simulated", _COLUMNS, rows, note)


def _row(workers: int, limit: float, costs: Costs) -> Cells:
    found = simulate(workers, limit, costs)
    if found.redis_busy >= _FULL:
        bound = "Redis"
    elif limit and found.jobs_per_second * 60 >= limit * 0.9:
        bound = "the provider's limit"
    else:
        bound = "workers' cores"
    figures = (found.redis_busy, found.workers_busy, found.redis_wait, found.refused)
    return (
        *(float(workers), limit or None, costs.latency, found.jobs_per_second, bound),
        *figures,
    )


def _picture_seconds() -> float:
    """Return the extra CPU seconds of a 6 MP photo over a tiny picture."""
    data, rules, taken = photo_file(3000, 2000), load_rules(), []

    def fit(width: int, height: int) -> tuple[int, int]:
        return seen_size(rules, "gpt-6-luna", Detail.AUTO, width, height)

    for _ in range(5):
        started = time.process_time()
        prepare(data, name="photo", limits=ImageLimits(), fit=fit)
        taken.append(time.process_time() - started)
    return statistics.median(taken)
