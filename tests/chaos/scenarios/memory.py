"""Redis at its memory limit."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from tests.chaos.scenario import Scenario
from tests.support.fleet import jobs
from tests.support.waiting import until
from visionq.errors import QueueUnavailable

if TYPE_CHECKING:
    from tests.chaos.fleet import ChaosFleet
    from tests.chaos.scenario import Scene


def full_memory(scene: Scene) -> None:
    """Leave Redis no byte for a while, with calls out and jobs queued."""
    count, pause = scene.size(400, 80), scene.seconds(30, 5)
    with scene.fleet(workers=2) as fleet:
        fleet.simulator.configure(latency_s=2)
        fleet.submit(count)
        until(lambda: fleet.ended() > count // 10, 60, "some jobs to end")
        before = fleet.ended()
        out = fleet.calls_out()
        _limit(fleet, _used(fleet) - 200_000)
        refused = _is_refused(fleet)
        time.sleep(pause)
        ended = fleet.ended() - before
        _limit(fleet, 0)
        seconds = fleet.wait_until_settled(120)
        died = fleet.replace_ended()
        verdict = fleet.judge()
    scene.equal("a submitter is refused", refused, "queue_unavailable")
    scene.at_least("calls out that ended while Redis was full", ended, out)
    scene.equal("completed", verdict.completed, count)
    scene.equal("most calls of one picture", verdict.most_calls, 1)
    scene.equal("workers that ended", died, 0)
    scene.equal("open books", ", ".join(verdict.open_books) or "none", "none")
    scene.note(full_for=pause, calls_out=out, seconds_afterwards=seconds)


def _is_refused(fleet: ChaosFleet) -> str:
    try:
        list(fleet.client.submit_many(jobs(1, 1_000_000)))
    except QueueUnavailable as error:
        return error.code
    return "nothing"


def _used(fleet: ChaosFleet) -> int:
    shown: Any = fleet.redis.info("memory")
    return int(shown["used_memory"])


def _limit(fleet: ChaosFleet, limit: int) -> None:
    fleet.redis.config_set("maxmemory", limit)


SCENARIOS: Final = (
    Scenario(
        "full-memory",
        "Redis at its memory limit: submitters are refused, running calls end, work goes on after",
        full_memory,
    ),
)
