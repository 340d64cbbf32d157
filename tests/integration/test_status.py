"""`visionq status` over a real Redis: what it counts, what it costs, how it is watched."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.ledger import BULK, LedgerDriver, new_job, outcome_of, paid, unpaid
from visionq import cli
from visionq.ledger import Ledger, Registration
from visionq.ledger.overview import overview
from visionq.ledger.overview_page import MOST_JOBS
from visionq.names import DUE, LANE_SIZES, QUEUE_BULK, WORKERS

if TYPE_CHECKING:
    from redis import Redis

COMMAND = [sys.executable, "-m", "visionq.cli", "status"]


@pytest.fixture
def driver(redis: Redis) -> LedgerDriver:
    """A ledger that lives now, as the page goes by the time of Redis."""
    driver = LedgerDriver(redis)
    driver.clock.now = time.time()
    return driver


def end_all(driver: LedgerDriver, *kinds: str) -> None:
    """Submit a job for each kind of outcome, and bring it there."""
    worker = driver.worker(slots=64)
    driver.enter(*(new_job() for _ in kinds))
    for kind, hint in zip(kinds, driver.hints(), strict=True):
        ending = paid if kind == "completed" else unpaid
        claim = driver.claim(hint.id, worker)
        driver.ledger.admit(claim)
        driver.ledger.finish(claim, ending(outcome_of(kind, hint.id)))


def test_an_empty_ledger(redis: Redis) -> None:
    """A Redis that has never seen a job is a page of zeros with an open gate."""
    page = overview(redis).to_public()
    assert page["queued"] == page["running"] == page["waiting"]["jobs"] == 0
    assert page["lanes"] == page["workers"] == []
    assert page["eta_seconds"] == 0
    assert page["gate"] == {
        "state": "open",
        "reason": None,
        "since": None,
        "keys": [],
        "held": {},
    }


def test_every_state_is_counted(redis: Redis, driver: LedgerDriver) -> None:
    """Jobs are counted by state, and those held by their reasons."""
    end_all(
        driver,
        *["completed"] * 3,
        *("failed", "waiting 30", "waiting 60", "retrying 9", "parked billing_unknown"),
        *["parked insufficient_balance"] * 2,
    )
    driver.begin()
    page = overview(redis)
    assert (page.queued, page.hinted, page.running) == (0, 0, 1)
    assert (page.completed, page.failed, page.cancelled) == (3, 1, 0)
    assert page.waiting.reasons == {"rate_limited": 2, "provider_unavailable": 1}
    assert page.parked.reasons == {"insufficient_balance": 2, "billing_unknown": 1}
    assert (page.waiting.jobs, page.waiting.counted) == (page.parked.jobs, page.parked.counted)
    assert page.rate.ended == 4
    assert page.rate.per_minute == pytest.approx(4, rel=0.1)
    assert (page.pace_per_minute, page.eta_seconds) == (None, None)  # four ends make no rate
    assert page.spend.settled_rub > 0


def test_lanes(redis: Redis, driver: LedgerDriver) -> None:
    """The backlog is reported by lane, the largest first, each with the age of its oldest job."""
    ids = driver.enter(*(new_job(tenant="acme", priority="bulk") for _ in range(5)))
    driver.clock.now += 60
    driver.enter(new_job(model="openai/m:2"), new_job(model="openai/m:2"))
    driver.ledger.cancel(ids[:2])
    page = overview(redis)
    assert [(one.queue, one.tenant, one.model, one.queued) for one in page.lanes] == [
        (QUEUE_BULK, "acme", "m1", 3),
        ("visionq.interactive", "default", "openai/m:2", 2),
    ]
    first, second = (one.oldest_submitted_at for one in page.lanes)
    assert first is not None
    assert second is not None
    assert (second - first).total_seconds() == pytest.approx(60, abs=0.01)
    assert page.oldest_submitted_at == first
    assert page.queued == 5


def test_a_lane_of_ended_jobs_has_no_age(redis: Redis, driver: LedgerDriver) -> None:
    """If the head of a lane has ended, its age is neither reported nor made up."""
    ids = driver.enter(*(new_job() for _ in range(10)))
    driver.ledger.cancel(ids[:5])
    (lane,) = overview(redis).lanes
    assert (lane.queued, lane.oldest_submitted_at) == (5, None)


def test_workers(redis: Redis, driver: LedgerDriver) -> None:
    """Each worker is reported with its slots, what it is busy with, and whether it lives."""
    driver.begin(worker=driver.worker("one", slots=4))
    driver.worker("two", slots=2, queues=BULK)
    redis.zadd(WORKERS, {"two": (time.time() - 1) * 1000})
    page = overview(redis)
    assert {(one.id, one.slots, one.busy, one.alive) for one in page.workers} == {
        ("one", 4, 1, True),
        ("two", 2, 0, False),
    }
    assert (page.slots, page.busy) == (6, 1)
    assert all(one.seen_at for one in page.workers)


def test_too_many_to_look_at(redis: Redis, driver: LedgerDriver) -> None:
    """Of many held jobs a thousand are looked at, and the page says so."""
    jobs = MOST_JOBS + 200
    driver.begin()
    with redis.pipeline() as pipeline:
        for number in range(jobs):
            job_id = f"parked-{number}"
            pipeline.hset(f"visionq:job:{job_id}", mapping={"state": "parked", "reason": "r"})
            pipeline.zadd("visionq:parked", {job_id: number})
            pipeline.zadd(DUE, {f"queued-{number}": number})
        pipeline.hset("visionq:counts", "parked", jobs)
        pipeline.execute()
    page = overview(redis)
    assert (page.parked.jobs, page.parked.counted) == (jobs, MOST_JOBS)
    assert page.parked.reasons == {"r": MOST_JOBS}
    assert [one.busy for one in page.workers] == [None]  # its leases may be among the rest


def test_the_cost_does_not_grow(redis: Redis, driver: LedgerDriver) -> None:
    """Redis executes no more commands for 4,000 jobs in the same lanes than for two."""

    def commands() -> int:
        before = redis.info("stats")["total_commands_processed"]
        overview(redis)
        return int(redis.info("stats")["total_commands_processed"]) - int(before)

    driver.enter(new_job(), new_job())
    few = commands()
    for _ in range(8):
        driver.enter(*(new_job() for _ in range(500)))
    assert redis.hgetall(LANE_SIZES) == {b"visionq.interactive:default:m1": b"4002"}
    assert commands() <= few + 2


def test_json(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], redis_url: str
) -> None:
    """`--json` prints one object whose keys stay."""
    monkeypatch.setenv("VISIONQ_REDIS_URL", redis_url)
    assert cli.run(["status", "--json"]) == 0
    page: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert [*page] == [
        *("at", "queued", "hinted", "running", "waiting", "parked", "completed", "failed"),
        *("cancelled", "oldest_submitted_at", "lanes", "lane_count", "rate", "pace_per_minute"),
        *("eta_seconds", "slots", "busy", "workers", "gate", "paces", "stopped"),
        *("batches", "unbatched", "spend", "simulated"),
    ]


def test_out_of_reach(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Without Redis the command ends with 3 and one line."""
    monkeypatch.setenv("VISIONQ_REDIS_URL", "redis://127.0.0.1:1/0")
    assert cli.run(["status"]) == 3
    assert capsys.readouterr().err.startswith("error: queue_unavailable: ")


