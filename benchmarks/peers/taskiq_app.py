"""taskiq: coroutines in processes, results in Redis."""

from __future__ import annotations

import asyncio
import os
import time
from functools import cache
from typing import TYPE_CHECKING, Any

from taskiq_redis import ListQueueBroker, RedisAsyncResultBackend

from benchmarks.peers.work import do_async, make_async_client

if TYPE_CHECKING:
    from collections.abc import Sequence

URL = os.environ["BENCH_REDIS"]
broker = ListQueueBroker(URL).with_result_backend(RedisAsyncResultBackend(URL))
client = cache(make_async_client)


@broker.task
async def analyze(path: str, number: int) -> dict[str, Any]:
    """Ask about the picture in a file."""
    return await do_async(client(), path, number)


def fill(paths: Sequence[str], first: int = 0, pause: float = 0) -> list[float]:
    """Submit one job per path, `pause` seconds apart; return the submission times."""
    return asyncio.run(_fill(paths, first, pause))


async def _fill(paths: Sequence[str], first: int, pause: float) -> list[float]:
    times = []
    await broker.startup()
    for number, path in enumerate(paths, first):
        times.append(time.time())
        await analyze.kiq(path, number)
        await asyncio.sleep(pause)
    await broker.shutdown()
    return times
