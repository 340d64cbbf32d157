"""What is entered, what is known already, and what is refused."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import pytest

from tests.support.ledger import SHA, LedgerDriver, new_job, with_blobs
from visionq.errors import InvalidJob
from visionq.ledger import (
    AsyncLedger,
    BlobsMissing,
    Conflict,
    LedgerFull,
    LedgerOptions,
    NewJob,
    Submitted,
)
from visionq.ledger.search import JobFilter, find_jobs
from visionq.ledger.views import job_document
from visionq.names import BLOB, BLOB_GARBAGE, BLOB_REFERENCES, JOB
from visionq.redis_connection import connect_async
from visionq.sdk.submitting import draft
from visionq.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis import Redis


@pytest.fixture
def driver(any_redis: Redis) -> LedgerDriver:
    return LedgerDriver(any_redis)


def test_same_id_same_document(driver: LedgerDriver) -> None:
    """A job entered twice is one job."""
    job = new_job("j")
    assert driver.ledger.submit([job, job]) == [
        Submitted("j", created=True),
        Submitted("j", created=False),
    ]
    assert driver.redis.hget("visionq:counts", "queued") == b"1"


def test_same_id_other_document(driver: LedgerDriver) -> None:
    """Another document under a known id is a conflict, and changes nothing."""
    driver.enter(new_job("j", prompt="one"))
    assert driver.ledger.submit([new_job("j", prompt="two")]) == [Conflict("j", "j")]
    document = job_document(driver.redis, "j")
    assert document is not None
    assert document.prompt == "one"


def test_same_key(driver: LedgerDriver) -> None:
    """The same key and document is the first job; another document is a conflict with it."""
    driver.enter(new_job("first", idempotency_key="k"))
    assert driver.ledger.submit([new_job("second", idempotency_key="k")]) == [
        Submitted("first", created=False)
    ]
    assert driver.ledger.submit([new_job("third", idempotency_key="k", prompt="else")]) == [
        Conflict("third", "first")
    ]
    assert driver.redis.exists(JOB + "second", JOB + "third") == 0


def test_key_is_the_tenants_own(driver: LedgerDriver) -> None:
    """Two tenants may use the same key."""
    driver.enter(new_job(idempotency_key="k", tenant="a"), new_job(idempotency_key="k", tenant="b"))


def test_missing_blobs(driver: LedgerDriver) -> None:
    """A job whose blobs are not there is not entered and takes no reference; the error names it."""
    driver.redis.set(BLOB + SHA["a"], b"picture", ex=60)
    job = new_job("j", images=with_blobs("a", "b", "c"))
    assert driver.ledger.submit([job]) == [BlobsMissing("j", (SHA["b"], SHA["c"]))]
    assert driver.redis.exists(JOB + "j", BLOB_REFERENCES) == 0
    assert driver.redis.ttl(BLOB + SHA["a"]) > 0


def test_blobs_elsewhere(any_redis: Redis) -> None:
    """Blobs in another store are counted, and taken if the books say that they are there."""
    driver = LedgerDriver(any_redis, LedgerOptions(blobs_are_here=False))
    job = new_job(images=with_blobs("a"))
    assert driver.ledger.submit([job]) == [BlobsMissing(job.id, (SHA["a"],))]
    driver.redis.zadd(BLOB_GARBAGE, {f"{SHA['a']} 0": 1})
    driver.enter(job, new_job(images=with_blobs("a")))
    assert driver.redis.hget(BLOB_REFERENCES, SHA["a"]) == b"2"
    assert driver.redis.zcard(BLOB_GARBAGE) == 0


def test_many_in_order(driver: LedgerDriver) -> None:
    """More jobs than one script may touch are entered in order, and the replies come in order."""
    jobs = [new_job(f"n{number}") for number in range(1_200)]
    assert driver.ledger.submit(jobs) == [Submitted(job.id, created=True) for job in jobs]
    assert len(list(find_jobs(driver.redis, JobFilter()))) == 1_200


def test_document_names_its_model(driver: LedgerDriver) -> None:
    """A document without a model is not entered, and the field is named."""
    job = new_job()
    bare = NewJob(job.id, job.document.model_copy(update={"model": None}))
    with pytest.raises(InvalidJob, match=r"^invalid_job: model"):
        driver.ledger.submit([bare])


async def test_async_producers(redis: Redis, redis_url: str) -> None:
    """The asynchronous ledger enters and cancels alike."""
    job = new_job("j")
    async with connect_async(redis_url, "tests") as client:
        ledger = AsyncLedger(client)
        assert await ledger.submit([job, job]) == [
            Submitted("j", created=True),
            Submitted("j", created=False),
        ]
        assert await ledger.cancel(["j", "nobody"]) == ["queued", "missing"]
    assert LedgerDriver(redis).state("j") == "cancelled"


def test_time_of_redis(redis: Redis) -> None:
    """Without a clock of its own the ledger goes by Redis's time."""
    driver = LedgerDriver(redis)
    driver.ledger._clock = None
    claim = driver.begin()
    seconds, _ = redis.time()
    assert abs(claim.now - seconds) < 5
    assert abs(claim.submitted - seconds) < 5


@pytest.fixture
def limited(driver: LedgerDriver) -> Iterator[LedgerDriver]:
    """A Redis without a limit at first; the limit is taken away again."""
    yield driver
    driver.redis.config_set("maxmemory", 0)


def _fill_to(redis: Redis, share: float) -> None:
    """Set the limit so that so much of it is in use."""
    used = redis.info("memory")["used_memory"]
    redis.config_set("maxmemory", int(used / share))


def test_refused_when_memory_is_short(limited: LedgerDriver) -> None:
    """At 85 % of Redis's memory limit new jobs are refused, and below it they are not."""
    limited.redis.set("ballast", secrets.token_bytes(20_000_000))
    _fill_to(limited.redis, 0.84)
    limited.enter(new_job())
    _fill_to(limited.redis, 0.86)
    assert limited.ledger.submit([new_job("late")]) == [LedgerFull("late")]
    assert limited.redis.exists(JOB + "late") == 0


def test_refused_at_the_limit_itself(limited: LedgerDriver) -> None:
    """At the limit itself the answer is the same, and no error of Redis."""
    limited.redis.set("ballast", secrets.token_bytes(20_000_000))
    limited.redis.delete("visionq:wake")
    _fill_to(limited.redis, 1.1)
    assert limited.ledger.submit([new_job("late")]) == [LedgerFull("late")]


@pytest.mark.parametrize("by", [{"idempotency_key": "k"}, {}])
def test_same_request_after_a_changed_default(driver: LedgerDriver, by: dict[str, str]) -> None:
    """The operator's defaults make no other request of the same one."""
    fields = {"prompt": "What?", "images": [{"url": "https://example.com/a.png"}], **by}
    mini, large = Settings(default_model="m1"), Settings(default_model="m2")
    job_ids = ("first", "second" if by else "first")
    for job_id, settings in zip(job_ids, (mini, large), strict=True):
        entered = driver.ledger.submit([draft(fields, settings, job_id).job])
        assert entered == [Submitted("first", created=settings is mini)]
    other = draft({**fields, "prompt": "Where?"}, large, job_ids[1]).job
    assert driver.ledger.submit([other]) == [Conflict(job_ids[1], "first")]
    explicit = draft({**fields, "model": "m1", "max_output_tokens": 2048}, large, job_ids[1]).job
    assert driver.ledger.submit([explicit]) == [Submitted("first", created=False)]
    named = draft({**fields, "model": "m2"}, large, job_ids[1]).job
    assert driver.ledger.submit([named]) == [Conflict(job_ids[1], "first")]
