"""What both clients promise: one suite, run on `Client` and on `AsyncClient`."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.clients import Fleet, Native, Threaded
from visionq import AsyncClient, Client
from visionq.blobs import RedisBlobs, Room, sha256_of
from visionq.contract import Api, ResultDocument, State
from visionq.devstack.redis_server import running_redis
from visionq.errors import (
    BlobMissing,
    IdempotencyConflict,
    InputFileNotFound,
    InvalidJob,
    JobFailed,
    JobNotFound,
    QueueUnavailable,
    VisionqError,
    WaitTimeout,
)
from visionq.ledger import celery_results
from visionq.ledger.views import job_document
from visionq.names import BLOB, CELERY_RESULT, HOLDS, JOB
from visionq.redis_connection import connect
from visionq.sdk.waiting import REPLY, REREAD
from visionq.settings import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from redis import Redis

AnyClient = Threaded | Native
KINDS: dict[str, type[AnyClient]] = {"sync": Threaded, "async": Native}
SETTINGS = Settings(default_model="m1", default_max_output_tokens=99)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> type[AnyClient]:
    return KINDS[request.param]


@pytest.fixture
async def client(kind: type[AnyClient], redis_url: str) -> AsyncIterator[AnyClient]:
    client = kind(SETTINGS, redis_url)
    yield client
    await client.close()


@pytest.fixture
def fleet(redis_url: str) -> Iterator[Fleet]:
    with Fleet(redis_url) as fleet:
        yield fleet


def questions(count: int) -> Iterator[dict[str, Any]]:
    return ({"prompt": f"{number}?", "images": [b"%d" % number]} for number in range(count))


async def subscribers(redis: Redis, at_least: int = 1) -> int:
    """Wait until this many connections have subscribed; returns how many have."""
    for _ in range(500):
        found = len(redis.client_list(_type="pubsub"))
        if found >= at_least:
            return found
        await asyncio.sleep(0.01)
    raise AssertionError("nobody subscribed")


@pytest.mark.usefixtures("fleet")
async def test_answer(client: AnyClient, redis: Redis) -> None:
    """A submitted question comes back with its answer, cost and metadata; defaults are filled."""
    job = await client.submit("Что это?", metadata={"sku": "7"})
    result = await client.wait(job, 10)
    assert (result.id, result.text) == (job, "answer to Что это?")
    assert result.cost_rub == Decimal("0.1234")
    assert result.metadata == {"sku": "7"}
    document = job_document(redis, job)
    assert document is not None
    assert (document.model, document.max_output_tokens) == ("m1", 99)
    view = await client.get(job)
    assert (view.state, view.cost_rub) == (State.COMPLETED, result.cost_rub)


async def test_a_held_model_shows(client: AnyClient, redis: Redis) -> None:
    """Either client shows a queued job as parked while its model is held, with the reason."""
    job = await client.submit("Что это?")
    assert (await client.get(job)).state is State.QUEUED
    redis.hset(HOLDS, "model:m1", "access_denied")
    view = await client.get(job)
    assert (view.state, view.reason) == (State.PARKED, "access_denied")


@pytest.mark.usefixtures("fleet")
def test_analyze_with_a_json_schema(redis_url: str) -> None:
    """Its result is a plain one, as that of a model is not; what is neither costs nothing."""
    picture, form = b"1", {"type": "object"}
    with Client(SETTINGS, redis_url) as client:
        result = client.analyze(picture, "Что это?", schema=form, timeout=10)
        assert type(result) is ResultDocument
        assert client.wait(result.id, schema=form).id == result.id  # type: ignore[call-overload]  # as callers do who don't check types
        ((_, end),) = client.results([result.id], schema=form)  # type: ignore[call-overload]  # likewise
        assert end.id == result.id
        for wrong in (7, int):
            with pytest.raises(InvalidJob, match="pydantic model or a JSON Schema"):
                client.analyze(picture, "Что это?", schema=wrong, timeout=10)  # type: ignore[arg-type,type-var]  # likewise

    async def same() -> ResultDocument:
        async with AsyncClient(SETTINGS, redis_url) as client:
            return await client.analyze(picture, "Что это?", schema=form, timeout=10)

    assert asyncio.run(same()).cost_rub == result.cost_rub


async def test_pictures(client: AnyClient, redis: Redis, tmp_path: Path) -> None:
    """Every way to give a picture ends as an address or a blob, never as bytes in the job."""
    path = tmp_path / "снимок.png"
    path.write_bytes(b"of a path")
    with path.open("rb") as file:
        job = await client.submit(
            images=[
                path,
                str(path),
                b"bytes",
                ("named.jpg", b"named"),
                file,
                "https://example.com/a.png",
                "data:image/png;base64,aW5saW5l",
                {"url": "https://example.com/b.png", "name": "b"},
            ]
        )
    document = job_document(redis, job)
    assert document is not None
    seen = [(image.name, image.url or image.blob) for image in document.images]
    of_path = sha256_of(b"of a path")
    assert seen == [
        ("снимок.png", of_path),
        ("снимок.png", of_path),
        (None, sha256_of(b"bytes")),
        ("named.jpg", sha256_of(b"named")),
        ("снимок.png", of_path),
        (None, "https://example.com/a.png"),
        (None, sha256_of(b"inline")),
        ("b", "https://example.com/b.png"),
    ]
    for content in (b"of a path", b"bytes", b"named", b"inline"):
        assert redis.get(BLOB + sha256_of(content)) == content
    assert "aW5saW5l" not in document.to_json()


async def test_many_in_order(client: AnyClient, redis: Redis) -> None:
    """Many jobs come back in input order, entered 500 at a time."""
    redis.config_resetstat()
    jobs: list[str] = []
    await client.submit_many(questions(1203), jobs)
    assert len(set(jobs)) == 1203
    for number in (0, 499, 500, 1202):
        document = job_document(redis, jobs[number])
        assert document is not None
        assert document.prompt == f"{number}?"
    # A few scripts for each portion, none for each job.
    assert redis.info("commandstats")["cmdstat_evalsha"]["calls"] < 20


async def test_many_by_bytes(client: AnyClient, redis: Redis) -> None:
    """A portion is bounded in bytes too: nothing waits until 500 large pictures are in memory."""
    taken: list[int] = []

    def large() -> Iterator[dict[str, Any]]:
        for number in range(6):
            taken.append(len(redis.keys(JOB + "*")))
            yield {"prompt": "?", "images": [bytes([number]) * 10_000_000]}

    await client.submit_many(large(), [])
    assert taken == [0, 0, 0, 0, 4, 4]


async def test_many_with_a_mistake(client: AnyClient, redis: Redis) -> None:
    """A wrong job ends the iterator at its place; those before it are submitted and reported."""
    jobs: list[str] = []
    wrong = {"prompt": "?", "images": ["/nowhere/a.png"]}
    with pytest.raises(InputFileNotFound, match="/nowhere/a"):
        await client.submit_many([*questions(3), wrong, *questions(2)], jobs)
    assert len(jobs) == 3
    assert len(redis.keys(JOB + "*")) == 3


async def test_idempotency(client: AnyClient) -> None:
    """The same key names the same job, and never one that asks for something else."""
    first = await client.submit("a", idempotency_key="k")
    assert await client.submit("a", idempotency_key="k") == first
    with pytest.raises(IdempotencyConflict, match=first):
        await client.submit("b", idempotency_key="k")


async def test_expired_upload(
    client: AnyClient, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A blob that expires between upload and submission is uploaded again."""
    submit = type(client.client._operations.ledger).submit
    lost: list[object] = []

    def losing(self: Any, jobs: Any) -> Any:
        if not lost:
            lost.append(redis.delete(BLOB + sha256_of(b"x")))
        return submit(self, jobs)

    monkeypatch.setattr(type(client.client._operations.ledger), "submit", losing)
    job = await client.submit(images=[b"x", b"y"])
    assert lost == [1]
    assert redis.get(BLOB + sha256_of(b"x")) == b"x"
    assert (await client.get(job)).state is State.QUEUED


