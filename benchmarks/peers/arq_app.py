"""arq: coroutines in processes."""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING, Any, ClassVar

from arq import create_pool
from arq.connections import RedisSettings

from benchmarks.peers.work import do_async, make_async_client

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

REDIS = RedisSettings.from_dsn(os.environ["BENCH_REDIS"])


async def analyze(context: dict[str, Any], path: str, number: int) -> dict[str, Any]:
    """Ask about the picture in a file."""
    return await do_async(context["client"], path, number)


async def startup(context: dict[str, Any]) -> None:
    """Give the worker its client."""
    context["client"] = make_async_client()


class WorkerSettings:
    """Settings read by the `arq` command."""

    functions: ClassVar[list[Callable[..., Any]]] = [analyze]
    on_startup = startup
    redis_settings = REDIS
    max_jobs = int(os.environ.get("BENCH_CONCURRENCY", "64"))


def fill(paths: Sequence[str], first: int = 0, pause: float = 0) -> list[float]:
    """Submit one job per path, `pause` seconds apart; return the submission times."""
    return asyncio.run(_fill(paths, first, pause))


async def _fill(paths: Sequence[str], first: int, pause: float) -> list[float]:
    times = []
    pool = await create_pool(REDIS)
    for number, path in enumerate(paths, first):
        times.append(time.time())
        await pool.enqueue_job("analyze", path, number)
        await asyncio.sleep(pause)
    await pool.aclose()
    return times
