"""Every place for blobs keeps the same promises."""

from __future__ import annotations

import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from tests.support.blobs import (
    CREDENTIALS,
    GRACE,
    PLACES,
    Place,
    job_of,
    place,
    running_s3,
)
from tests.support.ledger import outcome_of, paid, unpaid
from visionq import Client
from visionq.blobs import BlobStore, open_async_blobs, sha256_of
from visionq.errors import BlobMissing, QueueUnavailable
from visionq.ledger import BlobsMissing
from visionq.names import BLOB_GARBAGE, BLOB_REFERENCES
from visionq.redis_connection import connect_async
from visionq.sdk import AsyncClient

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from redis import Redis


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_s3(tmp_path_factory.mktemp("s3")) as url:
        yield url


@pytest.fixture(params=PLACES)
def here(
    request: pytest.FixtureRequest,
    redis: Redis,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Place:
    if request.param == "redis":
        return place(redis, None)
    if request.param == "directory":
        return place(redis, (tmp_path / "a folder" / "blobs").as_uri())
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", request.getfixturevalue("s3"))
    return place(redis, f"s3://bucket/some/{uuid.uuid4()}")


def test_round_trip(here: Place) -> None:
    """A blob is there under its hash, in order, given once or twice."""
    contents = [b"one", b"two", bytes(range(256)) * 4_000, b"one"]
    assert here.blobs.put([]) == []
    for _ in range(2):
        names = here.blobs.put(contents)
        assert names == [sha256_of(content) for content in contents]
        assert [here.blobs.get(name) for name in names] == contents


def test_more_than_one_script_touches(here: Place) -> None:
    """More blobs than one script may touch are stored all the same."""
    names = here.blobs.put([str(number).encode() for number in range(501)])
    assert [here.holds(name) for name in (names[0], names[499], names[500])] == [True] * 3


def test_absent(here: Place) -> None:
    """A blob that is not there is reported as missing."""
    with pytest.raises(BlobMissing, match="not in the blob store"):
        here.blobs.get(sha256_of(b"nobody put this"))


@pytest.mark.parametrize("content", [b"", b"pictur", b"another"])
def test_content_is_checked(here: Place, content: bytes) -> None:
    """Bytes that are not what their name says are never given out."""
    sha = here.put()
    here.overwrite(sha, content)
    with pytest.raises(BlobMissing, match="does not match"):
        here.blobs.get(sha)


def test_blob_without_a_job_goes(here: Place) -> None:
    """A blob that no job took within the grace is deleted, and leaves nothing in the books."""
    sha = here.put()
    assert here.blobs.sweep() == 0
    assert here.holds(sha)
    here.pass_grace()
    assert not here.holds(sha)
    assert here.redis.keys() == []


def test_put_again_prolongs(here: Place) -> None:
    """The grace runs from the last put, so that a job can be entered after each."""
    sha = here.put()
    here.pass_time(GRACE * 0.6)
    here.put()
    here.pass_time(GRACE * 0.6)
    here.blobs.sweep()
    assert here.blobs.get(sha) == b"picture"
    here.driver.enter(job_of(sha))


def test_put_again_after_it_went(here: Place) -> None:
    """A blob that was deleted can come back."""
    sha = here.put()
    here.pass_grace()
    assert here.put() == sha
    assert here.blobs.get(sha) == b"picture"


def test_what_is_gone_cannot_be_submitted(here: Place) -> None:
    """A job is not entered without its pictures: not before they are put, nor after they went."""
    job = job_of(sha256_of(b"picture"))
    missing = [BlobsMissing(job.id, job.document.blobs)]
    assert here.driver.ledger.submit([job]) == missing
    here.put()
    here.pass_grace()
    assert here.driver.ledger.submit([job]) == missing
    here.put()
    here.driver.enter(job)


@pytest.mark.parametrize(
    "state", ["queued", "in_progress", "waiting 60", "parked insufficient_balance"]
)
def test_unfinished_job_keeps_its_blob(here: Place, state: str) -> None:
    """However long a job has not ended, its picture stays, and so it does when put again."""
    sha = here.put()
    if state == "queued":
        here.driver.enter(job_of(sha))
    else:
        claim = here.begin(sha)
    if state.startswith(("waiting", "parked")):
        here.driver.ledger.finish(claim, unpaid(outcome_of(state, claim.id)))
    here.pass_grace()
    assert here.blobs.get(sha) == b"picture"
    here.put()
    here.pass_grace()
    assert here.blobs.get(sha) == b"picture"
    assert here.redis.zcard(BLOB_GARBAGE) == 0


@pytest.mark.parametrize("ending", ["completed", "failed", "cancelled", "parked", "expired"])
def test_ended_job_lets_go_of_its_blob(here: Place, ending: str) -> None:
    """After every ending the picture stays for the grace, and goes; so when cancelled in a park."""
    sha = here.put()
    if ending == "expired":
        (job_id,) = here.driver.enter(job_of(sha))
        assert here.driver.ledger.expire([job_id]) == ["queued"]
    else:
        claim = here.begin(sha)
        here.driver.ledger.admit(claim, reserve=5)
        if ending != "cancelled":
            kind = "parked insufficient_balance" if ending == "parked" else ending
            here.driver.ledger.finish(claim, paid(outcome_of(kind, claim.id)))
        here.driver.ledger.cancel([claim.id])
    here.blobs.sweep()
    assert here.holds(sha)
    here.pass_grace()
    assert not here.holds(sha)
    assert here.redis.hlen(BLOB_REFERENCES) == 0


def test_last_of_several_jobs(here: Place) -> None:
    """The picture of two jobs stays until both have ended, and a job in the grace saves it."""
    sha = here.put()
    first, second = here.driver.enter(job_of(sha), job_of(sha))
    here.driver.ledger.cancel([first])
    here.pass_grace()
    assert here.holds(sha)
    here.driver.ledger.cancel([second])
    (third,) = here.driver.enter(job_of(sha))
    here.pass_grace()
    assert here.blobs.get(sha) == b"picture"
    here.driver.ledger.cancel([third])
    here.pass_grace()
    assert not here.holds(sha)


def test_many_put_the_same(here: Place) -> None:
    """Producers that put the same pictures at once all succeed, and nothing is counted twice."""
    contents = [bytes([number]) * 1_000 for number in range(20)]
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda _: here.blobs.put(contents), range(8)))
    assert replies == [[sha256_of(content) for content in contents]] * 8
    assert [here.blobs.get(name) for name in replies[0]] == contents
    here.pass_grace()
    assert here.redis.keys() == []


