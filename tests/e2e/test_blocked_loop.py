"""A worker whose event loop is blocked: seen with its place, counted, and its jobs taken over."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.fleet import running_fleet
from tests.support.pictures import picture
from tests.support.waiting import until
from visionq.ledger.metrics import LOOP_BLOCKED
from visionq.names import METRICS

if TYPE_CHECKING:
    from pathlib import Path

#: Stands for a call in the pipeline that should not block, in the first worker that comes to it.
FAULT = """
import os, time
from visionq.pricing import vision

forecast = vision.forecast_texts

def forecast_texts(prompt, *others):
    if prompt == "block" and not os.path.exists(os.environ["BLOCKED"]):
        open(os.environ["BLOCKED"], "w").close()
        time.sleep(600)
    return forecast(prompt, *others)

vision.forecast_texts = forecast_texts
"""


@pytest.mark.long
@pytest.mark.timeout(300)
def test_jobs_of_a_blocked_loop_are_taken_over(tmp_path: Path) -> None:
    """Another worker answers them, and what comes after them; the blocked one says where it is."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(FAULT)
    path = os.pathsep.join(filter(None, [str(tmp_path / "site"), os.environ.get("PYTHONPATH")]))
    extra = {"PYTHONPATH": path, "VISIONQ_LEASE": "5", "BLOCKED": str(tmp_path / "blocked")}
    with running_fleet(tmp_path, workers=1, concurrency=4, extra=extra) as fleet:
        ask: dict[str, Any] = {"images": [picture(1)]}
        job = fleet.client.submit(prompt="block", **ask)
        log = tmp_path / "worker-0.log"
        until(lambda: "loop.blocked" in log.read_text(), 60, "the block to be logged")
        assert "forecast_texts" in log.read_text()
        redis = fleet.redis
        until(lambda: bool(redis.hget(METRICS, LOOP_BLOCKED)), 60, "the block to be counted")
        fleet.start_workers(1)
        neighbour = fleet.client.submit(prompt="go on", **ask)
        for one in (job, neighbour):
            assert "64x48" in fleet.client.wait(one, timeout=60).text
        assert fleet.workers[0].poll() is None  # alive: only its loop hangs
        assert fleet.simulator.bill()["calls"] == 2
        fleet.workers[0].kill()
