"""An empty balance, and a key that is refused: nobody's job is lost, nothing polls hot."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.support.fleet import jobs
from tests.support.waiting import until

if TYPE_CHECKING:
    from tests.support.fleet import Fleet

pytestmark = pytest.mark.timeout(180)


def test_jobs_outlive_an_empty_balance(fleet: Fleet) -> None:
    """The balance ends in mid-run: nothing fails, few calls are refused, a top-up lets all end."""
    fleet.simulator.configure(balance_rub="0.1", latency_s=0.2)  # for some fifty of them
    submitted = list(fleet.client.submit_many(jobs(300)))
    until(lambda: fleet.read("gate", "show")["state"] == "closed", 60, "the gate to close")
    until(lambda: fleet.counts().get("in_progress", 0) == 0, 10, "calls to come back")
    stopped = fleet.simulator.bill()
    assert stopped["calls"] - stopped["billed"] <= 32
    last = fleet.client.get(submitted[-1])
    assert (last.state, last.reason) == ("parked", "insufficient_balance")
    time.sleep(3)
    assert fleet.simulator.bill()["calls"] - stopped["calls"] <= 1  # at most a trial

    fleet.simulator.configure(balance_rub=100_000)
    topped_up = time.monotonic()
    until(lambda: fleet.simulator.bill()["billed"] > stopped["billed"], 20, "a paid call")
    assert time.monotonic() - topped_up < 10
    fleet.wait_for_counts(60, completed=300)
    bill = fleet.simulator.bill()
    assert bill["billed"] == len([d for d in bill["digests"].values() if d["billed"]]) == 300
    assert fleet.read("gate", "show")["state"] == "open"


def test_an_operator_closes_and_opens_the_gate(fleet: Fleet) -> None:
    """`gate close` stops all calls, `gate open` lets them go; jobs show as parked meanwhile."""
    assert fleet.read("gate", "close")["state"] == "closed"
    job = fleet.client.submit(**next(jobs(1)))
    time.sleep(7)  # longer than the first trial of a gate that closed by itself
    assert (job.status().state, job.status().reason) == ("parked", "operator")
    assert fleet.simulator.bill()["calls"] == 0
    assert fleet.read("gate", "open")["state"] == "open"
    assert job.wait(timeout=20).text