async def test_unknown_blob(client: AnyClient, redis: Redis) -> None:
    """A reference to a blob that nobody stored is refused, not retried for ever."""
    with pytest.raises(BlobMissing, match="aaaaaaaaaaaa"):
        await client.submit(images=[{"blob": "a" * 64}])
    (stored,) = RedisBlobs(redis, Room(60)).put([b"stored"])
    await client.submit(images=[{"blob": stored}])


async def test_full(client: AnyClient, redis: Redis) -> None:
    """A Redis close to its memory limit takes no jobs, and says so."""
    redis.config_set("maxmemory", int(redis.info("memory")["used_memory"] * 1.1))
    try:
        with pytest.raises(QueueUnavailable, match="memory limit"):
            await client.submit(images=["https://example.com/a.png"])
    finally:
        redis.config_set("maxmemory", 0)


async def test_invalid(client: AnyClient) -> None:
    """A wrong field is named, and nothing is stored for it."""
    with pytest.raises(InvalidJob, match=r"^invalid_job: detail: "):
        await client.submit(detail="best")


async def test_failed(client: AnyClient, fleet: Fleet) -> None:
    """A job that fails raises its code, the picture at fault and what it cost."""
    fleet.may_work.clear()
    job = await client.submit("fail")
    fleet.may_work.set()
    with pytest.raises(JobFailed) as raised:
        await client.wait(job, 10)
    assert raised.value.code == "not_an_image"
    assert raised.value.image == "a.png"
    assert str(raised.value) == "not_an_image: a.png: no picture type known"
    assert (await client.get(job)).reason == "not_an_image"


