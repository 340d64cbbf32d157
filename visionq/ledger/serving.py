"""Whether anybody works on a queue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from visionq.names import WORKER, WORKERS

if TYPE_CHECKING:
    from redis import Redis

#: Workers that are looked at, those that registered last.
_MOST_WORKERS: Final = 1000


def is_served(redis: Redis, queue: str) -> bool:
    """Return whether a worker that is alive takes jobs from a queue, in two round trips."""
    seconds, micros = _time(redis)
    now = seconds * 1000 + micros // 1000
    alive: Any = redis.zrangebyscore(WORKERS, f"({now}", "+inf", start=0, num=_MOST_WORKERS)
    with redis.pipeline(transaction=False) as pipeline:
        for worker in alive:
            pipeline.hget(WORKER + worker.decode(), "pool")
        pools = pipeline.execute()
    # A pool is its queues, and after `@` the id of the key.
    return any(queue in (pool or b"").decode().partition("@")[0].split(",") for pool in pools)


def _time(redis: Redis) -> tuple[int, int]:
    found: Any = redis.time()
    return int(found[0]), int(found[1])
