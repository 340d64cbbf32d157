"""rq: one job at a time in each of many processes."""

from __future__ import annotations

import os
import time
from functools import cache
from typing import TYPE_CHECKING, Any

from redis import Redis
from rq import Queue

from benchmarks.peers.work import do, make_client

if TYPE_CHECKING:
    from collections.abc import Sequence

client = cache(make_client)


def analyze(path: str, number: int) -> dict[str, Any]:
    """Ask about the picture in a file."""
    return do(client(), path, number)


def fill(paths: Sequence[str], first: int = 0, pause: float = 0) -> list[float]:
    """Submit one job per path, `pause` seconds apart; return the submission times."""
    times = []
    queue = Queue(connection=Redis.from_url(os.environ["BENCH_REDIS"]))
    for number, path in enumerate(paths, first):
        times.append(time.time())
        queue.enqueue("benchmarks.peers.rq_app.analyze", path, number)
        time.sleep(pause)
    return times
