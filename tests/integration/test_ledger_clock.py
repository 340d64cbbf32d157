"""Days of budgets turn by Redis's clock, regardless of the clocks of the fleet."""

from __future__ import annotations

import asyncio
import time
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from tests.support.ledger import BOTH, completed, new_job, paid
from tests.support.worker_ledger import WorkerLedger
from visionq.ledger import AsyncLedger, BudgetScope, Claim, Period, Registration
from visionq.ledger import ledger as module
from visionq.ledger.ledger import RedisClock
from visionq.names import MONEY_OF_DAY
from visionq.pricing.money import day_of
from visionq.redis_connection import connect_async

if TYPE_CHECKING:
    from redis import Redis

TODAY = BudgetScope.tenant("default", Period.DAY)


@pytest.mark.parametrize("wrong_by", [-2 * 86400, 0, 2 * 86400])
def test_days_are_those_of_redis(
    redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch, wrong_by: int
) -> None:
    """A worker whose clock is days off books on the day that it is by Redis."""
    wrong = RedisClock(lambda: time.time() + wrong_by)
    monkeypatch.setattr(module, "RedisClock", lambda: wrong)
    ledger, here = WorkerLedger(redis), Registration("w1", 8, BOTH)
    job = new_job()
    ledger.submit([job])
    ledger.renew(here)
    ledger.dispatch()
    claim = ledger.claim(job.id, "t1", here)
    assert isinstance(claim, Claim)
    ledger.admit(claim, reserve=900)
    assert ledger.finish(claim, paid(completed(job.id), 700))
    today = day_of(redis.time()[0], "Europe/Moscow")
    assert redis.hget(MONEY_OF_DAY + today, "settled") == b"700"
    assert ledger.book(TODAY).settled_rub == Decimal("0.0000007")
    assert asyncio.run(_settled(redis_url)) == Decimal("0.0000007")


async def _settled(redis_url: str) -> Decimal:
    async with connect_async(redis_url, "tests") as redis:
        return (await AsyncLedger(redis).book(TODAY)).settled_rub


def test_redis_is_asked_once_a_minute(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """In between the own clock goes on; one that was put back is not trusted."""
    own, asked = [100.0], list[float]()

    def tell() -> tuple[int, int]:
        asked.append(own[0])
        return 5000, 500_000

    monkeypatch.setattr(redis, "time", tell)
    clock = RedisClock(lambda: own[0])
    assert clock.now(redis) == 5000.5
    own[0] += 59
    assert clock.now(redis) == 5059.5
    own[0] += 2
    assert clock.now(redis) == 5000.5
    own[0] -= 1000
    assert clock.now(redis) == 5000.5
    assert asked == [100, 161, -839]
