"""Clearing away what nobody needs any more, wherever Redis does not by itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from visionq.names import DEAD_LETTERS, DELIVERIES, EVENTS, FAILED, FINISHED

if TYPE_CHECKING:
    from redis import Redis

    from visionq.blobs import BlobStore

#: Blobs that one step deletes, and steps in one round: the next round takes up what is left.
_AT_ONCE: Final = 500
_MOST_STEPS: Final = 20


@dataclass(frozen=True)
class Sweep:
    """Deletes blobs whose time is up, and shortens the lists that are bounded by age.

    Every process of the fleet does it; what is done is done once.
    """

    redis: Redis
    blobs: BlobStore
    #: Seconds.
    result_ttl: int
    failed_ttl: int = 14 * 24 * 3600

    def run(self) -> None:
        """Do what is to be done now."""
        trim(self.redis, self.result_ttl, self.failed_ttl)
        for _ in range(_MOST_STEPS):
            if self.blobs.sweep(_AT_ONCE) < _AT_ONCE:
                return


def trim(redis: Redis, result_ttl: int, failed_ttl: int) -> None:
    """Forget which jobs ended, and what happened to jobs, more than so many seconds ago.

    The scripts bound all this whenever a job ends; this empties them when none does.
    """
    time: Any = redis.time()
    oldest = (time[0] - result_ttl) * 1000
    with redis.pipeline(transaction=False) as pipeline:
        pipeline.zremrangebyscore(FINISHED, "-inf", oldest)
        pipeline.zremrangebyscore(DEAD_LETTERS, "-inf", oldest)
        pipeline.zremrangebyscore(DELIVERIES, "-inf", oldest)
        pipeline.zremrangebyscore(FAILED, "-inf", (time[0] - failed_ttl) * 1000)
        pipeline.xtrim(EVENTS, minid=oldest, approximate=False)
        pipeline.execute()
