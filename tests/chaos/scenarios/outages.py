"""Redis goes away, hangs, is cut off, or forgets."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import TYPE_CHECKING, Any, Final

from tests.chaos.proxy import running_proxy
from tests.chaos.scenario import Scenario
from tests.support.fleet import jobs
from tests.support.waiting import until
from visionq.devstack.redis_server import running_redis

if TYPE_CHECKING:
    from pathlib import Path

    from tests.chaos.fleet import ChaosFleet
    from tests.chaos.scenario import Scene

#: Seconds that a call takes, so that some are out at every fault.
_CALL: Final = 1.0


def restarts(scene: Scene) -> None:
    """Kill Redis and start it again, over and over, while jobs are submitted and worked on."""
    times, count = scene.size(20, 2), scene.size(75, 5) * 20
    # With `everysec` a kill may lose what was acknowledged while Redis waited for its disk.
    with scene.fleet(workers=2, fsync="always") as fleet:
        fleet.simulator.configure(latency_s=_CALL)
        submitter = _submitting(fleet, count)
        for _ in range(times):
            time.sleep(fleet.random.uniform(1, 3))
            fleet.server.kill()
            time.sleep(fleet.random.uniform(0.2, 1.5))
            fleet.server.start()
        _all_well(scene, fleet, submitter, count)
    scene.note(restarts=times)


def standstill(scene: Scene) -> None:
    """Stop the process of Redis for longer than any lease, and let it go on."""
    count, pause = scene.size(300, 60), scene.seconds(30, 12)
    with scene.fleet(workers=2) as fleet:
        fleet.simulator.configure(latency_s=_CALL)
        fleet.submit(count)
        until(lambda: fleet.ended() > count // 10, 30, "some jobs to end")
        os.kill(fleet.server.pid, signal.SIGSTOP)
        time.sleep(pause)
        os.kill(fleet.server.pid, signal.SIGCONT)
        _all_well(scene, fleet, None, count)
    scene.note(stopped_for=pause)


def resets(scene: Scene) -> None:
    """Reset every connection between the workers and Redis, again and again."""
    times, count = scene.size(20, 4), scene.size(800, 100)
    with scene.fleet(workers=0) as fleet, running_proxy(fleet.server.config.port) as proxy:
        fleet.extra["VISIONQ_REDIS_URL"] = f"redis://127.0.0.1:{proxy.port}/0"
        fleet.start_workers(2)
        fleet.simulator.configure(latency_s=_CALL)
        fleet.submit(count)
        cut = 0
        for _ in range(times):
            time.sleep(1)
            cut += proxy.reset()
        _all_well(scene, fleet, None, count)
    scene.note(connections_reset=cut)


def broker_away(scene: Scene) -> None:
    """Take a broker away that is apart from the ledger."""
    count, pause = scene.size(1_000, 100), scene.seconds(60, 4)
    with (
        running_redis(scene.folder / "broker") as broker,
        scene.fleet(workers=2, extra={"VISIONQ_BROKER_URL": broker.url}) as fleet,
    ):
        fleet.simulator.configure(latency_s=_CALL)
        fleet.submit(count // 2)
        until(lambda: fleet.ended() > count // 10, 30, "some jobs to end")
        broker.kill()
        fleet.submit(count - count // 2)  # the ledger takes them all the same
        time.sleep(pause)
        broker.start()
        _all_well(scene, fleet, None, count)
    scene.note(away_for=pause)


def cut_log(scene: Scene) -> None:
    """Lose the end of the append-only file, as a host that loses its power may."""
    count, times, forgotten = scene.size(600, 80), scene.size(5, 1), 0
    # `always`: the log then ends with what was acknowledged last, and what is cut off is known.
    with scene.fleet(workers=2, fsync="always") as fleet:
        fleet.simulator.configure(latency_s=_CALL)
        fleet.submit(count)
        for _ in range(times):
            time.sleep(1.5)
            forgotten += _lose_the_end(fleet, 0.2)
        # A client that is not sure submits again, under the same keys: here everybody.
        again = [{"idempotency_key": str(number), **one} for number, one in enumerate(jobs(count))]
        known = [job.id for job in fleet.client.submit_many(again)]
        fleet.wait_until_settled(240, fleet.replace_ended)
        verdict = fleet.judge()
    differ = sum(one != other for one, other in zip(known, fleet.submitted, strict=True))
    scene.equal("jobs that a second submission made", differ, 0)
    scene.equal("jobs lost", verdict.lost, 0)
    scene.equal("completed or of unknown billing", verdict.completed, count)
    scene.at_most("billed again, of calls forgotten", verdict.billed_again, forgotten)
    scene.equal("open books", ", ".join(verdict.open_books) or "none", "none")
    scene.equal("unpaid in the books", max(0, verdict.bill - verdict.settled - verdict.unknown), 0)
    scene.note(cuts=times, billed_again=verdict.billed_again, unknown_calls=verdict.unknown_calls)


def _lose_the_end(fleet: ChaosFleet, seconds: float) -> int:
    """Return how many calls Redis forgets: those that were out at some moment of what is lost."""
    log = _log_of(fleet)
    before = fleet.simulator.bill()
    out, size = fleet.calls_out(), log.stat().st_size
    time.sleep(seconds)
    fleet.server.kill()
    time.sleep(1)  # what was marked as sent just before has arrived by now
    after = fleet.simulator.bill()
    os.truncate(log, size)
    fleet.server.start()
    return out + int(after["calls"] - before["calls"])


def _log_of(fleet: ChaosFleet) -> Path:
    (log,) = (fleet.server.config.data_dir / "appendonlydir").glob("*.incr.aof")
    return log


class _Submitter(threading.Thread):
    """Submits a few jobs at a time while the scenario goes on."""

    def __init__(self, fleet: ChaosFleet, count: int) -> None:
        super().__init__(daemon=True)
        self.fleet, self.count = fleet, count
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            for _ in range(self.count // 20):
                self.fleet.submit(20)
                time.sleep(0.4)
        except Exception as error:  # noqa: BLE001  # reported by the scenario
            self.error = error


def _submitting(fleet: ChaosFleet, count: int) -> _Submitter:
    submitter = _Submitter(fleet, count)
    submitter.start()
    return submitter


def _all_well(scene: Scene, fleet: ChaosFleet, submitter: _Submitter | None, count: int) -> None:
    """Wait for the end; every job must have been called for exactly once, by lasting workers."""
    died = 0

    def replace() -> None:
        nonlocal died
        died += fleet.replace_ended()

    if submitter is not None:
        submitter.join(300)
        scene.equal("errors but queue_unavailable", str(submitter.error or "none"), "none")
        scene.note(submissions_refused=fleet.refusals)
    seconds = fleet.wait_until_settled(240, replace)
    verdict = fleet.judge()
    scene.equal("completed", verdict.completed, count)
    scene.equal("calls", verdict.calls, count)
    scene.equal("most calls of one picture", verdict.most_calls, 1)
    scene.equal("workers that ended", died, 0)
    scene.equal("open books", ", ".join(verdict.open_books) or "none", "none")
    scene.note(seconds_until_all_was_done=seconds, delayed_fsyncs=_delayed(fleet))


def _delayed(fleet: ChaosFleet) -> int:
    """Return how often Redis answered before it had written: its death may lose those answers."""
    shown: Any = fleet.redis.info("persistence")
    return int(shown.get("aof_delayed_fsync", 0))


SCENARIOS: Final = (
    Scenario(
        "restarts",
        "Redis killed 20 times under load: work goes on by itself, no picture is called for twice",
        restarts,
    ),
    Scenario("standstill", "Redis stopped for 30 s: no job and no call is repeated", standstill),
    Scenario("resets", "Connections reset 20 times: no job and no call is repeated", resets),
    Scenario(
        "broker-away", "A separate broker away for a minute: jobs wait, and go on", broker_away
    ),
    Scenario(
        "cut-log",
        "The last 200 ms of Redis's log cut off: the run repairs itself, and doubles are counted",
        cut_log,
        in_tests=True,
    ),
)
