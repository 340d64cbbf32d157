"""Blobs outside Redis: deleted by one at a time, and safe from a store or a deleter that fails."""

from __future__ import annotations

import threading
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.blobs import CREDENTIALS, GRACE, Place, job_of, place
from visionq.blobs import ObjectBlobs, sha256_of
from visionq.blobs.in_store import DELETION
from visionq.devstack.ports import free_ports
from visionq.errors import QueueUnavailable
from visionq.names import BLOB_DELETIONS, BLOB_GARBAGE, BLOB_REFERENCES
from worker.threads.maintenance import MaintenanceThread
from worker.threads.maintenance.housekeeping import Sweep

if TYPE_CHECKING:
    from pathlib import Path

    from redis import Redis

SHA = sha256_of(b"picture")


@pytest.fixture
def here(redis: Redis, tmp_path: Path) -> Place:
    return place(redis, (tmp_path / "blobs").as_uri())


def die_while_deleting(here: Place, monkeypatch: pytest.MonkeyPatch, *, deleted: bool) -> None:
    """Sweep as one that dies before it can say that it has deleted what it took."""
    blobs = here.blobs
    assert isinstance(blobs, ObjectBlobs)
    delete = blobs._delete

    def die(paths: list[str]) -> None:
        if deleted:
            delete(paths)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(blobs, "_delete", die)
        with pytest.raises(KeyboardInterrupt):
            here.pass_grace()


def lapse(redis: Redis) -> None:
    """Let the time pass that a deletion may take."""
    marked: Any = redis.zrange(BLOB_DELETIONS, 0, -1)
    for sha in marked:
        redis.zincrby(BLOB_DELETIONS, -1000 * DELETION, sha)


def test_nothing_but_books_in_redis(here: Place) -> None:
    """Redis knows which blobs are needed and which go, and holds none of their bytes."""
    here.blobs.put([b"1" * 100_000, b"2" * 100_000])
    here.driver.enter(job_of(sha256_of(b"1" * 100_000)))
    sizes = [here.redis.memory_usage(key) for key in here.redis.scan_iter()]
    assert max(size for size in sizes if size) < 5_000
    assert here.redis.hlen(BLOB_REFERENCES) == here.redis.zcard(BLOB_GARBAGE) == 1


def test_files_by_their_hash(here: Place, tmp_path: Path) -> None:
    """A directory holds one plain file for each blob, and nothing else once they are put."""
    here.put()
    files = [path for path in (tmp_path / "blobs").rglob("*") if path.is_file()]
    assert [path.relative_to(tmp_path / "blobs").as_posix() for path in files] == [
        f"{SHA[:2]}/{SHA}"
    ]
    assert files[0].read_bytes() == b"picture"


def test_upload_waits_for_deletion(here: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes that someone is deleting are uploaded after that, so that they stay."""
    here.put()
    blobs = here.blobs
    assert isinstance(blobs, ObjectBlobs)
    delete, deleting, go_on = blobs._delete, threading.Event(), threading.Event()

    def delete_slowly(paths: list[str]) -> None:
        deleting.set()
        assert go_on.wait(10)
        delete(paths)

    monkeypatch.setattr(blobs, "_delete", delete_slowly)
    sweeper = threading.Thread(target=here.pass_grace)
    sweeper.start()
    assert deleting.wait(10)
    uploader = threading.Thread(target=here.put)
    uploader.start()
    uploader.join(0.3)
    assert uploader.is_alive()
    assert not here.redis.exists(BLOB_GARBAGE)
    go_on.set()
    uploader.join(10)
    sweeper.join(10)
    here.driver.enter(job_of(SHA))
    assert here.blobs.get(SHA) == b"picture"


@pytest.mark.parametrize("deleted", [False, True])
def test_deleter_that_died(here: Place, monkeypatch: pytest.MonkeyPatch, *, deleted: bool) -> None:
    """A blob that a deleter left behind goes in a later sweep, and not before its time is up."""
    here.put()
    die_while_deleting(here, monkeypatch, deleted=deleted)
    assert here.blobs.sweep() == 0
    assert here.holds(SHA) is not deleted
    lapse(here.redis)
    assert here.blobs.sweep() == 1
    assert not here.holds(SHA)
    assert here.redis.keys() == []


@pytest.mark.parametrize("deleted", [False, True])
def test_put_after_a_deleter_died(
    here: Place, monkeypatch: pytest.MonkeyPatch, *, deleted: bool
) -> None:
    """Bytes that a dead deleter has or has not deleted are there after a put, and stay."""
    here.put()
    die_while_deleting(here, monkeypatch, deleted=deleted)
    lapse(here.redis)
    here.put()
    here.driver.enter(job_of(SHA))
    here.pass_grace()
    lapse(here.redis)
    here.blobs.sweep()
    assert here.blobs.get(SHA) == b"picture"


def test_upload_that_took_too_long(here: Place) -> None:
    """A blob that was deleted between upload and submission is asked for again."""
    here.put()
    here.pass_grace()
    assert [type(reply).__name__ for reply in here.driver.ledger.submit([job_of(SHA)])] == [
        "BlobsMissing"
    ]


def test_directory_that_cannot_be_used(here: Place, tmp_path: Path) -> None:
    """A directory that is gone is reported as such by every move, and its blobs are tried again."""
    here.put()
    (tmp_path / "blobs").rename(tmp_path / "elsewhere")
    (tmp_path / "blobs").write_text("a file where the directory was")
    for move in (lambda: here.put(b"another"), lambda: here.blobs.get(SHA)):
        with pytest.raises(QueueUnavailable, match="VISIONQ_BLOB_URL"):
            move()
    with pytest.raises(QueueUnavailable, match="VISIONQ_BLOB_URL"):
        here.pass_grace()
    (tmp_path / "blobs").unlink()
    (tmp_path / "elsewhere").rename(tmp_path / "blobs")
    lapse(here.redis)
    assert here.blobs.sweep() >= 1
    assert not here.holds(SHA)


def test_store_that_is_away(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """An object store that can't be reached is reported within seconds, by every move."""
    (port,) = free_ports(1, Random())
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    here = place(redis, "s3://bucket/prefix")
    for move in (here.put, lambda: here.blobs.get(SHA), here.pass_grace):
        with pytest.raises(QueueUnavailable, match="can't be used"):
            move()
    # Registered and never uploaded: its time comes, too.
    assert redis.zscore(BLOB_DELETIONS, SHA) is not None


def test_sweeper_goes_on(here: Place, tmp_path: Path) -> None:
    """A worker's sweeper survives a store that is away, and deletes when it is back."""
    here.put()
    here.pass_time(GRACE)
    (tmp_path / "blobs").rename(tmp_path / "elsewhere")
    (tmp_path / "blobs").write_text("a file where the directory was")
    sweeper = MaintenanceThread([Sweep(here.redis, here.blobs, result_ttl=60)], pause=0.02)
    sweeper.start()
    try:
        _until(lambda: here.redis.exists(BLOB_DELETIONS))
        (tmp_path / "blobs").unlink()
        (tmp_path / "elsewhere").rename(tmp_path / "blobs")
        lapse(here.redis)
        _until(lambda: not here.redis.exists(BLOB_DELETIONS))
    finally:
        sweeper.stop()
        sweeper.join(5)
    assert not here.holds(SHA)


def _until(holds: object) -> None:
    assert callable(holds)
    pause = threading.Event()
    for _ in range(500):
        if holds():
            return
        pause.wait(0.02)
    raise AssertionError("it did not come about")
