"""What was finished is gone when its time is up, and Redis is as small as before."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.bulk_ledger import ROUND, TENANTS, WORKER, BulkLedger
from tests.support.ledger import LedgerDriver, new_job
from visionq import names
from visionq.contract import TERMINAL
from visionq.devstack.redis_server import running_redis
from visionq.ledger import LedgerOptions
from visionq.redis_connection import connect
from worker.threads.maintenance.housekeeping import Sweep

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from redis import Redis

JOBS = 6_000
#: Seconds; everything of a job goes within these after its end.
SHORT = LedgerOptions(result_ttl=4, failed_ttl=4, answer_ttl=4, blob_grace=3, lease=60, gap=600)
#: What stays of any number of jobs, tenants, models, batches and pictures.
FIXED = {
    names.COUNTS: 7,
    names.DISPATCHER: 6,
    names.HINTED: 2,
    names.MONEY: 2,
    names.POOL_BUSY: 1,
    names.POOL_SLOTS: 1,
    names.WAKE: 1,
    names.EVENTS: 0,
    # The gate of the one key: calls that are out, and that passed.
    names.GATE: 2,
}
#: Books of the tenants: ever, of the day, of the month.
BOOKS = 3 * TENANTS
#: Counters that are kept at most.
COUNTERS = 5_000


@pytest.fixture
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    """A server of its own, with nothing in it."""
    with (
        running_redis(tmp_path_factory.mktemp("retention"), appendonly=False) as server,
        connect(server.url, "tests") as redis,
    ):
        # What Redis writes down of slow commands is its own, and bounded by itself.
        redis.config_set("slowlog-log-slower-than", -1)
        yield redis


def used(redis: Redis) -> int:
    memory: int = redis.info("memory")["used_memory"]
    return memory


def sizes(redis: Redis) -> dict[str, int]:
    """Return every key with the number of its elements."""
    count: dict[Any, Callable[[Any], Any]] = {
        b"hash": redis.hlen,
        b"list": redis.llen,
        b"stream": redis.xlen,
        b"string": redis.strlen,
        b"zset": redis.zcard,
    }
    keys: list[Any] = [
        key
        for key in redis.scan_iter(count=1_000)
        # One a day, and each goes by itself; some for each tenant, all of which are soon there.
        if not (key.startswith(names.MONEY_OF_DAY.encode()) and redis.ttl(key) > 0)
        and not key.startswith(f"{names.BOOK}tenant:".encode())
    ]
    return {key.decode(): count[redis.type(key)](key) for key in keys}


def settle(redis: Redis, sweep: Sweep) -> dict[str, int]:
    """Let Redis remove what has expired and the sweep do its part; returns what is left."""
    for _ in range(150):
        if redis.dbsize() <= len(FIXED) + 1 + BOOKS:
            break
        skip_a_day(redis)
        sweep.run()
        time.sleep(0.2)
    sweep.run()
    return sizes(redis)


def skip_a_day(redis: Redis) -> None:
    """Take away what a model's rate limit leaves for a day, and counters, which are bounded."""
    for key in redis.scan_iter(f"{names.RATE_LIMIT}*", count=1_000):
        if redis.ttl(key) > 0:
            redis.delete(key)
    assert redis.hlen(names.METRICS) <= COUNTERS
    redis.delete(names.METRICS)
    for prefix in (names.METRIC_LABELS, names.METRIC_FIELDS):
        for key in redis.scan_iter(f"{prefix}*", count=1_000):
            redis.delete(key)


def test_redis_is_as_small_as_before(empty: Redis) -> None:
    """After thousands of jobs of every ending have expired, Redis holds a fixed handful of keys."""
    bulk = BulkLedger(empty, SHORT)
    sweep = Sweep(empty, bulk.blobs, SHORT.result_ttl, SHORT.failed_ttl)
    bulk.end(bulk.submit())  # loads every script
    assert settle(empty, sweep) == FIXED
    start = used(empty)
    job_ids = [job_id for _ in range(JOBS // ROUND) for job_id in bulk.submit()]
    full, keys = used(empty), empty.dbsize()
    assert full > start + JOBS * 2_500
    assert keys > JOBS * 3
    bulk.end(job_ids)
    assert settle(empty, sweep) == FIXED
    ended = {name: int(empty.hget(names.COUNTS, name) or 0) for name in TERMINAL}
    assert sum(ended.values()) == JOBS + ROUND
    assert min(ended.values()) > JOBS // 10
    left = used(empty) - start
    assert left < 20_000, f"{left} bytes are left of {full - start}"


def test_unfinished_jobs_stay(empty: Redis) -> None:
    """With keys expiring around them, jobs that have not ended keep all that they need."""
    bulk = BulkLedger(empty, SHORT)
    bulk.ledger.cancel(bulk.submit())
    parked = bulk.submit()
    bulk.ledger.renew(WORKER)
    assert len(bulk.ledger.dispatch().hints) == ROUND
    bulk.run(parked, "parked insufficient_balance")
    time.sleep(SHORT.result_ttl + 0.5)
    Sweep(empty, bulk.blobs, SHORT.result_ttl, SHORT.failed_ttl).run()
    for prefix in (names.JOB, names.BLOB, names.IDEMPOTENCY):
        kept = list(empty.scan_iter(f"{prefix}*", count=1_000))
        assert len(kept) == ROUND, prefix
        assert {empty.ttl(key) for key in kept} == {-1}
    batches = list(empty.scan_iter(f"{names.BATCH}*"))
    assert len(batches) == ROUND // 50
    assert {empty.ttl(key) for key in batches} == {-1}
    assert empty.hlen(names.BLOB_REFERENCES) == empty.zcard(names.PARKED) == ROUND


def test_lists_are_bounded_by_number(redis: Redis) -> None:
    """No more ended jobs stay listed, and not many more events, than the options say."""
    driver = LedgerDriver(redis, LedgerOptions(finished_kept=5, events_kept=300))
    for _ in range(4):
        driver.ledger.cancel(driver.enter(*[new_job() for _ in range(500)]))
    assert redis.zcard(names.FINISHED) == 5
    assert 300 <= redis.xlen(names.EVENTS) < 500


def test_nothing_stays_listed(redis: Redis) -> None:
    """With a length of 0 no ended job stays listed."""
    driver = LedgerDriver(redis, LedgerOptions(finished_kept=0))
    driver.ledger.cancel(driver.enter(new_job()))
    assert redis.zcard(names.FINISHED) == 0


def test_lists_are_bounded_by_age(redis: Redis) -> None:
    """When no job ends any more, the sweeper forgets those that ended long ago, and no others."""
    bulk = BulkLedger(redis, LedgerOptions(result_ttl=100, failed_ttl=100))
    now, _ = redis.time()
    redis.zadd(names.FINISHED, {"old": (now - 101) * 1000, "new": (now - 90) * 1000})
    for age in (101, 90):
        redis.xadd(names.EVENTS, {"id": "x"}, id=f"{(now - age) * 1000}-0")
    Sweep(redis, bulk.blobs, 100, 100).run()
    assert redis.zrange(names.FINISHED, 0, -1) == [b"new"]
    assert redis.xlen(names.EVENTS) == 1
