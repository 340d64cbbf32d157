"""What only the asyncio client promises: it never blocks its loop, nor floods Redis."""

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.clients import Fleet
from visionq import AsyncClient, QueueUnavailable
from visionq.errors import JobNotFound, WaitTimeout, WrongEventLoop
from visionq.settings import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from redis import Redis

SETTINGS = Settings(default_model="m1")


async def listening(redis: Redis, channels: int) -> None:
    """Wait until one connection listens on this many channels, its own wake-up channel included."""
    for _ in range(500):
        if [one["sub"] for one in redis.client_list(_type="pubsub")] == [str(channels)]:
            return
        await asyncio.sleep(0.02)
    raise AssertionError(redis.client_list(_type="pubsub"))


async def test_many_waits(redis: Redis, redis_url: str) -> None:
    """Three hundred jobs submitted and waited for at once share few connections, one to listen."""
    with Fleet(redis_url) as fleet:
        fleet.may_work.clear()
        async with AsyncClient(SETTINGS, redis_url) as client:
            submits = (client.submit(prompt=f"{n}?", images=[b"%d" % n]) for n in range(300))
            jobs = await asyncio.gather(*submits)
            waits = asyncio.gather(*(job.wait(60) for job in jobs))
            await listening(redis, 301)
            assert len(redis.client_list(_type="pubsub")) == 1
            mine = [one for one in redis.client_list() if one["name"] == "visionq-client"]
            assert len(mine) <= 2 * 50 + 1
            fleet.may_work.set()
            assert [result.id for result in await waits] == [job.id for job in jobs]


async def test_nothing_is_left(redis: Redis, redis_url: str) -> None:
    """Waits that ended, by any means, leave no subscription and no task behind."""
    async with AsyncClient(SETTINGS, redis_url) as client:
        job = await client.submit(prompt="?", images=[b"x"])
        with pytest.raises(WaitTimeout):
            await job.wait(0.2)
        cancelled = asyncio.create_task(job.wait())
        await asyncio.sleep(0.2)
        cancelled.cancel()
        await asyncio.wait({cancelled})
        stays = asyncio.create_task(job.wait(20))
        another = await client.submit(prompt="another?", images=[b"x"])
        with pytest.raises(WaitTimeout):
            await another.wait(0.2)
        await listening(redis, 2)
        await job.cancel()
        await asyncio.wait({stays})
        await asyncio.sleep(3.2)
        assert redis.client_list(_type="pubsub") == []
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert stays.exception() is not None


async def test_closed_while_waiting(redis_url: str) -> None:
    """Closing the client ends the waits of its other tasks with an error, not with silence."""
    client = AsyncClient(SETTINGS, redis_url)
    job = await client.submit(prompt="?", images=[b"x"])
    waiting = asyncio.create_task(job.wait())
    await asyncio.sleep(0.2)
    await client.aclose()
    with pytest.raises(QueueUnavailable, match="closed while waiting"):
        await asyncio.wait_for(waiting, 5)
    gc.collect()  # a connection left open would warn here, and fail the test


async def test_input_that_comes_in_time(redis_url: str) -> None:
    """Jobs may come from an asynchronous iterator."""

    async def questions() -> AsyncIterator[dict[str, Any]]:
        for number in range(3):
            await asyncio.sleep(0)
            yield {"prompt": f"{number}?", "images": [b"x"]}

    async with AsyncClient(SETTINGS, redis_url) as client:
        jobs = [job async for job in client.submit_many(questions())]
        assert len({job.id for job in jobs}) == 3
        assert (await jobs[0].status()).images == 1


def test_another_event_loop(redis_url: str) -> None:
    """A client that is used in a second event loop says so, in every method."""

    async def first() -> AsyncClient:
        client = AsyncClient(SETTINGS, redis_url)
        with pytest.raises(JobNotFound):
            await client.get("none")
        await client._operations.redis.aclose()
        return client

    async def second(client: AsyncClient) -> None:
        for asked in (
            client.get("none"),
            client.wait("none", 1),
            client.cancel("none"),
            client.submit(prompt="?", images=[b"x"]),
            anext(client.results(["none"])),
            anext(client.stream([{"prompt": "?", "images": [b"x"]}])),
            client.aclose(),
        ):
            with pytest.raises(WrongEventLoop, match="create one in each loop"):
                await asked

    asyncio.run(second(asyncio.run(first())))
