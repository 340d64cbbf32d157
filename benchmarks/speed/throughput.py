"""Jobs a second, and what a job costs, in turns with the contenders."""

from __future__ import annotations

import statistics
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from benchmarks.peers.arena import Run, run
from benchmarks.peers.contenders import (
    CELERY,
    CELERY_THREADS,
    ONE_PROCESS,
    QUEUES,
    SAQ,
    SCRIPT,
    VISIONQ,
    Contender,
)
from benchmarks.scale import Costs, simulate
from benchmarks.speed.workloads import workload
from benchmarks.tables import Cells, Table, goal, goals

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

#: A contender and the image code that it runs.
_Way = tuple[Contender, str]
_Runs = dict[_Way, list[Run]]
_COLUMNS: Final = (
    "contender", "image code", "runs", "jobs/s", "lowest", "highest", "of the script",
    "CPU ms a job", "PSS MB", "Redis commands a job", "Redis bytes a job", "Redis CPU ms a job",
)  # fmt: skip
_ROUNDS: Final = 3
_NOTE: Final = (
    "Medians of rounds in which each ran in turn; peers that ran once have one figure. Redis"
    " commands count those within scripts."
)


def full(*, quick: bool = False) -> list[Table]:
    """Measure photos of 6 MP."""
    ways = [(SCRIPT, "ours"), (VISIONQ, "ours"), (SCRIPT, "usual")]
    ours = [(queue, "ours") for queue in QUEUES]
    usual = [(queue, "usual") for queue in QUEUES]
    runs, note = _compare("full", ways, [SAQ_OURS] if quick else [*ours, *usual], quick=quick)
    rates = (
        ("the script with our image code", _rate(runs, SCRIPT, "ours"), 0.97),
        ("the script with the usual code", _rate(runs, SCRIPT, "usual"), 1.5),
        ("the best queue with our image code", _of_best(runs), 1.0),
    )
    rows = [
        goal(f"full: jobs/s of {of}", ratio, wanted, at_least=True) for of, ratio, wanted in rates
    ]
    rows += _memory(runs)
    return [_table("full: 6 MP photos, 1 s latency", runs, note), goals("full: goals", rows)]


def small(*, quick: bool = False) -> list[Table]:
    """Measure pictures that pass as they are."""
    ways = [(SCRIPT, "ours"), (VISIONQ, "ours")]
    peers = [(queue, "ours") for queue in QUEUES]
    runs, note = _compare("small", ways, [SAQ_OURS] if quick else peers, quick=quick)
    best = _of_best(runs)
    rows = [goal("small: jobs/s of the best queue with our image code", best, 1.0, at_least=True)]
    return [
        _table("small: pictures that fit, 1 s latency", runs, note),
        goals("small: goals", rows),
    ]


def overhead(*, quick: bool = False) -> list[Table]:
    """Measure what is left of a job when picture and provider take no time."""
    ways = [(SCRIPT, "ours"), (VISIONQ, "ours"), (CELERY_THREADS, "ours")]
    peers = [] if quick else [(queue, "ours") for queue in QUEUES if queue is not CELERY_THREADS]
    runs, note = _compare("overhead", ways, peers, quick=quick)
    ratio = _ratio(runs, (SCRIPT, "ours"), lambda one: one.processor_ms)
    rows = [goal("overhead: CPU a job of the script", ratio, 1.25, at_least=False)]
    return [
        _table("overhead: tiny pictures, no latency", runs, note),
        goals("overhead: goals", rows),
    ]


def repeat(*, quick: bool = False) -> list[Table]:
    """Measure questions of which nine in ten were asked before; there is no goal."""
    runs, note = _compare("repeat", [(SCRIPT, "ours"), (VISIONQ, "ours")], [], quick=quick)
    return [_table("repeat: 90 % duplicates, 6 MP, 1 s latency", runs, note)]


def cores(*, quick: bool = False) -> list[Table]:
    """Measure what a second worker process brings."""
    ways = [(ONE_PROCESS, "ours"), (VISIONQ, "ours")]
    runs, note = _compare("full", ways, [], quick=quick)
    ratio = _rate(runs, ONE_PROCESS, "ours")
    return [
        _table("cores: one worker process and two, 6 MP", runs, note),
        _simulated(runs),
        goals("cores: goals", [goal("worker processes 1 → 2: jobs/s", ratio, 1.8, at_least=True)]),
    ]


