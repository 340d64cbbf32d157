"""A thousand calls at a time in one worker process, by neither threads nor connections."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.fleet import running_fleet
from tests.support.pictures import picture
from tests.support.waiting import until

#: Seconds for an answer: longer than it takes to send all calls on a busy machine.
LATENCY = 100
CALLS = 1000


@pytest.mark.timeout(300)
def test_calls_wait_in_one_loop(tmp_path: Path) -> None:
    """All are out at once, and the process has as few threads and connections as with one."""
    with running_fleet(tmp_path, workers=1, concurrency=CALLS) as fleet:
        fleet.simulator.configure(latency_s=LATENCY)
        (worker,) = fleet.workers
        asked = [
            {"prompt": str(number), "images": [picture(number % 50)]} for number in range(CALLS)
        ]
        assert len(list(fleet.client.submit_many(asked))) == CALLS
        status = Path(f"/proc/{worker.pid}/status")
        redis = fleet.redis
        until(lambda: fleet.counts().get("in_progress") == CALLS, LATENCY, "all calls to be out")
        threads = re.search(r"Threads:\s+(\d+)", status.read_text())
        assert threads is not None
        assert int(threads[1]) < 40
        connections = [one["name"] for one in redis.client_list()]
        assert connections.count("visionq-worker") < 25
        worker.kill()
