"""Blobs in Redis: it lets them go by itself, and they may not fill it."""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.blobs import GRACE, job_of, place
from tests.support.ledger import LedgerDriver, new_job
from visionq import Client
from visionq.blobs import AsyncRedisBlobs, RedisBlobs, Room, sha256_of
from visionq.errors import QueueUnavailable, QuotaExceeded
from visionq.names import (
    BLOB,
    BLOB_BYTES,
    BLOB_DELETIONS,
    BLOB_GARBAGE,
    TENANT_BLOB_BYTES,
    TENANT_BLOB_GARBAGE,
    TENANT_BLOBS,
)
from visionq.redis_connection import connect_async

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis import Redis


def held(redis: Redis) -> int:
    """Return the bytes that are counted."""
    return int(redis.get(BLOB_BYTES) or 0)


def waits(redis: Redis, sha256: str) -> float:
    """Return the seconds after which Redis lets a blob go; below 0: never."""
    milliseconds: int = redis.pttl(BLOB + sha256)
    return milliseconds / 1000


def test_redis_itself_lets_go(redis: Redis) -> None:
    """Without any sweep a blob goes when its time is up, and the next put stops counting it."""
    blobs = RedisBlobs(redis, Room(1, limit=1_000))
    blobs.put([b"x" * 1_000])
    time.sleep(1.1)
    assert redis.keys(BLOB + "*") == []
    assert held(redis) == 1_000
    (sha,) = blobs.put([b"y" * 900])
    assert held(redis) == 900
    assert blobs.get(sha) == b"y" * 900


def test_books_and_expiry_agree(any_redis: Redis) -> None:
    """The key expires when the books say so: after put, after put again, after the last job."""
    here = place(any_redis, None)

    def assert_agree() -> None:
        entries: Any = any_redis.zrange(BLOB_GARBAGE, 0, -1, withscores=True)
        ((_, moment),), (seconds, micros) = entries, any_redis.time()
        left = moment / 1000 - seconds - micros / 1_000_000
        assert abs(waits(any_redis, sha) - left) < 0.2
        assert GRACE - 1 < left <= GRACE

    sha = here.put()
    assert_agree()
    any_redis.expire(BLOB + sha, 5)
    here.pass_time(GRACE - 5)
    here.put()
    assert_agree()
    (job_id,) = here.driver.enter(job_of(sha))
    assert waits(any_redis, sha) < 0
    here.driver.ledger.cancel([job_id])
    assert_agree()


def test_what_is_there_is_not_sent_again(redis: Redis) -> None:
    """A picture that Redis holds already costs no second upload."""
    blobs = RedisBlobs(redis, Room(GRACE))
    content = secrets.token_bytes(1_000_000)
    blobs.put([content])
    before = redis.info("stats")["total_net_input_bytes"]
    blobs.put([content])
    assert redis.info("stats")["total_net_input_bytes"] - before < 10_000


def test_counted_exactly(redis: Redis) -> None:
    """Every blob counts once, from its reservation until it is gone."""
    here = place(redis, None)
    one, two = here.blobs.put([b"1" * 10, b"2" * 20])
    assert held(redis) == 30
    here.blobs.put([b"1" * 10, b"3" * 5])
    assert held(redis) == 35
    jobs = here.driver.enter(job_of(one, two), job_of(one))
    assert held(redis) == 35
    here.pass_grace()
    assert held(redis) == 30
    here.driver.ledger.cancel(jobs[:1])
    assert held(redis) == 30
    here.pass_grace()
    assert held(redis) == 10
    here.driver.ledger.cancel(jobs[1:])
    here.pass_grace()
    assert not redis.exists(BLOB_BYTES)


def test_limit(redis: Redis) -> None:
    """Beyond the limit nothing is stored, and the error says what to do; what goes makes room."""
    here = place(redis, None, limit=1_000)
    here.put(b"a" * 600)
    with pytest.raises(QueueUnavailable, match=r"600 of at most 1,000 bytes.*raise maxmemory"):
        here.put(b"b" * 401)
    assert held(redis) == 600
    assert len(redis.keys(BLOB + "*")) == 1
    here.put(b"b" * 400)
    here.put(b"a" * 600)
    here.pass_grace()
    here.put(b"c" * 1_000)


def test_jobs_hold_the_limit(redis: Redis) -> None:
    """Pictures of unfinished jobs count for as long as they are needed."""
    here = place(redis, None, limit=1_000)
    (job_id,) = here.driver.enter(job_of(here.put(b"a" * 1_000)))
    here.pass_grace()
    with pytest.raises(QueueUnavailable):
        here.put(b"b")
    here.driver.ledger.cancel([job_id])
    here.pass_grace()
    here.put(b"b")


def test_limit_reaches_the_client(redis: Redis, redis_session_url: str) -> None:
    """A client is refused before Redis is full, and what was submitted before stays submitted."""
    here = place(redis, None, limit=1_000)
    with Client(here.settings, redis_session_url) as client:
        job = client.submit(prompt="What?", images=[b"a" * 800])
        with pytest.raises(QueueUnavailable, match="VISIONQ_BLOB_URL"):
            client.submit(prompt="What?", images=[b"b" * 800])
        assert client.get(job).state == "queued"
        client.submit(prompt="Where?", images=[b"a" * 800])


