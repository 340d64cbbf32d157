"""Waiting for jobs to end, for asyncio: one connection for all that one client waits for."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import Counter
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from redis.exceptions import RedisError

from visionq.errors import QueueUnavailable
from visionq.names import CELERY_RESULT, SDK_WAKE
from visionq.sdk import reading
from visionq.sdk.waiting import AT_ONCE, REREAD, Outage, Pending, answers, portions, told

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping, Sequence

    from redis.asyncio import Redis
    from redis.asyncio.client import PubSub

    from visionq.sdk.reading import End


class Listener:
    """Hears of jobs that end, in one task and over one connection, as long as anybody waits.

    A subscriber that listens can't be spoken to by other tasks. They wake it through Redis, on a
    channel of its own, when there is more to listen for.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._wake_channel = SDK_WAKE + uuid.uuid4().hex
        self._pending = Pending(())
        self._futures: dict[str, asyncio.Future[End]] = {}
        self._waiters: Counter[str] = Counter()
        self._gone: list[str] = []
        self._outage = Outage(time.monotonic)
        self._is_woken = False
        self._task: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def watching(
        self, job_ids: Iterable[str]
    ) -> AsyncIterator[dict[str, asyncio.Future[End]]]:
        """Listen for jobs while the block lasts; each future will hold the end of its job."""
        ids = list(dict.fromkeys(job_ids))
        try:
            yield await self.watch(ids)
        finally:
            self.leave(ids)

    async def watch(self, job_ids: Iterable[str]) -> dict[str, asyncio.Future[End]]:
        """Listen for jobs until `leave`; each future will hold the end of its job."""
        futures = {job_id: self._join(job_id) for job_id in job_ids}
        await self._wake()
        return futures

    def leave(self, job_ids: Iterable[str]) -> None:
        """Listen no longer for jobs that `watch` was given."""
        for job_id in job_ids:
            self._leave(job_id)

    async def read(self, job_ids: Sequence[str]) -> dict[str, End]:
        """Return the ends of those jobs that have ended, in one round trip."""
        async with self._redis.pipeline(transaction=False) as pipeline:
            reading.ask(pipeline, job_ids)
            return reading.read(job_ids, await pipeline.execute())

    async def close(self) -> None:
        """End the task; whoever still waits gets `QueueUnavailable`."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    def _join(self, job_id: str) -> asyncio.Future[End]:
        self._waiters[job_id] += 1
        if job_id not in self._futures:
            self._futures[job_id] = asyncio.get_running_loop().create_future()
            self._pending.add(job_id)
        return self._futures[job_id]

    def _leave(self, job_id: str) -> None:
        self._waiters[job_id] -= 1
        if self._waiters[job_id] == 0:
            del self._waiters[job_id]
            del self._futures[job_id]
            self._pending.discard(job_id)
            self._gone.append(CELERY_RESULT + job_id)

    async def _wake(self) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._serve())
        elif not self._is_woken:
            self._is_woken = True
            # If Redis does not hear it, the listener looks by itself before long.
            with suppress(RedisError):
                await self._redis.publish(self._wake_channel, "")

    async def _serve(self) -> None:
        end = QueueUnavailable("the client was closed while waiting; the job goes on")
        try:
            while self._pending:
                try:
                    await self._listen()
                except RedisError as error:
                    await asyncio.sleep(self._outage.pause_after(error, float("inf")))
        except QueueUnavailable as error:
            end = error
        finally:
            self._settle(dict.fromkeys(self._pending, end))

    async def _listen(self) -> None:
        """Listen on a new connection until nobody waits."""
        self._pending.forget_subscriptions()
        self._gone.clear()
        async with self._redis.pubsub() as pubsub:
            await pubsub.subscribe(self._wake_channel)
            reread_at = time.monotonic() + REREAD
            while self._pending:
                await self._renew_subscriptions(pubsub)
                heard = await _heard(pubsub, reread_at - time.monotonic())
                self._settle(answers(heard))
                job_ids = self._pending.among(heard)
                if time.monotonic() >= reread_at:
                    job_ids += self._pending.next_to_reread()
                    reread_at = time.monotonic() + REREAD
                for few in portions(job_ids):
                    self._settle(await self.read(few))
                self._outage.over()

    async def _renew_subscriptions(self, pubsub: PubSub) -> None:
        self._is_woken = False  # whoever comes from here on wakes it again
        gone, self._gone = self._gone, []
        if gone:
            await pubsub.unsubscribe(*gone)
        channels = self._pending.next_channels()
        if channels:
            await pubsub.subscribe(*channels)

    def _settle(self, ends: Mapping[str, End]) -> None:
        for job_id, end in self._pending.without(ends).items():
            self._gone.append(CELERY_RESULT + job_id)
            self._futures[job_id].set_result(end)


async def _heard(pubsub: PubSub, seconds: float) -> dict[str, bytes | None]:
    """Wait for a message, then take those that are there already."""
    heard: dict[str, bytes | None] = {}
    message = await pubsub.get_message(timeout=max(0.0, seconds))
    while message is not None and len(heard) < AT_ONCE:
        heard |= told(message)
        message = await pubsub.get_message(timeout=0)
    return heard
