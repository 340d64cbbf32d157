"""Two releases at work on the same Redis."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from tests.chaos.scenario import Scenario
from tests.support.ledger import new_job, newer
from tests.support.waiting import until
from visionq.ledger.ledger import VERSION
from visionq.names import LEDGER_VERSION

if TYPE_CHECKING:
    from tests.chaos.scenario import Scene
    from tests.support.fleet import WorkerProcess

#: Seconds in which a worker that refuses to start has said so.
_REFUSAL: Final = 30


def upgrade(scene: Scene) -> None:
    """Submit jobs of the next release to a fleet that is upgraded worker by worker."""
    count = scene.size(200, 40)
    with scene.fleet(workers=1) as fleet:
        fleet.simulator.configure(latency_s=0.1)
        ledger = fleet.client._ledger
        address = [{"url": f"{fleet.simulator.url}/healthz"}]
        fresh = [newer(new_job(f"new-{number}", images=address)) for number in range(count)]
        ledger.submit(fresh)
        fleet.submit(count)
        until(lambda: fleet.states().get("parked", 0) == count, 60, "newer jobs to be parked")
        until(lambda: fleet.ended() == count, 60, "older jobs to end")
        reason = fleet.client.get(fresh[0].id).reason
        called = fleet.simulator.bill()["calls"]
        newest = fleet.add_odd_worker("--schema-version", "2")
        until(lambda: not fleet.states().get("parked"), 60, "a capable worker to be found")
        taken = time.monotonic()
        _end(fleet.workers[0])
        until(lambda: fleet.ended() == 2 * count, 60, "newer jobs to end")
        fleet.redis.set(LEDGER_VERSION, VERSION + 1)
        older = fleet._start_worker(200)
        refused = older.wait(_REFUSAL)
        scene.equal("the newer worker goes on", str(newest.poll()), "None")
        verdict = fleet.judge()
    scene.equal("newer jobs are parked as", str(reason), "newer_worker_needed")
    scene.equal("older jobs completed meanwhile", verdict.completed, count)
    scene.equal("calls by then", called, count)
    scene.at_least("exit code of a worker that is too old for the ledger", refused, 1)
    scene.equal("open books", ", ".join(verdict.open_books) or "none", "none")
    scene.note(seconds_for_newer_jobs=time.monotonic() - taken)


def _end(worker: WorkerProcess) -> None:
    worker.terminate()
    worker.wait(30)


SCENARIOS: Final = (
    Scenario(
        "upgrade",
        "Jobs newer than a worker wait for a newer one; a worker too old for the ledger won't run",
        upgrade,
    ),
)
