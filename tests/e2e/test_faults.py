"""The main job under the faults of every day, with real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from celery import Celery
from celery.result import AsyncResult

from tests.support.fleet import jobs
from tests.support.waiting import until
from visionq.pricing.money import nano_rubles

if TYPE_CHECKING:
    from tests.support.fleet import Fleet

pytestmark = pytest.mark.timeout(240)


def test_transient_faults_cost_no_job_and_no_second_payment(fleet: Fleet) -> None:
    """800 pictures with a fifth of the calls refused all complete, each billed exactly once."""
    fleet.simulator.configure(faults={"429": 0.07, "500": 0.07, "503": 0.06})
    submitted = [job.id for job in fleet.client.submit_many(jobs(800))]
    fleet.wait_for_counts(180, completed=800)

    app = Celery(broker=fleet.server.url, backend=fleet.server.url)
    results: list[dict[str, Any]]
    results = [AsyncResult(job_id, app=app).get(timeout=5) for job_id in submitted]
    assert [result["id"] for result in results] == submitted
    bill = fleet.simulator.bill()
    assert bill["billed"] == len(bill["digests"]) == 800
    assert all(count["billed"] == 1 for count in bill["digests"].values())
    assert bill["calls"] > 880
    assert fleet.money()["settled"] == nano_rubles(Decimal(bill["rub"]))
    costs = [Decimal(result["cost_rub"]) for result in results]
    assert sum(costs, Decimal(0)) == Decimal(bill["rub"])
    assert fleet.money()["reserved"] == 0


def test_a_killed_worker_s_jobs_run_elsewhere(fleet: Fleet) -> None:
    """Jobs whose worker is killed before its calls go out are running elsewhere within 15 s."""
    fleet.simulator.configure(latency_s=3)
    submitted = list(fleet.client.submit_many(jobs(8)))
    until(lambda: fleet.simulator.bill()["calls"] == 8, 20, "all calls to be out")
    victim = fleet.workers[0]
    victim.kill()
    killed = time.monotonic()
    victim.wait()
    fleet.wait_for_counts(40, completed=8)
    assert time.monotonic() - killed < 15 + 3 + 2  # the calls themselves take three seconds
    bill = fleet.simulator.bill()
    # A call that was out may be made once more, and is then in the ledger's books.
    assert bill["billed"] - 8 == fleet.money().get("unknown_calls", 0)
    for job in submitted:
        assert fleet.client.wait(job, timeout=1).text


def test_an_outcome_survives_the_death_of_its_writer(fleet: Fleet) -> None:
    """A worker that dies right behind its commit has answered: `AsyncResult.get()` returns."""
    program = """
import os, signal, sys
from tests.support.worker_ledger import WorkerLedger
from visionq.contract import JobDocument, ResultDocument
from visionq.ledger import Billing, Completed, Ending, NewJob, Registration
from visionq.redis_connection import connect
ledger = WorkerLedger(connect(sys.argv[1], "test"))
document = JobDocument(prompt="?", model="other", images=[{"url": "https://example.com/a.png"}])
ledger.submit([NewJob("written", document)])
registration = Registration("w", 99, ("visionq.interactive",))
ledger.renew(registration)
while not any(hint.id == "written" for hint in ledger.dispatch().hints): pass
claim = ledger.claim("written", "token", registration)
result = ResultDocument(id="written", model="other", api="responses", text="yes")
ledger.admit(claim)
ledger.finish(claim, Ending(Completed(result), Billing.SETTLED, 1))
os.kill(os.getpid(), signal.SIGKILL)
"""
    for worker in fleet.workers:
        worker.terminate()
        worker.wait()
    command = [sys.executable, "-c", program, fleet.server.url]
    ended = subprocess.run(command, check=False, timeout=60)
    assert ended.returncode == -signal.SIGKILL
    app = Celery(broker=fleet.server.url, backend=fleet.server.url)
    assert AsyncResult("written", app=app).get(timeout=5)["text"] == "yes"


def test_a_killed_redis_costs_no_call(fleet: Fleet) -> None:
    """Redis killed and restarted in mid-run: all complete, and no surviving call is repeated."""
    fleet.simulator.configure(latency_s=1)
    list(fleet.client.submit_many(jobs(150)))
    until(lambda: fleet.counts().get("completed", 0) > 20, 30, "some jobs to complete")
    fleet.server.kill()
    time.sleep(3)
    fleet.server.start()
    fleet.wait_for_counts(90, completed=150)
    bill = fleet.simulator.bill()
    assert bill["calls"] == bill["billed"] == 150
    assert all(worker.poll() is None for worker in fleet.workers)


def test_a_stopped_redis_costs_no_call(fleet: Fleet) -> None:
    """Redis that hangs for longer than a lease: all complete, and no call is repeated."""
    fleet.simulator.configure(latency_s=1)
    list(fleet.client.submit_many(jobs(150)))
    until(lambda: fleet.counts().get("completed", 0) > 20, 30, "some jobs to complete")
    os.kill(fleet.server.pid, signal.SIGSTOP)
    time.sleep(30)
    os.kill(fleet.server.pid, signal.SIGCONT)
    fleet.wait_for_counts(90, completed=150)
    bill = fleet.simulator.bill()
    assert bill["calls"] == bill["billed"] == 150
    assert all(worker.poll() is None for worker in fleet.workers)


def test_a_warm_shutdown_finishes_what_runs(fleet: Fleet) -> None:
    """SIGTERM lets calls longer than a lease end, exits 0, and leaves the rest in the ledger."""
    fleet.simulator.configure(latency_s=13)
    submitted = list(fleet.client.submit_many(jobs(40)))
    until(lambda: fleet.simulator.bill()["calls"] == 32, 20, "every slot to be filled")
    for worker in fleet.workers:
        worker.terminate()
    assert [worker.wait(40) for worker in fleet.workers] == [0, 0]
    counts = fleet.counts()
    assert counts.pop("completed") == 32
    assert sum(counts.values()) == 8
    assert set(counts) <= {"queued", "hinted"}
    assert fleet.registered() == []
    fleet.simulator.configure(latency_s=0)
    fleet.start_workers(1)
    fleet.wait_for_counts(40, completed=40)
    assert fleet.simulator.bill()["calls"] == 40
    assert len(submitted) == 40


def test_a_job_that_nobody_answers_is_parked_in_the_end(fleet: Fleet) -> None:
    """A lone job is asked once more at once, a last time as a trial of the gate, then parked."""
    fleet.simulator.configure(faults_next=["cut_after_billing"] * 3)
    job = fleet.client.submit(**next(jobs(1)))
    until(lambda: fleet.client.get(job).unknown_calls == 3, 40, "three calls")
    fleet.wait_for_counts(30, parked=1)
    view = fleet.client.get(job)
    assert (view.reason, view.unknown_calls) == ("billing_unknown", 3)
    assert fleet.simulator.bill()["billed"] == 3


def test_a_held_job_is_never_called_twice(fleet: Fleet) -> None:
    """Under `hold` a call of unknown billing parks its job at once, its money in *unknown*."""
    fleet.simulator.configure(faults_next=["cut_after_billing"])
    fleet.client.submit(**next(jobs(1, on_unknown_billing="hold")))
    fleet.wait_for_counts(30, parked=1)
    assert fleet.simulator.bill()["calls"] == 1
    money = fleet.money()
    assert money["unknown_calls"] == 1
    assert money["unknown"] > 0
    assert money["reserved"] == 0
