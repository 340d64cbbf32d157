"""Dead workers, and work that takes longer than a lease."""

from __future__ import annotations

import statistics
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from tests.chaos.scenario import Scenario
from tests.support.waiting import until
from visionq import names

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.chaos.fleet import ChaosFleet
    from tests.chaos.scenario import Scene

#: Seconds: the shortest lease that there is.
_LEASE: Final = 5


def takeover(scene: Scene) -> None:
    """Kill a worker with its hands full, several times, while others have room."""
    rounds, times = scene.size(8, 1), []
    # Slots for the calls of jobs that were cancelled in the rounds before, too.
    with scene.fleet(workers=3 if not scene.quick else 2, concurrency=64) as fleet:
        fleet.simulator.configure(latency_s=40)
        for _ in range(rounds):
            times += _one_takeover(fleet)
    scene.at_least("jobs taken over", len(times), 8)
    scene.at_most("seconds at the 99th percentile", _percentile(times, 99), 15)
    scene.note(kills=rounds, median=statistics.median(times), longest=max(times))


def _one_takeover(fleet: ChaosFleet) -> list[float]:
    """Return for each job of a killed worker the seconds until another worker had it."""
    job_ids = fleet.submit(24)
    # Of these jobs: calls of those that were cancelled before may be out as well.
    until(lambda: all(_fields(fleet, job_ids, "sent").values()), 60, "all calls to be out")
    holders = _fields(fleet, job_ids, "worker")
    held = Counter(int(worker.split(":")[1]) for worker in holders.values())
    victim = max(fleet.workers, key=lambda worker: held[worker.pid])
    waiting = {id_ for id_, worker in holders.items() if f":{victim.pid}:" in worker}
    victim.kill()
    killed = time.monotonic()
    victim.wait()
    times = []
    while waiting and time.monotonic() < killed + 60:
        workers = _fields(fleet, waiting, "worker")
        taken = {id_ for id_, worker in workers.items() if _is_new(worker, victim)}
        times += [time.monotonic() - killed for _ in taken]
        waiting -= taken
        time.sleep(0.05)
    times += [60.0 for _ in waiting]
    fleet.client._ledger.cancel(job_ids)
    before = len(fleet.registered())
    fleet.replace(victim)
    until(lambda: len(fleet.registered()) > before or not fleet.calls_out(), 60, "another worker")
    return times


def _is_new(worker: str, victim: Any) -> bool:
    return bool(worker) and f":{victim.pid}:" not in worker


def _fields(fleet: ChaosFleet, job_ids: Iterable[str], name: str) -> dict[str, str]:
    redis, asked = fleet.redis, list(job_ids)
    with redis.pipeline(transaction=False) as pipeline:
        for job_id in asked:
            pipeline.hget(names.JOB + job_id, name)
        found = pipeline.execute()
    return {id_: (value or b"").decode() for id_, value in zip(asked, found, strict=True)}


def _percentile(times: list[float], percent: int) -> float:
    ordered = sorted(times)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


def long_call(scene: Scene) -> None:
    """Make calls that take ten times as long as their lease."""
    latency = scene.seconds(10, 2.2) * _LEASE
    extra = {"VISIONQ_LEASE": str(_LEASE)}
    with scene.fleet(workers=2, extra=extra) as fleet:
        fleet.simulator.configure(latency_s=latency)
        fleet.submit(16)
        fleet.wait_until_settled(latency + 30)
        verdict = fleet.judge()
    scene.equal("completed", verdict.completed, 16)
    scene.equal("calls", verdict.calls, 16)
    scene.equal("open books", ", ".join(verdict.open_books) or "none", "none")
    scene.note(lease=_LEASE, call=latency)


def long_wait(scene: Scene) -> None:
    """Have the provider refuse a call for ten times as long as a lease."""
    with scene.fleet(workers=2, extra={"VISIONQ_LEASE": str(_LEASE)}) as fleet:
        fleet.simulator.configure(requests_per_minute=1)
        fleet.submit(2)
        seconds = fleet.wait_until_settled(180)
        verdict = fleet.judge()
    scene.equal("completed", verdict.completed, 2)
    scene.equal("billed", verdict.billed, 2)
    scene.at_most("calls, the refused one among them", verdict.calls, 3)
    scene.at_least("seconds that the wait took", seconds, 8 * _LEASE)


SCENARIOS: Final = (
    Scenario("takeover", "A dead worker's jobs run elsewhere within 15 s at p99", takeover),
    Scenario("long-call", "A call ten times longer than its lease is made exactly once", long_call),
    Scenario(
        "long-wait",
        "A retry ten times later than a lease happens exactly once",
        long_wait,
    ),
)