async def test_cancelled(client: AnyClient, redis: Redis) -> None:
    """Cancelling ends the waiting at once, with the code `cancelled`; again, it changes nothing."""
    job = await client.submit()
    waiting = asyncio.create_task(client.wait(job, 20))
    await subscribers(redis)
    assert (await client.cancel(job)).state is State.CANCELLED
    began = time.monotonic()
    with pytest.raises(JobFailed) as raised:
        await waiting
    assert raised.value.code == "cancelled"
    assert time.monotonic() - began < 5
    assert (await client.cancel(job)).state is State.CANCELLED


async def test_unknown_job(client: AnyClient) -> None:
    """An id that nobody knows is reported as such, by every method, without waiting."""
    for method in (client.get, client.wait, client.cancel):
        with pytest.raises(JobNotFound, match="nobody"):
            await method("nobody")


async def test_timeout(client: AnyClient, redis: Redis) -> None:
    """The time is kept, the error is a `TimeoutError`, and waiting costs Redis next to nothing."""
    job = await client.submit()
    redis.config_resetstat()
    began = time.monotonic()
    with pytest.raises(TimeoutError) as raised:
        await client.wait(job, 1.5)
    assert isinstance(raised.value, WaitTimeout)
    assert 1.5 <= time.monotonic() - began < 5
    calls = redis.info("commandstats")
    assert sum(calls[name]["calls"] for name in calls) < 40


@pytest.mark.usefixtures("fleet")
async def test_no_time_at_all(client: AnyClient) -> None:
    """A timeout of 0 asks once: an ended job gives its result, another one the timeout."""
    job = await client.submit()
    await client.wait(job, 10)
    assert (await client.wait(job, 0)).id == job
    parked = await client.submit("park")
    with pytest.raises(WaitTimeout):
        await client.wait(parked, 0)


async def test_results(client: AnyClient, fleet: Fleet, redis: Redis) -> None:
    """Results and errors arrive as the jobs end, all over one subscription."""
    fleet.may_work.clear()
    jobs = [await client.submit(f"{number}?") for number in range(30)]
    wrong = await client.submit("fail now")
    ends: dict[str, ResultDocument | VisionqError] = {}
    waiting = asyncio.create_task(client.results([*jobs, wrong, "nobody"], ends, 20))
    assert await subscribers(redis) == 1
    fleet.may_work.set()
    await waiting
    assert ends.keys() == {*jobs, wrong, "nobody"}
    for number, job in enumerate(jobs):
        end = ends[job]
        assert isinstance(end, ResultDocument)
        assert end.text == f"answer to {number}?"
    assert isinstance(ends[wrong], JobFailed)
    assert isinstance(ends["nobody"], JobNotFound)


@pytest.mark.usefixtures("fleet")
async def test_results_in_time(client: AnyClient) -> None:
    """Jobs that have ended are yielded before the timeout is raised, which counts the rest."""
    jobs = [await client.submit("a"), await client.submit("park b"), await client.submit("park c")]
    ends: dict[str, ResultDocument | VisionqError] = {}
    with pytest.raises(WaitTimeout, match="2 jobs have not ended within 1 s"):
        await client.results(jobs, ends, 1)
    assert list(ends) == jobs[:1]


@pytest.mark.usefixtures("fleet")
async def test_more_than_one_round_trip(client: AnyClient) -> None:
    """More jobs than one subscription command holds are all heard of."""
    jobs: list[str] = []
    await client.submit_many(questions(1100), jobs)
    ends: dict[str, ResultDocument | VisionqError] = {}
    await client.results(jobs, ends, 60)
    assert ends.keys() == set(jobs)


