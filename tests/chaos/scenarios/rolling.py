"""Workers that are asked to end, as at every deployment."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING, Final

from tests.chaos.scenario import Scenario
from tests.support.waiting import until

if TYPE_CHECKING:
    from tests.chaos.scenario import Scene
    from tests.support.fleet import WorkerProcess

#: Jobs for each worker that is asked to end: a few more than two workers do in the meantime.
_JOBS_EACH: Final = 30


def rolling(scene: Scene) -> None:
    """Replace one worker after the other, each with calls out that outlast its lease."""
    times = scene.size(20, 2)
    count = times * _JOBS_EACH
    asked: list[WorkerProcess] = []
    with scene.fleet(workers=2, extra={"VISIONQ_LEASE": "5"}) as fleet:
        fleet.simulator.configure(latency_s=7)
        for _ in range(times):
            fleet.submit(_JOBS_EACH)
            until(lambda: fleet.calls_out() > 0, 60, "calls to be out")
            oldest = fleet.workers[0]
            oldest.terminate()
            asked.append(oldest)
            fleet.replace(oldest)
            time.sleep(scene.seconds(5, 3))
        fleet.wait_until_settled(400)
        codes = [worker.wait(30) for worker in asked]
        verdict = fleet.judge()
    scene.equal("completed", verdict.completed, count)
    scene.equal("calls", verdict.calls, count)
    scene.equal("exit codes", str(sorted(set(codes))), "[0]")
    scene.equal("open books", ", ".join(verdict.open_books) or "none", "none")
    scene.note(workers_replaced=times)


def stopped(scene: Scene) -> None:
    """Stop an idle worker, submit, and kill it: what it was handed, nobody else has."""
    rounds, count = scene.size(5, 1), 20
    with scene.fleet(workers=0) as fleet:
        longest = 0.0
        for _ in range(rounds):
            fleet.start_workers(1)
            (worker,) = fleet.workers
            worker.send_signal(signal.SIGSTOP)
            fleet.submit(count)
            time.sleep(2)
            worker.kill()
            worker.wait()
            fleet.replace(worker)
            longest = max(longest, fleet.wait_until_settled(90))
            for last in fleet.workers:
                last.terminate()
                last.wait(30)
            fleet.workers.clear()
        verdict = fleet.judge()
    scene.equal("completed", verdict.completed, rounds * count)
    scene.equal("calls", verdict.calls, rounds * count)
    scene.equal("open books", ", ".join(verdict.open_books) or "none", "none")
    scene.note(longest_seconds_until_all_was_done=longest)


SCENARIOS: Final = (
    Scenario(
        "rolling", "SIGTERM to worker after worker, mid-call: none lost, none repeated", rolling
    ),
    Scenario("stopped", "A worker that hangs and then dies takes no job with it", stopped),
)
