"""What the scripts may cost, and what goes on when Redis has no memory left."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import pytest

from tests.integration.ledger_kit import Desk, completed, new_job, outcome_of, paid
from visionq.contract import State
from visionq.ledger import Verdict
from visionq.names import JOB, LANE, LANE_RING, LANE_SIZES, QUEUE_BULK, TENANT_RING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis import Redis

LANE_OF_MANY = f"{QUEUE_BULK}:t:m1"


@pytest.fixture
def desk(any_redis: Redis) -> Iterator[Desk]:
    yield Desk(any_redis)
    any_redis.config_set("maxmemory", 0)


def _leave_no_memory(redis: Redis) -> None:
    redis.set("ballast", secrets.token_bytes(10_000_000))
    redis.config_set("maxmemory", 8_000_000)


def test_work_ends_without_memory(desk: Desk) -> None:
    """At the memory limit leases are renewed, jobs end, and cancel still frees what is queued."""
    registration = desk.worker()
    ids = desk.enter(*(new_job() for _ in range(4)))
    claims = [desk.claim(hint.id, registration) for hint in desk.hints()]
    (waiting,) = desk.enter(new_job())
    for claim in claims:
        assert desk.ledger.admit(claim, reserve=9).verdict is Verdict.GO
    desk.redis.delete("visionq:wake")
    _leave_no_memory(desk.redis)
    assert not desk.ledger.renew(registration, [(claim.id, claim.token) for claim in claims])
    for claim, kind in zip(
        claims, ("completed", "failed", "waiting 3", "parked key_rejected"), strict=True
    ):
        assert desk.ledger.finish(claim, paid(outcome_of(kind, claim.id), cost=5))
    assert [desk.state(job_id).value for job_id in ids] == [
        "completed",
        "failed",
        "waiting",
        "parked",
    ]
    assert desk.ledger.cancel([waiting, *ids]) == [
        "queued",
        "completed",
        "failed",
        "waiting",
        "parked",
    ]


def test_late_finish_without_memory(desk: Desk) -> None:
    """So is a paid answer that comes late."""
    late = desk.begin()
    desk.ledger.admit(late, reserve=9)
    desk.lapse(late)
    _leave_no_memory(desk.redis)
    assert not desk.ledger.finish(late, paid(completed(late.id, "late"), cost=5))
    assert desk.money() == {"settled": 5}


def _queue_many(redis: Redis, count: int, state: str) -> None:
    """Fill one lane past the ledger, which would take a minute to enter so many."""
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


def test_dispatch_takes_500_of_100000(desk: Desk) -> None:
    """However much is queued and however much room there is, one look takes at most 500 jobs."""
    _queue_many(desk.redis, 100_000, "queued")
    desk.redis.hset(LANE_SIZES, LANE_OF_MANY, 100_000)
    desk.worker(slots=5_000)
    desk.redis.config_resetstat()
    assert len(desk.ledger.dispatch().hints) == 500
    assert _calls(desk.redis, "lpop") == 500
    assert sum(_calls(desk.redis, name) for name in ("hget", "hmget", "hset", "hincrby")) < 10_000
    assert desk.redis.llen("visionq:wake") == 1, "the next 500 do not wait for a tick"


def test_million_cancelled_are_not_walked_at_once(desk: Desk) -> None:
    """What ended in a lane is cleared away at most 500 at a look, until the live job is found."""
    _queue_many(desk.redis, 1_000_000, "cancelled")
    desk.redis.ltrim(LANE + LANE_OF_MANY, -999_000, -1)
    desk.enter(new_job("alive", tenant="t", model="m1", priority="bulk"))
    desk.worker()
    desk.redis.config_resetstat()
    for _ in range(3):
        desk.redis.delete("visionq:wake")
        assert desk.ledger.dispatch().hints == ()
        assert desk.redis.llen("visionq:wake") == 1
    assert _calls(desk.redis, "lpop") == 1_500
    desk.redis.ltrim(LANE + LANE_OF_MANY, -100, -1)
    assert [hint.id for hint in desk.ledger.dispatch().hints] == ["alive"]


def test_last_cancel_clears_the_lane(desk: Desk) -> None:
    """A lane of which everything was cancelled is dropped at once, unwalked."""
    ids = desk.enter(*(new_job(priority="bulk") for _ in range(1_500)))
    desk.ledger.cancel(ids)
    assert desk.redis.keys(LANE + "*") == []
    assert desk.redis.keys(LANE_RING + "*") == desk.redis.keys(TENANT_RING + "*") == []
    assert desk.state(ids[-1]) is State.CANCELLED
