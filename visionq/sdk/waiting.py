"""Waiting for jobs to end.

A job's end is published on the channel of its Celery result. The subscription is confirmed by a
message, and only that message leads to reading the job's state, so no end falls between the two.
An end that is missed all the same (Redis dropped the subscriber) is found by reading every few
seconds.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import Counter
from contextlib import asynccontextmanager, suppress
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import AuthenticationError, AuthorizationError, RedisError

from visionq.errors import QueueUnavailable, WaitTimeout
from visionq.names import CELERY_RESULT, SDK_WAKE
from visionq.redis_connection import TRANSIENT_ERRORS, as_queue_unavailable
from visionq.sans_io import Item, items, items_async, run_async
from visionq.sdk.results import answer_in, read_ends

if TYPE_CHECKING:
    from collections.abc import (
        AsyncIterator,
        Callable,
        Generator,
        Iterable,
        Iterator,
        Mapping,
        Sequence,
    )

    from redis import Redis
    from redis.asyncio import Redis as AsyncRedis
    from redis.asyncio.client import PubSub as AsyncPubSub
    from redis.client import PubSub

    from visionq.sans_io import Steps
    from visionq.sdk.job_handles import AsyncJob, Job
    from visionq.sdk.typed import End

#: Seconds between readings of the state of jobs of which nothing was heard.
REREAD: Final = 3.0
#: Seconds for one reply of Redis; a deadline is missed by as much when Redis hangs.
REPLY: Final = 5.0
#: Seconds without Redis after which waiting ends in `QueueUnavailable`.
LONGEST_OUTAGE: Final = 60.0
#: Jobs subscribed to or read in one round trip.
AT_ONCE: Final = 500

#: redis-py counts these among the connection's errors, and they are not transient.
_REFUSALS: Final = (AuthenticationError, AuthorizationError)
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 1.0


class Outage:
    """The pauses between tries while Redis does not answer."""

    def __init__(self, clock: Callable[[], float], longest: float = LONGEST_OUTAGE) -> None:
        self._clock = clock
        self._longest = longest
        self.over()

    def over(self) -> None:
        """Begin again with short pauses: Redis has answered."""
        self._since: float | None = None
        self._pause = _FIRST_PAUSE

    def pause_after(self, error: RedisError, deadline: float) -> float:
        """Return the seconds to pause.

        Raises:
            QueueUnavailable: Redis is away too long or past the deadline, or refuses the client.
        """
        now = self._clock()
        self._since = now if self._since is None else self._since
        end = min(deadline, self._since + self._longest)
        passing = isinstance(error, TRANSIENT_ERRORS) and not isinstance(error, _REFUSALS)
        if not passing or now >= end:
            with as_queue_unavailable():
                raise error
        pause, self._pause = self._pause, min(_LONGEST_PAUSE, self._pause * 2)
        return min(pause, end - now)


class Pending:
    """Jobs that have not ended as far as the client knows, and which of them it subscribed to."""

    def __init__(self, job_ids: Iterable[str] = ()) -> None:
        self._jobs = dict.fromkeys(job_ids)
        self.forget_subscriptions()

    def __len__(self) -> int:
        return len(self._jobs)

    def __iter__(self) -> Iterator[str]:
        return iter(self._jobs)

    def forget_subscriptions(self) -> None:
        """Begin again on a new connection."""
        self._not_subscribed = dict.fromkeys(self._jobs)
        self._ended: list[str] = []

    def add(self, job_id: str) -> None:
        """Wait for one more job."""
        if job_id not in self._jobs:
            self._jobs[job_id] = None
            self._not_subscribed[job_id] = None

    def discard(self, job_id: str) -> None:
        """Wait no longer for a job."""
        if job_id in self._not_subscribed:
            del self._not_subscribed[job_id]
        elif job_id in self._jobs:
            self._ended.append(CELERY_RESULT + job_id)
        self._jobs.pop(job_id, None)

    def next_channels(self) -> list[str]:
        """Return the next channels to subscribe to, each once."""
        few = list(islice(self._not_subscribed, AT_ONCE))
        for job_id in few:
            del self._not_subscribed[job_id]
        return [CELERY_RESULT + job_id for job_id in few]

    def ended_channels(self) -> list[str]:
        """Return the channels to unsubscribe from, each once."""
        ended, self._ended = self._ended, []
        return ended

    def among(self, job_ids: Iterable[str]) -> list[str]:
        """Return the given jobs that are pending, each once."""
        return [job_id for job_id in dict.fromkeys(job_ids) if job_id in self._jobs]

    def without(self, ends: Mapping[str, End]) -> dict[str, End]:
        """Return the ends of pending jobs, and wait no longer for them."""
        found = {job_id: end for job_id, end in ends.items() if job_id in self._jobs}
        for job_id in found:
            self.discard(job_id)
        return found

    def next_to_reread(self) -> list[str]:
        """Return the jobs that were not read for the longest time."""
        few = list(islice(self._jobs, AT_ONCE))
        for job_id in few:
            del self._jobs[job_id]
            self._jobs[job_id] = None
        return few


def heard_in(message: dict[str, Any]) -> dict[str, bytes | None]:
    """Return the job that a message names, with its published result.

    A confirmed subscription names a job whose state has to be read, and has no result.
    """
    if message["type"] not in {"message", "subscribe"}:
        return {}
    channel: str = message["channel"].decode()
    if not channel.startswith(CELERY_RESULT):
        return {}
    result = message["data"] if message["type"] == "message" else None
    return {channel.removeprefix(CELERY_RESULT): result}


def timeout_error(unfinished: int, timeout: float | None) -> WaitTimeout:
    """Return the error of a wait whose time is up."""
    jobs = "the job has" if unfinished == 1 else f"{unfinished:,} jobs have"
    return WaitTimeout(f"{jobs} not ended within {timeout or 0:g} s, and will go on")


def portions(job_ids: Sequence[str]) -> Iterator[Sequence[str]]:
    """Split jobs into round trips."""
    return (job_ids[start : start + AT_ONCE] for start in range(0, len(job_ids), AT_ONCE))


def _listen(
    redis: Redis | AsyncRedis,
    pubsub: PubSub | AsyncPubSub,
    pending: Pending,
    deadline: float,
    clock: Callable[[], float],
) -> Steps[None]:
    """Yield the jobs that have ended, possibly none, after each reading, until the deadline."""
    reread_at = clock() + REREAD
    while pending:
        if ended := pending.ended_channels():
            yield pubsub.unsubscribe(*ended)
        if channels := pending.next_channels():
            yield pubsub.subscribe(*channels)
        heard = yield from _hear(pubsub, min(deadline, reread_at) - clock())
        is_last = clock() >= deadline
        yield Item(pending.without(_answers(heard)))
        job_ids = list(pending) if is_last else pending.among(heard)
        if clock() >= reread_at:
            job_ids += pending.next_to_reread()
            reread_at = clock() + REREAD
        for few in portions(job_ids):
            yield Item(pending.without((yield from read_ends(redis, few))))
        if is_last:
            return


def _hear(pubsub: PubSub | AsyncPubSub, seconds: float) -> Steps[dict[str, bytes | None]]:
    """Wait for a message, then take those that have arrived."""
    heard: dict[str, bytes | None] = {}
    message = yield pubsub.get_message(timeout=max(0.0, seconds))
    while message is not None and len(heard) < AT_ONCE:
        heard |= heard_in(message)
        message = yield pubsub.get_message(timeout=0)
    return heard


def _answers(heard: Mapping[str, bytes | None]) -> dict[str, End]:
    """Return the answers among published results; other ends have to be read."""
    found = {job_id: answer_in(result) for job_id, result in heard.items()}
    return {job_id: answer for job_id, answer in found.items() if answer is not None}


# Blocking -----------------------------------------------------------------------------------------


def ends(
    redis: Redis, job_ids: Iterable[str] | Pending, timeout: float | None
) -> Generator[tuple[str, End], None, None]:
    """Yield each job once it has ended, over one subscription.

    A `Pending` of the caller may grow between two jobs that are yielded.

    Raises:
        WaitTimeout: `timeout` seconds have passed.
        QueueUnavailable: Redis is away for a minute, or when the time is up.
    """
    clock = time.monotonic
    pending = job_ids if isinstance(job_ids, Pending) else Pending(job_ids)
    outage = Outage(clock)
    deadline = float("inf") if timeout is None else clock() + timeout
    while pending:
        try:
            yield from _stored_answers(redis, pending)
            pending.forget_subscriptions()
            with _subscriber(redis) as pubsub:
                for found in items(_listen(redis, pubsub, pending, deadline, clock)):
                    outage.over()
                    yield from found.items()
        except RedisError as error:
            time.sleep(outage.pause_after(error, deadline))
        else:
            if pending:
                raise timeout_error(len(pending), timeout)


def _stored_answers(redis: Redis, pending: Pending) -> Iterator[tuple[str, End]]:
    """Yield the jobs that have their answers already and need no subscription."""
    for few in portions(list(pending)):
        keys = [CELERY_RESULT + job_id for job_id in few]
        stored: list[bytes | None] = redis.mget(keys)  # type: ignore[assignment]  # never decoded
        yield from pending.without(_answers(dict(zip(few, stored, strict=True)))).items()


def _subscriber(redis: Redis) -> PubSub:
    pubsub: PubSub = redis.pubsub()  # type: ignore[no-untyped-call]  # redis-py's gap
    return pubsub


class JobsOut:
    """Jobs of a stream that have not ended."""

    def __init__(self, redis: Redis) -> None:
        self._pending = Pending()
        self._jobs: dict[str, Job] = {}
        self._ends = ends(redis, self._pending, None)

    def __len__(self) -> int:
        return len(self._jobs)

    def add(self, job: Job) -> None:
        """Wait for one more job."""
        if job.id not in self._jobs:
            self._jobs[job.id] = job
            self._pending.add(job.id)

    def next_end(self) -> tuple[Job, End]:
        """Return the next job that ends; there is one at least."""
        job_id, end = next(self._ends)
        return self._jobs.pop(job_id), end

    def close(self) -> None:
        """Wait no longer."""
        self._ends.close()


# asyncio ------------------------------------------------------------------------------------------


class Listener:
    """Waits for all jobs of one client, in one task and over one connection.

    While the task listens, no other task can use its connection. They wake it through Redis, on a
    channel of its own, when there are more jobs to wait for.
    """

    def __init__(self, redis: AsyncRedis) -> None:
        self._redis = redis
        self._wake_channel = SDK_WAKE + uuid.uuid4().hex
        self._pending = Pending()
        self._futures: dict[str, asyncio.Future[End]] = {}
        self._waiters: Counter[str] = Counter()
        self._outage = Outage(time.monotonic)
        self._is_woken = False
        self._task: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def watching(
        self, job_ids: Iterable[str]
    ) -> AsyncIterator[dict[str, asyncio.Future[End]]]:
        """Listen for jobs during the block; each future gets the end of its job."""
        ids = list(dict.fromkeys(job_ids))
        try:
            yield await self.watch(ids)
        finally:
            self.leave(ids)

    async def watch(self, job_ids: Iterable[str]) -> dict[str, asyncio.Future[End]]:
        """Listen for jobs until `leave`; each future gets the end of its job."""
        futures = {job_id: self._join(job_id) for job_id in job_ids}
        await self._wake()
        return futures

    def leave(self, job_ids: Iterable[str]) -> None:
        """Listen no longer for jobs that `watch` was given."""
        for job_id in job_ids:
            self._waiters[job_id] -= 1
            if self._waiters[job_id] == 0:
                del self._waiters[job_id]
                del self._futures[job_id]
                self._pending.discard(job_id)

    async def read(self, job_ids: Sequence[str]) -> dict[str, End]:
        """Return the ends of those jobs that have ended, in one round trip."""
        return await run_async(read_ends(self._redis, job_ids))

    async def close(self) -> None:
        """End the task; waits that are not over get `QueueUnavailable`."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    def _join(self, job_id: str) -> asyncio.Future[End]:
        self._waiters[job_id] += 1
        if job_id not in self._futures:
            self._futures[job_id] = asyncio.get_running_loop().create_future()
            self._pending.add(job_id)
        return self._futures[job_id]

    async def _wake(self) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._serve())
        elif not self._is_woken:
            self._is_woken = True
            # If Redis misses it, the listener rereads before long.
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
            self._settle(self._pending.without(dict.fromkeys(self._pending, end)))

    async def _listen(self) -> None:
        """Listen on a new connection until nobody waits."""
        self._pending.forget_subscriptions()
        async with self._redis.pubsub() as pubsub:
            await pubsub.subscribe(self._wake_channel)
            # Jobs that come from here on wake the listener again.
            self._is_woken = False
            steps = _listen(self._redis, pubsub, self._pending, float("inf"), time.monotonic)
            async for found in items_async(steps):
                self._settle(found)
                self._outage.over()
                self._is_woken = False

    def _settle(self, found: Mapping[str, End]) -> None:
        for job_id, end in found.items():
            self._futures[job_id].set_result(end)


class AsyncJobsOut:
    """Jobs of a stream that have not ended, for asyncio."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._ended: asyncio.Queue[str] = asyncio.Queue()
        self._jobs: dict[str, tuple[AsyncJob, asyncio.Future[End]]] = {}

    def __len__(self) -> int:
        return len(self._jobs)

    async def add(self, job: AsyncJob) -> None:
        """Wait for one more job."""
        if job.id in self._jobs:
            return
        future = (await self._listener.watch([job.id]))[job.id]
        self._jobs[job.id] = (job, future)
        future.add_done_callback(lambda _: self._ended.put_nowait(job.id))

    async def next_end(self) -> tuple[AsyncJob, End]:
        """Return the next job that ends; there is one at least."""
        job_id = await self._ended.get()
        job, future = self._jobs.pop(job_id)
        self._listener.leave([job_id])
        return job, future.result()

    def close(self) -> None:
        """Wait no longer."""
        self._listener.leave(self._jobs)
