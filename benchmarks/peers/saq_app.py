"""saq: coroutines in processes."""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING, Any

from saq import Queue

from benchmarks.peers.work import do_async, make_async_client

if TYPE_CHECKING:
    from collections.abc import Sequence

queue = Queue.from_url(os.environ["BENCH_REDIS"])


async def analyze(context: dict[str, Any], *, path: str, number: int) -> dict[str, Any]:
    """Ask about the picture in a file."""
    return await do_async(context["client"], path, number)


async def startup(context: dict[str, Any]) -> None:
    """Give the worker its client."""
    context["client"] = make_async_client()


settings = {
    "queue": queue,
    "functions": [analyze],
    "concurrency": int(os.environ.get("BENCH_CONCURRENCY", "64")),
    "startup": startup,
}


def fill(paths: Sequence[str], first: int = 0, pause: float = 0) -> list[float]:
    """Submit one job per path, `pause` seconds apart; return the submission times."""
    return asyncio.run(_fill(paths, first, pause))


async def _fill(paths: Sequence[str], first: int, pause: float) -> list[float]:
    times = []
    await queue.connect()
    for number, path in enumerate(paths, first):
        times.append(time.time())
        # Its default limit of 10 s a job includes waiting, and would fail queued jobs.
        await queue.enqueue("analyze", path=path, number=number, timeout=600)
        await asyncio.sleep(pause)
    await queue.disconnect()
    return times