def test_no_half_is_seen(here: Place) -> None:
    """While a large blob is put, a reader sees none of it or all."""
    content = b"x" * 30_000_000
    sha = sha256_of(content)
    seen: set[str] = set()
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            try:
                here.blobs.get(sha)
                seen.add("whole")
            except BlobMissing as error:
                seen.add(error.message)

    reader = threading.Thread(target=read)
    reader.start()
    here.blobs.put([content])
    time.sleep(0.2)
    done.set()
    reader.join()
    assert {text for text in seen if "does not match" in text} == set()
    assert here.blobs.get(sha) == content


def test_sweep_is_bounded(here: Place) -> None:
    """One sweep touches no more than its limit; the next goes on."""
    names = here.blobs.put([str(number).encode() for number in range(25)])
    here.pass_time(GRACE)
    assert [here.blobs.sweep(10) for _ in range(4)] == [10, 10, 5, 0]
    assert not any(here.holds(name) for name in names)


async def test_async_producers(here: Place, redis_session_url: str) -> None:
    """The asynchronous half stores what the other reads, again and after it went."""
    contents = [b"one", b"two", b"one"]
    async with connect_async(redis_session_url, "tests") as client:
        blobs = open_async_blobs(here.settings, client)
        for _ in range(2):
            names = await blobs.put(contents)
            assert [here.blobs.get(name) for name in names] == contents
        here.pass_grace()
        assert await blobs.put(contents) == names
    assert [here.blobs.get(name) for name in names] == contents


def test_client_and_worker_meet(here: Place, redis_session_url: str) -> None:
    """The worker loads the bytes that the client submitted, or named by an earlier hash."""
    with Client(here.settings, redis_session_url) as client:
        first = client.submit(prompt="What?", images=[b"picture"])
        again = client.submit(prompt="Where?", images=[{"blob": sha256_of(b"picture")}])
        with pytest.raises(BlobMissing):
            client.submit(prompt="What?", images=[{"blob": sha256_of(b"another")}])
    assert here.redis.hgetall(BLOB_REFERENCES) == {sha256_of(b"picture").encode(): b"2"}
    here.pass_grace()
    assert here.blobs.get(sha256_of(b"picture")) == b"picture"
    assert first.created
    assert again.created


async def test_async_client(here: Place, redis_session_url: str) -> None:
    """The asynchronous client uses the same place."""
    async with AsyncClient(here.settings, redis_session_url) as client:
        await client.submit(prompt="What?", images=[b"picture"])
    assert here.blobs.get(sha256_of(b"picture")) == b"picture"


def test_sweeps_and_puts_at_once(here: Place) -> None:
    """However deletions and uploads of the same bytes fall together, no entered job lacks them."""
    blobs: BlobStore = here.blobs
    stopped = threading.Event()

    def sweep() -> None:
        while not stopped.is_set():
            blobs.sweep()

    sweepers = [threading.Thread(target=sweep) for _ in range(2)]
    for sweeper in sweepers:
        sweeper.start()
    sha = sha256_of(b"picture")
    try:
        for number in range(40):
            job = job_of(sha)
            with suppress(QueueUnavailable):
                blobs.put([b"picture"])
            (reply,) = here.driver.ledger.submit([job])
            if not isinstance(reply, BlobsMissing):
                assert blobs.get(sha) == b"picture", number
                here.driver.ledger.cancel([job.id])
            here.pass_time(GRACE)
    finally:
        stopped.set()
        for sweeper in sweepers:
            sweeper.join()
