"""Latency of an idle fleet: from submit to call, and from answer to the waiting client.

Jobs with tiny pictures arrive at 20 a second; the provider answers after 100 ms.
"""

from __future__ import annotations

import statistics
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from benchmarks.comparison import progress
from benchmarks.peers.arena import FAILURES, Place, place
from benchmarks.peers.contenders import CELERY_THREADS, QUEUES, VISIONQ, Contender
from benchmarks.peers.work import WARM
from benchmarks.speed.workloads import workload
from benchmarks.tables import Cells, Table, goal, goals

if TYPE_CHECKING:
    from collections.abc import Sequence

_RATE: Final = 20
_LATENCY: Final = 0.1
#: The contender whose client waits for each job.
_WAITING: Final = replace(VISIONQ, app="visionq_waiting_app")
_COLUMNS: Final = ("contender", "from", "jobs", "p50 ms", "p95 ms", "p99 ms")
_Rows = list[Cells]


def measure(*, quick: bool = False) -> list[Table]:
    """Return latencies, with the goals."""
    jobs, rounds = (100, 1) if quick else (200, 3)
    peers = [CELERY_THREADS] if quick else QUEUES
    starts: dict[Contender, list[float]] = {VISIONQ: []}
    ends: list[float] = []
    ratios = []
    failed: dict[str, str] = {}
    for number in range(rounds):
        started, ended = _paced(_WAITING, jobs)
        progress(f"  paced: visionq: p95 {_percentile(started, 95):.1f} ms")
        starts[VISIONQ] += started
        ends += ended
        for peer in [CELERY_THREADS] if number else peers:
            try:
                took, _ = _paced(peer, jobs)
            except FAILURES as error:
                failed[peer.name] = str(error)
                progress(f"  paced: {peer.name}: failed: {error}")
                continue
            progress(f"  paced: {peer.name}: p95 {_percentile(took, 95):.1f} ms")
            starts.setdefault(peer, []).extend(took)
            if peer is CELERY_THREADS:
                ratios.append(_percentile(started, 95) / _percentile(took, 95))
    rows = [_row(one.name, "submit to call", took) for one, took in starts.items()]
    rows.append(_row(VISIONQ.name, "answer to waiting client", ends))
    rows += [(name, f"failed: {why}", *(None,) * 4) for name, why in failed.items()]
    reached = [
        goal("paced: submit to call, p95 ms", _percentile(starts[VISIONQ], 95), 30, at_least=False),
        goal("paced: of Celery threads", _median(ratios), 1.0, at_least=False),
        goal("paced: answer to waiting client, p95 ms", _percentile(ends, 95), 6, at_least=False),
    ]
    title = "paced: 20 jobs a second, tiny pictures"
    return [Table(title, _COLUMNS, tuple(rows)), goals("paced: goals", reached)]


def _paced(contender: Contender, jobs: int) -> tuple[list[float], list[float]]:
    """Return milliseconds from submit to call, and from answer to a waiting client."""
    with (
        workload("overhead", quick=True) as work,
        place(contender, "ours", _LATENCY, recording=True) as here,
    ):
        here.feed(work.paths(32), WARM, 0.01)
        _await(here, WARM, 32)
        fed = here.feed(work.paths(jobs), 0, 1 / _RATE)["times"]
        _await(here, 0, jobs)
        kept = here.recorder.log() if here.recorder else {}
    if contender is not _WAITING:
        return [(kept[n][0] - entered) * 1000 for n, entered in enumerate(fed)], []
    starts = [(kept[n][0] - entered) * 1000 for n, (entered, _) in enumerate(fed)]
    return starts, [(done - kept[n][1]) * 1000 for n, (_, done) in enumerate(fed)]


def _await(here: Place, first: int, jobs: int) -> None:
    if here.recorder is None:
        raise RuntimeError("nothing records")
    for number in range(first, first + jobs):
        here.recorder.wait_for(number, patience=120)


def _row(name: str, what: str, took: Sequence[float]) -> Cells:
    return (name, what, float(len(took)), *(_percentile(took, share) for share in (50, 95, 99)))


def _percentile(values: Sequence[float], share: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[share - 1]


def _median(values: Sequence[float]) -> float | None:
    return statistics.median(values) if values else None
