"""visionq through its asynchronous SDK: the submitter waits for each job."""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING

from benchmarks.peers.visionq_app import job
from visionq.sdk import AsyncClient

if TYPE_CHECKING:
    from collections.abc import Sequence


def fill(paths: Sequence[str], first: int = 0, pause: float = 0) -> list[tuple[float, float]]:
    """Submit one job per path, `pause` seconds apart; return (submitted, answered) times."""
    return asyncio.run(_fill(paths, first, pause))


async def _fill(paths: Sequence[str], first: int, pause: float) -> list[tuple[float, float]]:
    async with AsyncClient(redis_url=os.environ["BENCH_REDIS"]) as client:

        async def one(path: str, number: int) -> tuple[float, float]:
            fields = {**job(path, number), "priority": "interactive"}
            entered = time.time()
            submitted = await client.submit(**fields)
            await client.wait(submitted)
            return entered, time.time()

        tasks = []
        for number, path in enumerate(paths, first):
            tasks.append(asyncio.create_task(one(path, number)))
            await asyncio.sleep(pause)
        return list(await asyncio.gather(*tasks))
