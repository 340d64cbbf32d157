"""Several processes keep one provider's limit, announced or not, and raise it while they run."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest

from tests.support.fleet import jobs, running_fleet
from tests.support.waiting import until
from visionq.ledger.rate_limits import read_limits

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.fleet import Fleet

pytestmark = pytest.mark.timeout(180)
MODEL = "gpt-6-luna"


def test_a_limit_that_is_set(fleet: Fleet) -> None:
    """Two workers keep to it almost without a refusal; when it is cleared all goes fast again."""
    fleet.simulator.configure(requests_per_minute=240, rate_headers=False)
    fleet.read("limits", "set", MODEL, "--requests", "240")
    list(fleet.client.submit_many(jobs(200)))
    until(lambda: fleet.simulator.bill()["calls"] > 4, 20, "the first calls")
    before, started = fleet.simulator.bill(), time.monotonic()
    time.sleep(12)
    after, seconds = fleet.simulator.bill(), time.monotonic() - started
    rate = (after["billed"] - before["billed"]) * 60 / seconds
    assert 0.7 * 240 < rate < 1.1 * 240
    assert after["calls"] - after["billed"] <= 2
    fleet.simulator.configure(requests_per_minute=None)
    fleet.read("limits", "clear", MODEL)
    fleet.wait_for_counts(30, completed=200)


def test_a_limit_that_headers_tell(fleet: Fleet) -> None:
    """After the first answers no more is sent than they allow, and every job ends."""
    fleet.simulator.configure(requests_per_minute=300)
    list(fleet.client.submit_many(jobs(90)))
    fleet.wait_for_counts(60, completed=90)
    bill = fleet.simulator.bill()
    assert bill["billed"] == 90
    assert bill["calls"] <= 90 + 32  # those that were out before anything was known


def test_limits_of_the_environment(tmp_path: Path) -> None:
    """`VISIONQ_LIMITS` holds for all workers, until one is started with others."""
    said = {"VISIONQ_LIMITS": json.dumps({MODEL: {"requests_per_minute": 60}})}
    with running_fleet(tmp_path, workers=1, extra=said) as fleet:
        fleet.simulator.configure(rate_headers=False)
        list(fleet.client.submit_many(jobs(8)))
        until(lambda: fleet.simulator.bill()["calls"] > 0, 20, "the first call")
        time.sleep(3)
        assert 2 <= fleet.simulator.bill()["calls"] <= 5
        assert read_limits(fleet.redis)["environment"][MODEL].requests_per_minute == 60
        fleet.extra.clear()
        fleet.start_workers(1)
        assert read_limits(fleet.redis)["environment"] == {}
        fleet.wait_for_counts(30, completed=8)
