"""The balance runs out in the middle of the work and is topped up later."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from tests.chaos.scenario import Scenario
from tests.support.waiting import until
from visionq.ledger.gates import read_gate

if TYPE_CHECKING:
    from tests.chaos.fleet import ChaosFleet
    from tests.chaos.scenario import Scene

_WORKERS: Final = 2


def balance(scene: Scene) -> None:
    """Empty the account when half of the jobs are done; fill it again two minutes later."""
    count = scene.size(10_000, 400)
    with scene.fleet(workers=_WORKERS) as fleet:
        fleet.simulator.configure(latency_s=0.2)
        fleet.submit(count)
        until(lambda: fleet.ended() > count // 2, 600, "half of the jobs to end")
        fleet.simulator.configure(balance_rub=0)
        until(lambda: read_gate(fleet.redis).state == "closed", 30, "the gate to close")
        until(lambda: fleet.states().get("in_progress", 0) == 0, 30, "calls to come back")
        time.sleep(2)  # what was under way comes to rest
        commands = fleet.commands_a_second(scene.seconds(110, 8))
        before = fleet.simulator.bill()
        fleet.simulator.configure(balance_rub=1_000_000)
        topped_up = time.monotonic()
        until(lambda: fleet.simulator.bill()["billed"] > before["billed"], 60, "a paid call")
        first_call = time.monotonic() - topped_up
        fleet.wait_until_settled(600)
        verdict, slots = fleet.judge(), _WORKERS * fleet.concurrency
        trials = _trials(fleet)
    scene.equal("completed", verdict.completed, count)
    scene.equal("billed twice", verdict.billed_again, 0)
    scene.at_most("refused calls", verdict.calls - verdict.billed, slots + trials)
    scene.at_most("Redis commands a second for each worker, closed", commands / _WORKERS, 5)
    scene.at_most("seconds from the top-up to the first call", first_call, 10)
    scene.equal("open books", ", ".join(verdict.open_books) or "none", "none")
    scene.note(refused=verdict.calls - verdict.billed, slots=slots, trials=trials)


def _trials(fleet: ChaosFleet) -> int:
    """Return how often the gate let a call try; each reopening is an epoch."""
    gates: Any = fleet.redis.scan_iter("visionq:gate:*")
    return sum(int(fleet.redis.hget(gate, "epoch") or 0) for gate in gates)


SCENARIOS: Final = (
    Scenario(
        "balance",
        "An empty balance fails no job, pays for none twice, and is noticed when it is topped up",
        balance,
        busy=True,
    ),
)
