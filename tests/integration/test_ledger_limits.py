"""What the scripts may cost, and what goes on when Redis has no memory left."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import pytest

from tests.support.ledger import LedgerDriver, completed, new_job, outcome_of, paid
from visionq.contract import State
from visionq.ledger import Verdict
from visionq.names import JOB, LANE, LANE_RING, LANE_SIZES, QUEUE_BULK, TENANT_RING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis import Redis

LANE_OF_MANY = f"{QUEUE_BULK}:t:m1"


@pytest.fixture
def driver(any_redis: Redis) -> Iterator[LedgerDriver]:
    yield LedgerDriver(any_redis)
    any_redis.config_set("maxmemory", 0)


def _leave_no_memory(redis: Redis) -> None:
    redis.set("ballast", secrets.token_bytes(10_000_000))
    redis.config_set("maxmemory", 8_000_000)


def test_work_ends_without_memory(driver: LedgerDriver) -> None:
    """At the memory limit leases are renewed, jobs end, and cancel still frees what is queued."""
    registration = driver.worker()
    ids = driver.enter(*(new_job() for _ in range(4)))
    claims = [driver.claim(hint.id, registration) for hint in driver.hints()]
    (waiting,) = driver.enter(new_job())
    for claim in claims:
        assert driver.ledger.admit(claim, reserve=9).verdict is Verdict.GO
    driver.redis.delete("visionq:wake")
    _leave_no_memory(driver.redis)
    assert not driver.ledger.renew(registration, [(claim.id, claim.token) for claim in claims])
    for claim, kind in zip(
        claims, ("completed", "failed", "waiting 3", "parked key_rejected"), strict=True
    ):
        assert driver.ledger.finish(claim, paid(outcome_of(kind, claim.id), cost=5))
    assert [driver.state(job_id).value for job_id in ids] == [
        "completed",
        "failed",
        "waiting",
        "parked",
    ]
    assert driver.ledger.cancel([waiting, *ids]) == [
        "queued",
        "completed",
        "failed",
        "waiting",
        "parked",
    ]


def test_late_finish_without_memory(driver: LedgerDriver) -> None:
    """So is a paid answer that comes late."""
    late = driver.begin()
    driver.ledger.admit(late, reserve=9)
    driver.lapse(late)
    _leave_no_memory(driver.redis)
    assert not driver.ledger.finish(late, paid(completed(late.id, "late"), cost=5))
    assert driver.money() == {"settled": 5}


def _queue_many(redis: Redis, count: int, state: str) -> None:
    """Fill one lane past the ledger, which would take a minute to enter this many."""
    redis.eval(
        """
        for i = 1, ARGV[1] do
          redis.call('RPUSH', KEYS[1], 'j' .. i)
          if ARGV[2] == 'queued' then
            local job = ARGV[3] .. 'j' .. i
            redis.call('HSET', job, 'state', 'queued', 'lane', ARGV[4], 'pictures', 1)
          end
        end
        """,
        1,
        LANE + LANE_OF_MANY,
        count,
        state,
        JOB,
        LANE_OF_MANY,
    )
    redis.rpush(f"{LANE_RING}{QUEUE_BULK}:t", LANE_OF_MANY)
    redis.rpush(f"{TENANT_RING}{QUEUE_BULK}", "t")


def _calls(redis: Redis, command: str) -> int:
    statistics = redis.info("commandstats")
    return int(statistics.get(f"cmdstat_{command}", {"calls": 0})["calls"])


def test_dispatch_takes_500_of_100000(driver: LedgerDriver) -> None:
    """However much is queued and however much room there is, one look takes at most 500 jobs."""
    _queue_many(driver.redis, 100_000, "queued")
    driver.redis.hset(LANE_SIZES, LANE_OF_MANY, 100_000)
    driver.worker(slots=5_000)
    driver.redis.config_resetstat()
    assert len(driver.ledger.dispatch().hints) == 500
    assert _calls(driver.redis, "lpop") == 500
    assert sum(_calls(driver.redis, name) for name in ("hget", "hmget", "hset", "hincrby")) < 10_000
    assert driver.redis.llen("visionq:wake") == 1, "the next 500 do not wait for a tick"


def test_cancelled_jobs_are_not_walked_at_once(driver: LedgerDriver) -> None:
    """Jobs that ended in a lane are cleared, at most 500 at a look, up to the live job."""
    _queue_many(driver.redis, 100_000, "cancelled")
    driver.redis.ltrim(LANE + LANE_OF_MANY, -99_000, -1)
    driver.enter(new_job("alive", tenant="t", model="m1", priority="bulk"))
    driver.worker()
    driver.redis.config_resetstat()
    for _ in range(3):
        driver.redis.delete("visionq:wake")
        assert driver.ledger.dispatch().hints == ()
        assert driver.redis.llen("visionq:wake") == 1
    assert _calls(driver.redis, "lpop") == 1_500
    driver.redis.ltrim(LANE + LANE_OF_MANY, -100, -1)
    assert [hint.id for hint in driver.ledger.dispatch().hints] == ["alive"]


def test_last_cancel_clears_the_lane(driver: LedgerDriver) -> None:
    """A lane of which everything was cancelled is dropped at once, unwalked."""
    ids = driver.enter(*(new_job(priority="bulk") for _ in range(1_500)))
    driver.ledger.cancel(ids)
    assert driver.redis.keys(LANE + "*") == []
    assert driver.redis.keys(LANE_RING + "*") == driver.redis.keys(TENANT_RING + "*") == []
    assert driver.state(ids[-1]) is State.CANCELLED
