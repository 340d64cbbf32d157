"""Hints that are doubled, stale or lost, and a clock that jumps."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final

from celery import Celery

from tests.chaos.fleet import broker_length
from tests.chaos.scenario import Scenario
from visionq.ledger import Hint, Ledger, Registration
from visionq.names import HINT_QUEUES, QUEUE_INTERACTIVE
from visionq.redis_connection import connect
from worker.threads.dispatcher import HintPublisher

if TYPE_CHECKING:
    from random import Random

    from tests.chaos.fleet import ChaosFleet
    from tests.chaos.scenario import Scene

_SLOTS: Final = 16


def hints(scene: Scene) -> None:
    """Send hints twice, late and for nothing; dispatch from elsewhere; let a clock jump."""
    count = scene.size(2_000, 150)
    with scene.fleet(workers=1) as fleet:
        fleet.add_odd_worker("--clock-jumps")
        fleet.simulator.configure(latency_s=0.3)
        fleet.submit(count)
        nuisance = _Nuisance(fleet, fleet.random)
        nuisance.start()
        seconds = fleet.wait_until_settled(240)
        nuisance.stopped.set()
        nuisance.join(10)
        fleet.wait_until_settled(30)
        verdict = fleet.judge()
    scene.equal("completed", verdict.completed, count)
    scene.equal("calls", verdict.calls, count)
    scene.equal("open books", ", ".join(verdict.open_books) or "none", "none")
    scene.at_least("needless hints", nuisance.needless, 100)
    scene.at_least("hints lost before they were published", nuisance.lost, 1)
    scene.note(seconds=seconds)


class _Nuisance(threading.Thread):
    """A second dispatcher, which loses hints and sends others that nobody needs."""

    def __init__(self, fleet: ChaosFleet, random: Random) -> None:
        super().__init__(daemon=True)
        self.stopped = threading.Event()
        self.needless = self.lost = 0
        self._fleet, self._random = fleet, random
        app = Celery("nuisance", broker=fleet.server.url, set_as_current=False)
        self._publisher = HintPublisher(app)

    def run(self) -> None:
        while not self.stopped.wait(0.05):
            found = self._fleet.client._ledger.dispatch().hints
            if self._random.random() < 0.1:  # as one that dies between ledger and broker
                self.lost += len(found)
            else:
                self._publisher.publish(found)
            chosen = self._random.sample(self._fleet.submitted, 3)
            queue = self._random.choice(HINT_QUEUES)
            needless = [Hint(job_id, queue, "default", "any", 1) for job_id in chosen] * 2
            self._publisher.publish(needless)
            self.needless += len(needless)


def away(scene: Scene) -> None:
    """Keep a worker registered that takes no message, and dispatch for it all the while."""
    count, seconds = scene.size(2_000, 60), scene.seconds(90, 8)
    with scene.fleet(workers=0) as fleet:
        fleet.submit(count)
        longest = _dispatch_for_nobody(fleet, seconds)
        fleet.start_workers(1)
        fleet.wait_until_settled(180)
        verdict = fleet.judge()
    target = _SLOTS + _SLOTS // 8
    scene.at_most("longest queue in the broker", longest, 2 * target)
    scene.equal("completed", verdict.completed, count)
    scene.equal("calls", verdict.calls, count)
    scene.note(target=target, away_for=seconds)


def _dispatch_for_nobody(fleet: ChaosFleet, seconds: float) -> int:
    publisher = HintPublisher(Celery("away", broker=fleet.server.url, set_as_current=False))
    registration = Registration("absent", _SLOTS, HINT_QUEUES)
    longest = 0
    with connect(fleet.server.url, "chaos") as redis:
        ledger, end = Ledger(redis), time.monotonic() + seconds
        while time.monotonic() < end:
            ledger.renew(registration)
            publisher.publish(ledger.dispatch().hints)
            redis.rpop(QUEUE_INTERACTIVE)  # a message that gets lost on its way
            longest = max(longest, broker_length(fleet.server.url))
            time.sleep(0.5)
        ledger.renew(Registration("absent", 0, HINT_QUEUES))
    return longest


SCENARIOS: Final = (
    Scenario(
        "hints",
        "Hints doubled, stale and lost, two dispatchers, a clock that jumps: one call for each job",
        hints,
        busy=True,
    ),
    Scenario("away", "Workers away: the broker's queue stays within twice its target", away),
)
