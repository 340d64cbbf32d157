"""Throughput and cost per job, in turns with the contenders."""

from __future__ import annotations

import os
import statistics
from typing import TYPE_CHECKING, Final

from benchmarks.comparison import progress
from benchmarks.peers.arena import FAILURES, Run, run
from benchmarks.peers.contenders import (
    CELERY,
    CELERY_THREADS,
    IN_DIRECTORY,
    ONE_PROCESS,
    QUEUES,
    SAQ,
    SCRIPT,
    VISIONQ,
    Contender,
)
from benchmarks.speed.workloads import workload
from benchmarks.tables import Cells, Table, goal, goals

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

#: A contender and its image code.
_Way = tuple[Contender, str]
_Runs = dict[_Way, list[Run]]
_Failed = dict[_Way, str]
_COLUMNS: Final = (
    "contender", "image code", "runs", "jobs/s", "lowest", "highest", "of the script",
    "CPU ms a job", "PSS MB", "Redis commands a job", "Redis bytes a job", "Redis CPU ms a job",
)  # fmt: skip
_ROUNDS: Final = 3
#: Workload → most CPU of a job as a share of the script's, and most CPU ms of Redis.
_MOST: Final = {"full": (0.95, 1.0), "small": (0.95, 0.75), "overhead": (1.0, 0.45)}
#: Queues that run in every round: the fastest of the first, since one run may be luck.
_RIVALS: Final = 2
_NOTE: Final = (
    "Medians of rounds in which each ran in turn: of the queues, the two fastest of the first"
    " round; the others ran once. Redis commands include those in scripts."
)


def full(*, quick: bool = False) -> list[Table]:
    """Measure photos of 6 MP."""
    ways = [(SCRIPT, "ours"), (VISIONQ, "ours"), (IN_DIRECTORY, "ours"), (SCRIPT, "usual")]
    ours = [(queue, "ours") for queue in QUEUES]
    usual = [(queue, "usual") for queue in QUEUES]
    once = [SAQ_OURS, (CELERY, "usual")] if quick else [*ours, *usual]
    runs, failed = _compare("full", ways, once, quick=quick)
    usual_code = _rate(runs, SCRIPT, "usual")
    rows = _goals("full", runs)
    rows.append(
        goal("full: jobs/s of the script with the usual code", usual_code, 1.5, at_least=True)
    )
    rows += _memory(runs)
    return [_table("full: 6 MP photos, 1 s latency", runs, failed), goals("full: goals", rows)]


def small(*, quick: bool = False) -> list[Table]:
    """Measure pictures that need no scaling."""
    ways = [(SCRIPT, "ours"), (VISIONQ, "ours")]
    peers = [(queue, "ours") for queue in QUEUES]
    runs, failed = _compare("small", ways, [SAQ_OURS] if quick else peers, quick=quick)
    return [
        _table("small: pictures that fit, 1 s latency", runs, failed),
        goals("small: goals", _goals("small", runs)),
    ]


def overhead(*, quick: bool = False) -> list[Table]:
    """Measure the overhead of a job when picture and provider take no time."""
    ways = [(SCRIPT, "ours"), (VISIONQ, "ours")]
    peers = [(queue, "ours") for queue in ([CELERY_THREADS] if quick else QUEUES)]
    runs, failed = _compare("overhead", ways, peers, quick=quick)
    return [
        _table("overhead: tiny pictures, no latency", runs, failed),
        goals("overhead: goals", _goals("overhead", runs)),
    ]


def repeat(*, quick: bool = False) -> list[Table]:
    """Measure 90 % repeated questions; there is no goal."""
    runs, failed = _compare("repeat", [(SCRIPT, "ours"), (VISIONQ, "ours")], [], quick=quick)
    return [_table("repeat: 90 % duplicates, 6 MP, 1 s latency", runs, failed)]


def cores(*, quick: bool = False) -> list[Table]:
    """Measure the gain of a second worker process."""
    ways = [(ONE_PROCESS, "ours"), (VISIONQ, "ours")]
    runs, failed = _compare("cores", ways, [], quick=quick)
    cost = _ratio(runs, (ONE_PROCESS, "ours"), lambda one: one.processor_ms)
    busy = [
        one.jobs_per_second * (one.processor_ms + one.redis_ms) / 1000 / (os.cpu_count() or 1)
        for one in runs[VISIONQ, "ours"]
    ]
    reached = [
        goal("cores: share in use by workers and Redis", _median(busy), 0.9, at_least=True),
        goal("cores: CPU a job with two processes, of one", cost, 1.05, at_least=False),
    ]
    return [
        _table("cores: one worker process and two, 6 MP, no latency", runs, failed),
        goals("cores: goals", reached),
    ]


