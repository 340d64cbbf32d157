"""Exit 0 if a worker of this host keeps its registration in the ledger: a health check.

It asks Redis once and takes a fraction of a second, where asking the worker through Celery takes
several and answers even when its jobs stand still.
"""

from __future__ import annotations

import socket
import sys
from typing import cast

from visionq.commands.shared import find_redis_url, print_error
from visionq.errors import VisionqError
from visionq.names import WORKERS
from visionq.redis_connection import as_queue_unavailable, connect
from visionq.settings import load_settings


def main() -> int:
    """Look for a registration of this host that has not lapsed."""
    try:
        registered = _registered()
    except VisionqError as error:
        print_error(error)
        return 1
    mine = f"{socket.gethostname()}:".encode()
    return 0 if any(worker.startswith(mine) for worker in registered) else 1


def _registered() -> list[bytes]:
    redis = connect(find_redis_url(load_settings()), "visionq-health", retries=0)
    with as_queue_unavailable():
        seconds, microseconds = redis.time()
        now = seconds * 1000 + microseconds // 1000
        return cast("list[bytes]", redis.zrangebyscore(WORKERS, now, "+inf"))


if __name__ == "__main__":
    sys.exit(main())
