"""Seconds from the start of a worker to its first call, with one job queued."""

from __future__ import annotations

import statistics
import time
from dataclasses import replace
from typing import Final

from benchmarks.peers.arena import place
from benchmarks.peers.contenders import CELERY_THREADS, ONE_PROCESS, Contender
from benchmarks.speed.workloads import workload
from benchmarks.tables import Table, goal, goals

_BARE: Final = replace(CELERY_THREADS, commands=CELERY_THREADS.commands[:1])


def measure(*, quick: bool = False) -> list[Table]:
    """Return seconds, with the goal."""
    took: dict[str, list[float]] = {"visionq": [], "Celery, with openai imported": []}
    for _ in range(2 if quick else 5):
        for contender, found in zip((ONE_PROCESS, _BARE), took.values(), strict=True):
            found.append(_seconds(contender))
    own, bare = took.values()
    ratio = statistics.median(one / other for one, other in zip(own, bare, strict=True))
    rows = tuple(
        (name, float(len(found)), statistics.median(found), min(found), max(found))
        for name, found in took.items()
    )
    return [
        Table(
            "start: of a worker, to its first call",
            ("worker", "runs", "s", "lowest", "highest"),
            rows,
            note="Measured to the call, which follows the claim at once in both.",
        ),
        goals("start: goals", [goal("start: of a bare Celery worker", ratio, 0.5, at_least=False)]),
    ]


def _seconds(contender: Contender) -> float:
    with (
        workload("overhead", quick=True) as work,
        place(contender, "ours", 0, recording=True, idle=True) as here,
    ):
        if here.recorder is None:
            raise RuntimeError("no recording provider")
        here.feed(work.paths(1))
        started = time.time()
        with here.start_workers():
            return here.recorder.wait_for(0)[0] - started
