"""The thread that clears away what nobody needs any more, wherever Redis does not by itself.

It is no part of the dispatcher: a store that is slow or away must not keep jobs from workers.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Final

import structlog

from visionq.errors import QueueUnavailable
from visionq.names import EVENTS, FINISHED
from visionq.redis_connection import PASSING

if TYPE_CHECKING:
    from redis import Redis

    from visionq.blobs import BlobStore

log = structlog.get_logger(__name__)

#: Seconds between rounds. Every process of the fleet makes them; what is done is done once.
_PAUSE: Final = 10.0
#: Blobs that one step deletes.
_AT_ONCE: Final = 500


class Sweeper:
    """Deletes blobs whose time is up, and shortens the lists that are bounded by age."""

    def __init__(
        self, redis: Redis, blobs: BlobStore, result_ttl: int, pause: float = _PAUSE
    ) -> None:
        self._redis = redis
        self._blobs = blobs
        self._result_ttl = result_ttl
        self._pause = pause
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="visionq-sweeper", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End after the current step; what it leaves is taken up by others, or later."""
        self._stopped.set()

    def join(self, timeout: float) -> None:
        """Wait for the end."""
        if self._thread.ident is not None:
            self._thread.join(timeout)

    def sweep(self) -> None:
        """Do all that is to be done now."""
        trim(self._redis, self._result_ttl)
        while not self._stopped.is_set() and self._blobs.sweep(_AT_ONCE) >= _AT_ONCE:
            pass

    def _run(self) -> None:
        while not self._stopped.wait(self._pause):
            try:
                self.sweep()
            except (*PASSING, QueueUnavailable) as error:
                log.warning("sweep.failed", error=str(error))
            except Exception:
                # The thread must live: without it blobs outside Redis stay for ever.
                log.exception("sweep.failed")


def trim(redis: Redis, result_ttl: int) -> None:
    """Forget which jobs ended, and what happened to jobs, more than so many seconds ago.

    The scripts bound both whenever a job ends; this empties them when none does.
    """
    time: Any = redis.time()
    oldest = (time[0] - result_ttl) * 1000
    with redis.pipeline(transaction=False) as pipeline:
        pipeline.zremrangebyscore(FINISHED, "-inf", oldest)
        pipeline.xtrim(EVENTS, minid=oldest, approximate=False)
        pipeline.execute()
