"""Jobs that one client submits per second, compared with plain Celery's `delay`."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Final

from benchmarks.peers.arena import place
from benchmarks.peers.contenders import CELERY, VISIONQ, Contender
from benchmarks.speed.workloads import workload
from benchmarks.tables import Table, goal, goals

if TYPE_CHECKING:
    from collections.abc import Sequence

_JOBS: Final = 100_000
#: Jobs submitted one by one, which are enough.
_ONE_BY_ONE: Final = 3_000
#: URLs, so that reading and storing pictures is not measured.
_ADDRESS: Final = "https://example.com/pictures/{:07}.jpg"


def measure(*, quick: bool = False) -> list[Table]:
    """Return jobs per second, with the goals."""
    jobs = _JOBS // 10 if quick else _JOBS
    many, single, ratios = [], [], []
    addresses = [_ADDRESS.format(number) for number in range(jobs)]
    for _ in range(3):
        many.append(_rate(VISIONQ, addresses))
        with workload("overhead", quick=True) as work:
            single.append(_rate(CELERY, work.paths(_ONE_BY_ONE)))
        ratios.append(many[-1] / single[-1])
    rows = tuple(
        (name, statistics.median(found), min(found), max(found))
        for name, found in (("visionq, submit_many", many), ("Celery, delay one by one", single))
    )
    reached = [
        goal("submit: submit_many, jobs/s", statistics.median(many), 6000, at_least=True),
        goal("submit: of delay one by one", statistics.median(ratios), 8, at_least=True),
    ]
    title = f"submit: {jobs:,} jobs, ledger included"
    return [
        Table(title, ("way", "jobs/s", "lowest", "highest"), rows),
        goals("submit: goals", reached),
    ]


def _rate(contender: Contender, paths: Sequence[str]) -> float:
    with place(contender, "ours", 0, idle=True) as here:
        return len(paths) / float(here.feed(paths)["seconds"])
