"""The half-price lane, its packer killed at any point, its provider forgetful."""

from __future__ import annotations

import dataclasses
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from tests.chaos.killer import Killer
from tests.chaos.odd_worker import PACKER_PID, SWIFT_WAIT
from tests.chaos.scenario import Scenario
from tests.support.fleet import jobs
from visionq import names

if TYPE_CHECKING:
    from tests.chaos.fleet import ChaosFleet
    from tests.chaos.scenario import Scene

#: Of a hundred jobs, those that are needed at once.
_AT_ONCE: Final = 10
#: What a cancelled or lost line, a full price and the first line may add to the half.
_MOST_OF_FULL_PRICE: Final = 0.55
_FAULTS: Final = {"partial_expiry": 0.33, "upload_lost": 0.05, "create_lost": 0.05}


def batches(scene: Scene) -> None:
    """Answer most jobs through batches while packers die and the provider loses answers."""
    count, kills = scene.size(20_000, 120), scene.size(20, 3)
    patience = scene.seconds(1800, 300)
    with scene.fleet(workers=0) as fleet:
        fleet.oddities = ("--swift-batches",)
        for _ in range(2):
            fleet.add_odd_worker(*fleet.oddities)
        fleet.simulator.configure(
            batch_faults=_FAULTS,
            batch_duration_s=3,
            batch_window_s=8,
            batch_list_lag_s=1,
        )
        ledger = fleet.client._ledger
        ledger.options = dataclasses.replace(ledger.options, batch_least_wait=SWIFT_WAIT)
        at_once = count * _AT_ONCE // 100
        fleet.submit_these(jobs(at_once, priority="bulk"))
        fleet.wait_until_settled(patience)  # by these it is known how fast the fleet answers
        by = datetime.now(UTC) + timedelta(seconds=patience)
        waiting = jobs(count - at_once, at_once, by=by.isoformat(), priority="bulk")
        fleet.submit_these(waiting)
        killer = Killer(fleet, every=scene.seconds(8, 4), most=kills, choose=lambda: _packer(fleet))
        fleet.wait_until_settled(patience, killer)
        late = _late(fleet, by)
        verdict = fleet.judge()
        lines = fleet.simulator.batch_lines()
    half = sum(len(times) for times in lines.values())
    scene.equal("completed", verdict.completed, count)
    scene.equal("answered after they were needed", late, 0)
    scene.equal("bill, in the books", verdict.bill, verdict.settled)
    scene.equal("of unknown billing", verdict.unknown_calls, 0)
    scene.equal("lines billed twice", sum(len(times) > 1 for times in lines.values()), 0)
    scene.equal("answers billed", verdict.billed, count)
    scene.at_most("of the full price", _share(half, count), _MOST_OF_FULL_PRICE)
    scene.equal("open books", ", ".join(verdict.open_books) or "none", "none")
    scene.note(kills=killer.kills, lines=half)


def _packer(fleet: ChaosFleet) -> int | None:
    """Return the pid of the worker that packs."""
    stored: Any = fleet.redis.get(PACKER_PID)
    return int(stored) if stored else None


def _share(half: int, count: int) -> float:
    """Return what was paid of the full price; all jobs cost about the same."""
    return (half / 2 + (count - half)) / count


def _late(fleet: ChaosFleet, by: datetime) -> int:
    redis: Any = fleet.redis
    with redis.pipeline(transaction=False) as pipeline:
        for job_id in fleet.submitted:
            pipeline.hget(names.JOB + job_id, "finished")
        ends = pipeline.execute()
    return sum(int(end or time.time() * 1000) > by.timestamp() * 1000 for end in ends)


SCENARIOS: Final = (
    Scenario(
        "batches",
        "Answers through batches come in time, once, at half the price, though packers die",
        batches,
        in_tests=True,
        busy=True,
    ),
)
