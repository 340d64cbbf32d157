"""Exit 0 if the workers of this host give signs of life and their jobs move on: a health check.

It reads two keys of the Redis that VISIONQ_REDIS_URL names and takes a fraction of a second, where
asking the worker through Celery takes several and is answered even when its jobs stand still.
Where it fails, it says why in one line on stderr.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from typing import TYPE_CHECKING, cast

from visionq.errors import QueueUnavailable
from visionq.names import WORKER, WORKERS
from visionq.redis_connection import as_queue_unavailable, connect

if TYPE_CHECKING:
    from redis import Redis


def main() -> int:
    """Look for a registration of this host that has not lapsed, and for jobs that hang."""
    host = socket.gethostname()
    # Not by `load_settings`: importing that takes longer than all the rest.
    url = os.environ.get("VISIONQ_REDIS_URL") or "redis://127.0.0.1"
    try:
        with connect(url, "visionq-health", retries=0) as redis, as_queue_unavailable():
            trouble = _trouble(redis, host)
    except QueueUnavailable as error:
        trouble = str(error)
    if trouble:
        sys.stderr.write(f"{host}: {trouble}\n")
    return 1 if trouble else 0


def _trouble(redis: Redis, host: str) -> str | None:
    """Return what is wrong with the workers of this host, if anything is."""
    seconds, microseconds = redis.time()
    now = seconds * 1000 + microseconds // 1000
    registered = cast("list[bytes]", redis.zrangebyscore(WORKERS, now, "+inf"))
    mine = [worker.decode() for worker in registered if worker.startswith(f"{host}:".encode())]
    if not mine:
        return "no worker has given a sign of life within its lease"
    jobs = hung = 0
    for worker in mine:
        facts = json.loads(cast("bytes | None", redis.hget(WORKER + worker, "facts")) or "{}")
        jobs += facts.get("jobs", 0)
        hung += facts.get("hung", 0)
    return f"{hung} of {jobs} jobs hang in a stage beyond its time" if hung else None


if __name__ == "__main__":
    sys.exit(main())
