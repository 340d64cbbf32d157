"""dramatiq: threads in processes, results in Redis."""

from __future__ import annotations

import os
import time
from functools import cache
from typing import TYPE_CHECKING, Any

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

from benchmarks.peers.work import do, make_client

if TYPE_CHECKING:
    from collections.abc import Sequence

broker = RedisBroker(url=os.environ["BENCH_REDIS"])
broker.add_middleware(Results(backend=RedisBackend(url=os.environ["BENCH_REDIS"])))
dramatiq.set_broker(broker)
client = cache(make_client)


@dramatiq.actor(store_results=True, max_retries=0)
def analyze(path: str, number: int) -> dict[str, Any]:
    """Ask about the picture in a file."""
    return do(client(), path, number)


def fill(paths: Sequence[str], first: int = 0, pause: float = 0) -> list[float]:
    """Submit one job per path, `pause` seconds apart; return the submission times."""
    times = []
    for number, path in enumerate(paths, first):
        times.append(time.time())
        analyze.send(path, number)
        time.sleep(pause)
    return times