def test_watching_as_json(redis_url: str) -> None:
    """`--watch --json` prints a page a line until it is interrupted."""
    environment = {**os.environ, "VISIONQ_REDIS_URL": redis_url}
    command = [*COMMAND, "--watch", "--json", "--interval", "0.1"]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        pages = [json.loads(process.stdout.readline()) for _ in range(3)]
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=10) == 130
        assert b"Traceback" not in process.stderr.read()
    assert pages[0]["at"] < pages[1]["at"] < pages[2]["at"]


def test_watching_on_a_terminal(redis_url: str) -> None:
    """`--watch` draws on a terminal again and again, and Ctrl-C gives the cursor back."""
    environment = {**os.environ, "VISIONQ_REDIS_URL": redis_url, "TERM": "xterm"}
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*COMMAND, "--watch", "--interval", "0.1"],
        env=environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    ) as process:
        os.close(theirs)
        drawn = read_until(ours, lambda text: text.count("Backlog") >= 3)
        process.send_signal(signal.SIGINT)
        drawn += read_until(ours, lambda text: "interrupted" in text)
        assert process.wait(timeout=10) == 130
    os.close(ours)
    assert drawn.rindex("\x1b[?25h") > drawn.index("\x1b[?25l")
    assert "Traceback" not in drawn


def read_until(terminal: int, enough: Any) -> str:
    text, end = "", time.monotonic() + 15
    while not enough(text):
        assert time.monotonic() < end, text
        if select.select([terminal], [], [], 0.2)[0]:
            text += os.read(terminal, 65536).decode(errors="replace")
    return text


def test_queues_are_told_without_the_key(redis: Redis) -> None:
    """A worker's queues are shown by their names alone, with any key."""
    Ledger(redis).renew(Registration("w", 4, ("visionq.bulk",), key="cd9b40277223"))
    (worker,) = overview(redis).workers
    assert worker.queues == ("visionq.bulk",)
