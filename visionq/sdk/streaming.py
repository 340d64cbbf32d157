"""Answers as they come, while no more jobs are submitted than are asked for: backpressure."""

from __future__ import annotations

import asyncio
from contextlib import closing
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from visionq.sdk import waiting
from visionq.sdk.waiting import Pending

if TYPE_CHECKING:
    from collections.abc import (
        AsyncGenerator,
        AsyncIterator,
        Callable,
        Generator,
        Iterable,
        Iterator,
        Mapping,
    )

    from redis import Redis

    from visionq.errors import JobError
    from visionq.sdk.job import AsyncJob, Job
    from visionq.sdk.listening import Listener
    from visionq.sdk.reading import End

#: Jobs that are out, by default: enough to keep a fleet busy.
WINDOW: Final = 1_000
#: The part of the window that may be free before more is submitted: a round trip for many.
_SLACK: Final = 4


def stream(
    redis: Redis,
    jobs: Iterable[Mapping[str, Any]],
    submit: Callable[[Iterable[Mapping[str, Any]]], Iterator[tuple[Job, JobError | None]]],
    window: int,
) -> Generator[tuple[Job, End]]:
    """Yield each job with its end; at most `window` jobs are out at any time."""
    source, pending = iter(jobs), Pending(())
    out: dict[str, Job] = {}

    def refill() -> Iterator[tuple[Job, End]]:
        """Submit as many as there is room for, and yield those that can't be."""
        while True:
            is_empty = True
            for job, failure in submit(islice(source, window - len(out))):
                is_empty = False
                if failure is None:
                    out.setdefault(job.id, job)
                    pending.add(job.id)
                else:
                    yield job, failure
            if out or is_empty:
                return

    yield from refill()
    while pending:
        with closing(waiting.ends(redis, pending, None)) as ends:
            for job_id, end in ends:
                yield out.pop(job_id), end
                if _has_room(len(out), window):
                    yield from refill()


class _Watched:
    """The jobs that are out, each watched by the one listener."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._ended: asyncio.Queue[str] = asyncio.Queue()
        self._jobs: dict[str, tuple[AsyncJob, asyncio.Future[End]]] = {}

    def __len__(self) -> int:
        return len(self._jobs)

    async def add(self, job: AsyncJob) -> None:
        if job.id in self._jobs:
            return
        future = (await self._listener.watch([job.id]))[job.id]
        self._jobs[job.id] = (job, future)
        future.add_done_callback(lambda _: self._ended.put_nowait(job.id))

    async def next_end(self) -> tuple[AsyncJob, End]:
        job_id = await self._ended.get()
        job, future = self._jobs.pop(job_id)
        self._listener.leave([job_id])
        return job, future.result()

    def leave(self) -> None:
        self._listener.leave(self._jobs)


async def stream_async(
    listener: Listener,
    jobs: AsyncIterator[Mapping[str, Any]],
    submit: Callable[
        [Iterable[Mapping[str, Any]]], AsyncIterator[tuple[AsyncJob, JobError | None]]
    ],
    window: int,
) -> AsyncGenerator[tuple[AsyncJob, End]]:
    """Do the same for asyncio."""
    out = _Watched(listener)

    async def refill() -> AsyncIterator[tuple[AsyncJob, End]]:
        while True:
            taken = [fields async for fields in _first(jobs, window - len(out))]
            async for job, failure in submit(taken):
                if failure is None:
                    await out.add(job)
                else:
                    yield job, failure
            if out or not taken:
                return

    try:
        async for rejected in refill():
            yield rejected
        while out:
            yield await out.next_end()
            if _has_room(len(out), window):
                async for rejected in refill():
                    yield rejected
    finally:
        out.leave()


def _has_room(out: int, window: int) -> bool:
    return out <= window - max(1, window // _SLACK)


async def _first(
    jobs: AsyncIterator[Mapping[str, Any]], count: int
) -> AsyncIterator[Mapping[str, Any]]:
    for _ in range(count):
        try:
            yield await anext(jobs)
        except StopAsyncIteration:
            return
