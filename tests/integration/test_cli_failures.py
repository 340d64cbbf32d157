"""Failures that people can act on: found by what they are, and asked again."""

from __future__ import annotations

import json
from io import StringIO
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.ledger import (
    LedgerDriver,
    completed,
    new_job,
    outcome_of,
    paid,
    unpaid,
    with_blobs,
)
from tests.support.worker_ledger import WorkerLedger
from visionq import cli, names
from visionq.contract import State
from visionq.ledger import LedgerOptions
from visionq.ledger.search import JobFilter, find_jobs
from visionq.ledger.views import job_document

if TYPE_CHECKING:
    from redis import Redis

Output = pytest.CaptureFixture[str]
MODEL = "gpt-6-luna"


@pytest.fixture
def driver(redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> LedgerDriver:
    monkeypatch.setenv("VISIONQ_REDIS_URL", redis_url)
    driver = LedgerDriver(redis)
    driver.clock.now = 1_790_000_000.0
    return driver


def fail(driver: LedgerDriver, **fields: Any) -> str:
    claim = driver.begin(new_job(model=MODEL, **fields))
    driver.ledger.admit(claim, reserve=9_000_000)
    assert driver.ledger.finish(claim, paid(outcome_of("failed", claim.id), cost=5_000_000))
    return claim.id


def listed(capsys: Output, *options: str) -> list[str]:
    assert cli.run(["jobs", "list", "--json", *options]) == 0
    return [job["id"] for job in json.loads(capsys.readouterr().out)]


def replayed(capsys: Output, *options: str, code: int = 0) -> dict[str, Any]:
    assert cli.run(["jobs", "replay", "--json", *options]) == code
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def batch(redis: Redis, name: str) -> dict[str, int]:
    stored: Any = redis.hgetall(names.BATCH + name)
    return {key.decode(): int(value) for key, value in stored.items() if int(value)}


def test_failures_are_found_by_what_they_are(driver: LedgerDriver, capsys: Output) -> None:
    """Each filter leaves the jobs that fit it, and filters join."""
    shop = fail(driver, tenant="shop", batch_id="b1")
    driver.clock.now += 3600
    other = fail(driver, tenant="other")
    good = driver.begin()
    driver.ledger.finish(good, paid(completed(good.id)))
    assert listed(capsys, "--failed") == [other, shop]
    assert listed(capsys, "--failed", "--tenant", "shop") == [shop]
    assert listed(capsys, "--failed", "--code", "not_an_image") == [other, shop]
    assert listed(capsys, "--failed", "--code", "corrupt_image") == []
    assert listed(capsys, "--batch", "b1") == [shop]
    early = "2026-09-21T14:43:00+00:00"  # half an hour after the first failure
    assert listed(capsys, "--failed", "--since", early) == [other]
    assert listed(capsys, "--failed", "--until", early) == [shop]
    assert cli.run(["jobs", "list", "--since", "yesterday"]) == 2
    assert cli.run(["jobs", "list", "--failed", "--state", "queued"]) == 2


def test_finding_does_not_stop_at_the_first_page(redis: Redis) -> None:
    """A job is found behind any number of others that are due before it, or ended after it."""
    ledger = WorkerLedger(redis)
    ledger.submit([new_job(f"q{n}", deadline="2100-01-01T00:00:00Z") for n in range(1100)])
    redis.hset(f"{names.JOB}q7", "state", "waiting")
    redis.zadd(names.DUE, {"q7": 4.2e12})
    assert next(find_jobs(redis, JobFilter(state=State.WAITING))).id == "q7"
    states = [f"q{number}" for number in range(500, 600)]
    ledger.cancel(states)
    ledger.cancel([f"q{number}" for number in range(600, 1100)])
    found = find_jobs(redis, JobFilter(state=State.CANCELLED))
    assert len({view.id for view in found}) == 600


def test_good_jobs_push_no_failure_out(redis: Redis) -> None:
    """A failure stays listed however many jobs complete after it, and for a time of its own."""
    driver = LedgerDriver(redis, LedgerOptions(finished_kept=2, result_ttl=100, failed_ttl=5000))
    driver.clock.now = float(redis.time()[0])
    bad = fail(driver)
    for _ in range(5):
        claim = driver.begin()
        driver.ledger.finish(claim, paid(completed(claim.id)))
    assert [view.id for view in find_jobs(redis, JobFilter(state=State.FAILED))] == [bad]
    assert 4900 < redis.ttl(names.JOB + bad) <= 5000
    driver.clock.now += 5001
    again = fail(driver)
    assert redis.zrange(names.FAILED, 0, -1) == [again.encode()]


def test_replay_tells_the_price_first(
    driver: LedgerDriver, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a yes nothing is submitted; the price is the most that it can be."""
    fail(driver, prompt="Что?")
    fail(driver, prompt="Что?", max_output_tokens=50)
    plan = replayed(capsys, "--failed")
    assert (plan["jobs"], plan["cost_rub"], plan["replayed"]) == (2, "0.010", None)
    assert float(plan["most_rub"]) > 0.01
    monkeypatch.setattr("sys.stdin", StringIO())
    assert cli.run(["jobs", "replay", "--failed"]) == 130  # nobody is there to answer
    assert "2 jobs, at most" in capsys.readouterr().out
    assert len(list(find_jobs(driver.redis, JobFilter()))) == 2


def test_replay_makes_new_jobs_that_name_the_old(driver: LedgerDriver, capsys: Output) -> None:
    """A replay asks the same, is asked for once, and takes the place of the old job."""
    old = fail(driver, prompt="Что?", idempotency_key="k", deadline="2030-01-01T00:00:00Z")
    (one,) = replayed(capsys, "--failed", "--yes")["replayed"]
    document = job_document(driver.redis, one["replay"])
    assert document is not None
    assert (document.prompt, document.replay_of, document.deadline) == ("Что?", old, None)
    assert listed(capsys, "--failed") == []
    assert cli.run(["jobs", "show", old, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["replayed_by"] == one["replay"]
    (again,) = replayed(capsys, old, "--yes")["replayed"]
    assert (again["replay"], again["created"]) == (one["replay"], False)


def test_replay_counts_once_in_its_batch(driver: LedgerDriver, capsys: Output) -> None:
    """The batch counts a replayed job as what it will come to, not as the failure it was."""
    old = fail(driver, batch_id="b1")
    assert batch(driver.redis, "b1") == {"total": 1, "failed": 1}
    (one,) = replayed(capsys, "--batch", "b1", "--yes")["replayed"]
    assert batch(driver.redis, "b1") == {"total": 1}
    driver.ledger.note_replays({old: one["replay"]})
    assert batch(driver.redis, "b1") == {"total": 1}
    assert driver.redis.ttl(names.BATCH + "b1") == -1
    driver.worker()
    driver.hints()
    claim = driver.claim(one["replay"], driver.registration())
    driver.ledger.finish(claim, paid(completed(claim.id)))
    assert batch(driver.redis, "b1") == {"total": 1, "completed": 1}


def test_replay_without_its_pictures(driver: LedgerDriver, capsys: Output) -> None:
    """A job whose pictures are gone is reported as `blob_missing`; the others are replayed."""
    driver.redis.set(names.BLOB + "a" * 64, b"x")
    gone, kept = fail(driver, images=with_blobs("a")), fail(driver)
    driver.redis.delete(names.BLOB + "a" * 64)
    results = replayed(capsys, "--failed", "--yes", code=1)["replayed"]
    outcome = {one["id"]: one["error"] and one["error"]["code"] for one in results}
    assert outcome == {gone: "blob_missing", kept: None}


def test_only_what_ended_without_an_answer_is_replayed(
    driver: LedgerDriver, capsys: Output
) -> None:
    """A completed or running job is refused by name, and nothing is submitted."""
    claim = driver.begin()
    assert cli.run(["jobs", "replay", claim.id, "--yes"]) == 1
    assert "in_progress" in capsys.readouterr().err
    driver.ledger.finish(claim, unpaid(completed(claim.id)))
    assert cli.run(["jobs", "replay", claim.id, "--yes"]) == 1
    assert cli.run(["jobs", "replay", "nobody", "--yes"]) == 1
    assert cli.run(["jobs", "replay", "--yes"]) == 2
    assert cli.run(["jobs", "replay", "a", "--failed"]) == 2
    assert len(list(find_jobs(driver.redis, JobFilter()))) == 1


def test_a_picture_can_be_looked_at(driver: LedgerDriver, tmp_path: Any, capsys: Output) -> None:
    """The picture of a job is saved as it was submitted; an address is reported."""
    driver.redis.set(
        names.BLOB + "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881", b"x"
    )
    blob = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"
    images = [{"blob": blob}, {"url": "https://example.com/a.png"}]
    job = fail(driver, images=images)
    target = tmp_path / "a.png"
    assert cli.run(["jobs", "picture", job, "1", "-o", str(target)]) == 0
    assert target.read_bytes() == b"x"
    assert cli.run(["jobs", "picture", job, "2"]) == 0
    assert capsys.readouterr().out == "https://example.com/a.png\n"
    assert cli.run(["jobs", "picture", job, "3"]) == 2