SAQ_OURS: Final[_Way] = (SAQ, "ours")


def _compare(
    kind: str, ways: Sequence[_Way], once: Sequence[_Way], *, quick: bool
) -> tuple[_Runs, _Failed]:
    """Run `ways` in turns with the fastest of `once`; return runs and errors."""
    runs: _Runs = {way: [] for way in (*ways, *once)}
    failed: _Failed = {}
    with workload(kind, quick=quick) as work:
        order = list(ways)
        others = list(once)
        for _ in range(1 if quick else _ROUNDS):
            for way in [*order, *others]:
                name = f"  {kind}: {way[0].name}, {way[1]} image code"
                try:
                    runs[way].append(run(way[0], work, way[1]))
                except FAILURES as error:
                    failed[way] = str(error)
                    progress(f"{name}: failed: {error}")
                else:
                    progress(f"{name}: {runs[way][-1]}")
            order.reverse()
            others = _quickest(runs, once)
    return runs, failed


def _quickest(runs: _Runs, ways: Sequence[_Way]) -> list[_Way]:
    """Return the `_RIVALS` fastest queues with our image code."""
    ran = [way for way in ways if way[1] == "ours" and runs[way]]
    return sorted(ran, key=lambda way: -runs[way][0].jobs_per_second)[:_RIVALS]


def _table(title: str, runs: _Runs, failed: _Failed) -> Table:
    rows = tuple(_row(runs, way, failed.get(way)) for way in runs)
    return Table(title, _COLUMNS, rows, _NOTE)


def _row(runs: _Runs, way: _Way, failed: str | None) -> Cells:
    found = runs[way]
    if not found:
        return (way[0].name, way[1], f"failed: {failed}", *(None,) * 9)
    rates = [one.jobs_per_second for one in found]
    script = runs.get((SCRIPT, "ours"))
    floor = statistics.median(one.jobs_per_second for one in script) if script else None
    rate = statistics.median(rates)
    costs = [
        statistics.median(getattr(one, name) for one in found)
        for name in ("processor_ms", "proportional_mb", "redis_commands", "redis_bytes", "redis_ms")
    ]
    ratio = rate / floor if floor else None
    ran = f"{len(found)}, and one failed: {failed}" if failed else float(len(found))
    return (way[0].name, way[1], ran, rate, min(rates), max(rates), ratio, *costs)


def _ratio(runs: _Runs, to: _Way, of: Callable[[Run], float]) -> float | None:
    """Return the median of the ratios to a contender in each round."""
    pairs = list(zip(runs[VISIONQ, "ours"], runs.get(to, []), strict=False))
    return _median([of(one) / of(other) for one, other in pairs])


def _rate(runs: _Runs, contender: Contender, code: str) -> float | None:
    return _ratio(runs, (contender, code), lambda one: one.jobs_per_second)


def _of_best(runs: _Runs) -> float | None:
    """Return our rate divided by that of the best queue with our image code."""
    queues = [way for way in runs if way[1] == "ours" and way[0] in QUEUES]
    ratios = [_rate(runs, contender, code) for contender, code in _quickest(runs, queues)]
    return min((ratio for ratio in ratios if ratio is not None), default=None)


def _goals(kind: str, runs: _Runs) -> list[Cells]:
    """Return the goals against the script and the best queue, all with our image code."""
    most_processor, most_redis = _MOST[kind]
    cost = _ratio(runs, (SCRIPT, "ours"), lambda one: one.processor_ms)
    redis_ms = _median([one.redis_ms for one in runs[VISIONQ, "ours"]])
    return [
        goal(f"{kind}: jobs/s of the script", _rate(runs, SCRIPT, "ours"), 1.05, at_least=True),
        goal(f"{kind}: jobs/s of the best queue", _of_best(runs), 1.1, at_least=True),
        goal(f"{kind}: CPU a job of the script", cost, most_processor, at_least=False),
        goal(f"{kind}: Redis CPU ms a job", redis_ms, most_redis, at_least=False),
    ]


def _memory(runs: _Runs) -> list[Cells]:
    used = _median([one.proportional_mb for one in runs[VISIONQ, "ours"]])
    prefork = _median([one.proportional_mb for one in runs.get((CELERY, "usual"), [])])
    share = used / prefork if used and prefork else None
    return [
        goal("full: PSS MB of the workers", used, 200, at_least=False),
        goal("full: PSS of plain Celery prefork", share, 0.125, at_least=False),
    ]


def _median(values: Sequence[float]) -> float | None:
    return statistics.median(values) if values else None