def _simulated(runs: _Runs) -> Table:
    """Return what the simulation says of the same fleets, at the processor time measured."""
    rows = []
    for processes, way in enumerate(runs, 1):
        if runs[way]:
            cost = statistics.median(one.processor_ms for one in runs[way]) / 1000
            real = statistics.median(one.jobs_per_second for one in runs[way])
            found = simulate(processes, 0, replace(Costs(), worker=cost), 20)["rate"]
            rows.append((float(processes), real, found, real / found))
    note = "Real processes share the machine with Redis, the simulator and whoever else uses it."
    columns = ("worker processes", "jobs/s", "simulated", "of it")
    return Table("cores: real and simulated", columns, tuple(rows), note)


SAQ_OURS: Final[_Way] = (SAQ, "ours")


def _compare(
    kind: str, ways: Sequence[_Way], once: Sequence[_Way], *, quick: bool
) -> tuple[_Runs, str]:
    """Run the ways in turns, and some of them once; returns their runs and a note."""
    runs: _Runs = {way: [] for way in (*ways, *once)}
    failed = []
    with workload(kind, quick=quick) as work:
        order = list(ways)
        for number in range(1 if quick else _ROUNDS):
            for way in [*order, *([] if number else once)]:
                name = f"{way[0].name}, {way[1]} image code"
                try:
                    runs[way].append(run(way[0], work, way[1]))
                except (RuntimeError, OSError, ValueError) as error:
                    failed.append(f"{name}: {error}")
                print(f"  {kind}: {name}: {runs[way][-1:]}", file=sys.stderr)  # noqa: T201  # a program for the terminal
            order.reverse()
    return runs, " ".join([_NOTE, *failed])


def _table(title: str, runs: _Runs, note: str) -> Table:
    return Table(title, _COLUMNS, tuple(_row(runs, way) for way in runs), note)


def _row(runs: _Runs, way: _Way) -> Cells:
    found = runs[way]
    if not found:
        return (way[0].name, way[1], 0.0, *(None,) * 9)
    rates = [one.jobs_per_second for one in found]
    script = runs.get((SCRIPT, "ours"))
    floor = statistics.median(one.jobs_per_second for one in script) if script else None
    rate = statistics.median(rates)
    costs = [
        statistics.median(getattr(one, name) for one in found)
        for name in ("processor_ms", "proportional_mb", "redis_commands", "redis_bytes", "redis_ms")
    ]
    ratio = rate / floor if floor else None
    return (way[0].name, way[1], float(len(found)), rate, min(rates), max(rates), ratio, *costs)


def _ratio(runs: _Runs, to: _Way, of: Callable[[Run], float]) -> float | None:
    """Return the median of the ratios to a contender, round by round."""
    pairs = list(zip(runs[VISIONQ, "ours"], runs.get(to, []), strict=False))
    return statistics.median(of(one) / of(other) for one, other in pairs) if pairs else None


def _rate(runs: _Runs, contender: Contender, code: str) -> float | None:
    return _ratio(runs, (contender, code), lambda one: one.jobs_per_second)


def _of_best(runs: _Runs) -> float | None:
    """Return our rate by that of the best queue with our image code."""
    rates = [
        one.jobs_per_second
        for (contender, code), found in runs.items()
        for one in found
        if code == "ours" and contender in QUEUES
    ]
    own = [one.jobs_per_second for one in runs[VISIONQ, "ours"]]
    return statistics.median(own) / max(rates) if own and rates else None


def _memory(runs: _Runs) -> list[Cells]:
    own = [one.proportional_mb for one in runs[VISIONQ, "ours"]]
    prefork = [one.proportional_mb for one in runs.get((CELERY, "usual"), [])]
    used = statistics.median(own) if own else None
    share = used / statistics.median(prefork) if used and prefork else None
    return [
        goal("full: PSS MB of the workers, 128 calls in flight", used, 250, at_least=False),
        goal("full: PSS of plain Celery prefork", share, 0.125, at_least=False),
    ]