async def test_limit_of_async_producers(redis: Redis, redis_session_url: str) -> None:
    """The asynchronous half counts in the same books and keeps the same limit."""
    RedisBlobs(redis, Room(GRACE)).put([b"a" * 600])
    async with connect_async(redis_session_url, "tests") as client:
        blobs = AsyncRedisBlobs(client, Room(GRACE, limit=1_000))
        with pytest.raises(QueueUnavailable):
            await blobs.put([b"b" * 401])
        await blobs.put([b"b" * 400])
    assert held(redis) == 1_000


@pytest.fixture
def limited(redis: Redis) -> Iterator[Redis]:
    """A Redis whose memory limit is taken away afterwards."""
    yield redis
    redis.config_set("maxmemory", 0)


def test_share_of_memory(limited: Redis) -> None:
    """Without a limit of their own blobs may fill 70 % of Redis's memory limit."""
    blobs = RedisBlobs(limited, Room(GRACE))
    blobs.put([b"a" * 10_000_000])
    used = limited.info("memory")["used_memory"]
    limited.config_set("maxmemory", used * 10)
    limited.set(BLOB_BYTES, used * 7 - 1_000)
    with pytest.raises(QueueUnavailable, match="at most"):
        blobs.put([b"b" * 2_000])
    blobs.put([b"b" * 500])


def test_memory_is_short(limited: Redis) -> None:
    """Close to Redis's memory limit nothing is stored, at any limit for blobs."""
    limited.set("ballast", secrets.token_bytes(20_000_000))
    blobs = RedisBlobs(limited, Room(GRACE, limit=1_000_000_000))
    limited.config_set("maxmemory", int(limited.info("memory")["used_memory"] / 0.8))
    blobs.put([b"a" * 1_000])
    with pytest.raises(QueueUnavailable, match="maxmemory"):
        blobs.put([b"a" * 5_000_000])
    assert held(limited) == 1_000
    limited.config_set("maxmemory", int(limited.info("memory")["used_memory"] / 1.1))
    with pytest.raises(QueueUnavailable, match="maxmemory"):
        blobs.put([b"b"])


def test_lost_picture_of_a_waiting_job(redis: Redis) -> None:
    """A picture that hands have deleted is there again, for all its jobs, when it is submitted."""
    here = place(redis, None)
    sha = here.put()
    here.driver.enter(job_of(sha))
    redis.delete(BLOB + sha)
    here.put()
    here.driver.enter(job_of(sha))
    assert waits(redis, sha) < 0


def test_deleted_by_hand(redis: Redis) -> None:
    """A picture that hands have deleted leaves nothing in the books when its job has ended."""
    here = place(redis, None)
    (job_id,) = here.driver.enter(job_of(here.put()))
    redis.delete(BLOB + sha256_of(b"picture"))
    here.driver.ledger.cancel([job_id])
    here.pass_grace()
    assert redis.exists(BLOB_BYTES, BLOB_GARBAGE, BLOB_DELETIONS) == 0


def test_blob_from_before_the_books(redis: Redis) -> None:
    """A blob that is there uncounted, as from an older release, is counted when it is used."""
    here = place(redis, None)
    sha = sha256_of(b"picture")
    redis.set(BLOB + sha, b"picture", ex=GRACE)
    (job_id,) = here.driver.enter(job_of(sha))
    assert held(redis) == len(b"picture")
    here.driver.ledger.cancel([job_id])
    here.pass_grace()
    assert held(redis) == 0


def test_a_tenant_leaves_room_to_others(redis: Redis) -> None:
    """A tenant may hold three bytes for each that stays free; what another brings finds room."""
    blobs = RedisBlobs(redis, Room(GRACE, limit=10_000))
    for number in range(15):
        blobs.put([f"{number:0500}".encode()], "greedy")
    with pytest.raises(QuotaExceeded, match="wait until its jobs end"):
        blobs.put([f"{15:0500}".encode()], "greedy")
    blobs.put([b"x" * 1_000], "small")
    blobs.put([f"{0:0500}".encode()], "greedy")  # its own already


def test_quota_of_a_tenant(redis: Redis) -> None:
    """A picture counts once for each tenant that has it, from when it is brought until it goes."""
    driver = LedgerDriver(redis)
    blobs = RedisBlobs(redis, Room(GRACE, tenant_limit=1_500))
    (sha,) = blobs.put([b"a" * 1_000], "one")
    assert blobs.put([b"a" * 1_000], "two") == [sha]
    with pytest.raises(QuotaExceeded, match="1,000 bytes in Redis, of at most 1,500"):
        blobs.put([b"b" * 501], "one")
    jobs = driver.enter(*(new_job(tenant="one", images=[{"blob": sha}]) for _ in range(3)))
    assert _bytes_of(redis) == {"one": 1_000, "two": 1_000}
    driver.ledger.cancel(jobs)
    assert _bytes_of(redis) == {"one": 1_000, "two": 1_000}
    with pytest.raises(QuotaExceeded):
        blobs.put([b"b" * 501], "one")
    entries: Any = redis.zrange(TENANT_BLOB_GARBAGE, 0, -1)
    for entry in entries:
        redis.zadd(TENANT_BLOB_GARBAGE, {entry: 1})
    blobs.sweep()
    assert _bytes_of(redis) == {}
    assert not redis.keys(TENANT_BLOBS + "*")
    blobs.put([b"b" * 501], "one")


def _bytes_of(redis: Redis) -> dict[str, int]:
    found: Any = redis.hgetall(TENANT_BLOB_BYTES)
    return {tenant.decode(): int(size) for tenant, size in found.items()}