async def test_subscriber_killed(client: AnyClient, fleet: Fleet, redis: Redis) -> None:
    """A waiter whose subscription is cut hears of the end all the same."""
    fleet.may_work.clear()
    job = await client.submit()
    waiting = asyncio.create_task(client.wait(job, 20))
    await subscribers(redis)
    redis.client_kill_filter(_type="pubsub")
    fleet.may_work.set()
    assert (await waiting).id == job


async def test_message_missed(client: AnyClient, redis: Redis) -> None:
    """An end whose message never comes is found by reading again."""
    job = await client.submit()
    waiting = asyncio.create_task(client.wait(job, 20))
    await subscribers(redis)
    await asyncio.sleep(0.2)
    result = ResultDocument(id=job, model="m1", api=Api.RESPONSES, text="unheard")
    redis.set(CELERY_RESULT + job, celery_results.success(result.id, result.to_json(), time.time()))
    began = time.monotonic()
    assert (await waiting).text == "unheard"
    assert time.monotonic() - began < 2 * REREAD


async def test_redis_restarts(kind: type[AnyClient], tmp_path: Path) -> None:
    """A waiter lives through the death of Redis and gets the answer that came after it."""
    with running_redis(tmp_path) as server, Fleet(server.url) as fleet:
        client = kind(SETTINGS, server.url)
        fleet.may_work.clear()
        job = await client.submit()
        waiting = asyncio.create_task(client.wait(job, 60))
        many = asyncio.create_task(client.results([job], {}, 60))
        await asyncio.sleep(1.2)  # AOF is written every second
        await asyncio.to_thread(server.kill)
        await asyncio.sleep(1)
        await asyncio.to_thread(server.start)
        fleet.may_work.set()
        assert (await waiting).id == job
        await many
        await client.close()


async def test_redis_stays_away(kind: type[AnyClient], tmp_path: Path) -> None:
    """A waiter whose time ends while Redis is away gets that error, and does not hang."""
    with running_redis(tmp_path, appendonly=False) as server:
        client = kind(SETTINGS, server.url)
        job = await client.submit()
        server.kill()
        began = time.monotonic()
        with pytest.raises(ConnectionError) as raised:
            await client.wait(job, 1)
        assert isinstance(raised.value, QueueUnavailable)
        assert time.monotonic() - began < 6
        with pytest.raises(QueueUnavailable):
            await client.submit()
        await client.close()
        server.start()


async def test_wrong_password(kind: type[AnyClient], tmp_path: Path) -> None:
    """Refused credentials are reported at once, also by a wait without a timeout."""
    with running_redis(tmp_path, password="right", appendonly=False) as server:  # noqa: S106  # of this test
        client = kind(SETTINGS, server.url.replace("right", "wrong"))
        for call in (client.wait("j"), client.get("j"), client.submit()):
            with pytest.raises(QueueUnavailable, match="credentials"):
                await asyncio.wait_for(call, 10)
        await client.close()


@pytest.mark.usefixtures("fleet")
async def test_many_wait_at_once(client: AnyClient) -> None:
    """No end falls between subscribing and reading, however they interleave."""
    jobs = [await client.submit(f"{number}?") for number in range(60)]
    results = await asyncio.gather(*(client.wait(job, 20) for job in jobs))
    assert [result.id for result in results] == jobs


@pytest.mark.parametrize("address", ["unix_url", "tls_url"])
async def test_addresses(
    kind: type[AnyClient], address: str, request: pytest.FixtureRequest
) -> None:
    """A Unix socket (with the oldest Redis) and TLS serve as well as TCP."""
    url = request.getfixturevalue(address)
    with connect(url, "tests") as redis:
        redis.flushall()  # tests of the ledger leave a time to come on these servers
    with Fleet(url):
        client = kind(SETTINGS, url)
        job = await client.submit()
        assert (await client.wait(job, 10)).id == job
        await client.close()


async def test_redis_hangs(kind: type[AnyClient], tmp_path: Path) -> None:
    """A Redis that takes connections and does not answer holds nobody beyond all bounds."""
    with running_redis(tmp_path, appendonly=False) as server:
        client = kind(SETTINGS, server.url)
        job = await client.submit()
        os.kill(server.pid, signal.SIGSTOP)
        try:
            began = time.monotonic()
            with pytest.raises((QueueUnavailable, WaitTimeout)):
                await client.wait(job, 0.5)
            assert time.monotonic() - began < 0.5 + 2 * REPLY
        finally:
            os.kill(server.pid, signal.SIGCONT)
        await client.close()
