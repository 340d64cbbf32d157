"""Each place for blobs, with the moves that only a test makes on what is there."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from random import Random
from typing import TYPE_CHECKING, Any

from tests.support.ledger import LedgerDriver, new_job
from visionq.blobs import BlobStore, ObjectBlobs, open_blobs
from visionq.devstack.ports import free_ports
from visionq.ledger import ledger_options
from visionq.names import BLOB, BLOB_GARBAGE
from visionq.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from redis import Redis

    from visionq.ledger import Claim, NewJob

#: Seconds; nobody waits for them, see `Place.pass_time`.
GRACE = 60
PLACES = ("redis", "directory", "s3")
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_REGION": "us-east-1",
}


@dataclass
class Place:
    """A store, the ledger that goes with it, and its address."""

    redis: Redis
    blobs: BlobStore
    settings: Settings
    driver: LedgerDriver

    def holds(self, sha256: str) -> bool:
        """Look behind the store's back."""
        if isinstance(self.blobs, ObjectBlobs):
            return self.blobs._is_there(sha256)
        return bool(self.redis.exists(BLOB + sha256))

    def overwrite(self, sha256: str, content: bytes) -> None:
        if isinstance(self.blobs, ObjectBlobs):
            self.blobs._store.put(f"{sha256[:2]}/{sha256}", content)
        else:
            self.redis.set(BLOB + sha256, content)

    def put(self, content: bytes = b"picture") -> str:
        (sha,) = self.blobs.put([content])
        return sha

    def begin(self, *shas: str) -> Claim:
        """Bring a job that needs the blobs as far as a worker's hands."""
        return self.driver.begin(job_of(*shas))

    def pass_time(self, seconds: float) -> None:
        """Make what waits in the books so much older. Redis's own expiry has tests of its own."""
        entries: Any = self.redis.zrange(BLOB_GARBAGE, 0, -1)
        for entry in entries:
            self.redis.zadd(BLOB_GARBAGE, {entry: -1000 * seconds}, xx=True, incr=True)

    def pass_grace(self) -> None:
        """Let the grace of what was put or released until now pass, and sweep."""
        self.pass_time(GRACE)
        self.blobs.sweep()


def job_of(*shas: str) -> NewJob:
    return new_job(images=[{"blob": sha} for sha in shas])


def place(redis: Redis, url: str | None, limit: int | None = None) -> Place:
    settings = Settings(blob_url=url, blob_limit=limit, blob_grace=GRACE)
    driver = LedgerDriver(redis, ledger_options(settings))
    driver.ledger._clock = None  # blobs go by Redis's own time
    return Place(redis, open_blobs(settings, redis), settings, driver)


@contextmanager
def running_s3(folder: Path) -> Iterator[str]:
    """Run an object store with one empty bucket, `bucket`; yields its address."""
    port = free_ports(1, Random())[0]
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with (folder / "s3.log").open("wb") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, env={**os.environ, **CREDENTIALS}
        )
    try:
        _make_bucket(port, process)
        yield url
    finally:
        process.terminate()
        process.wait(timeout=10)


def _make_bucket(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(300):
        assert process.poll() is None, "the object store did not start"
        connection = HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            connection.request("PUT", "/bucket")
            assert connection.getresponse().status == 200
        except OSError:
            time.sleep(0.1)
        else:
            return
        finally:
            connection.close()
    raise AssertionError("the object store did not begin to answer")
