from __future__ import annotations

import asyncio

from producer.gateway.background import end_tasks


def test_a_lost_cancellation_is_repeated() -> None:
    """A task whose first cancellation gets lost is ended all the same."""

    async def deaf_once() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await asyncio.sleep(60)

    async def end() -> bool:
        task = asyncio.create_task(deaf_once())
        await asyncio.sleep(0)
        await asyncio.wait_for(end_tasks({task}, patience=0.01), 5)
        return task.cancelled()

    assert asyncio.run(end())
