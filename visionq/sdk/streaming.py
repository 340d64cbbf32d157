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
    submit_many: Callable[[Iterable[Mapping[str, Any]]], Iterator[Job]],
    window: int,
) -> Generator[tuple[Job, End]]:
    """Yield each job with its end; at most `window` jobs are out at any time."""
    source, pending = iter(jobs), Pending(())
    out: dict[str, Job] = {}

    def refill() -> None:
        for job in submit_many(islice(source, window - len(out))):
            out[job.id] = job
            pending.add(job.id)

    refill()
    while pending:
        with closing(waiting.ends(redis, pending, None)) as ends:
            for job_id, end in ends:
                yield out.pop(job_id), end
                if _has_room(len(out), window):
                    refill()


async def stream_async(
    listener: Listener,
    jobs: AsyncIterator[Mapping[str, Any]],
    submit_many: Callable[[Iterable[Mapping[str, Any]]], AsyncIterator[AsyncJob]],
    window: int,
) -> AsyncGenerator[tuple[AsyncJob, End]]:
    """Do the same for asyncio."""
    ended: asyncio.Queue[str] = asyncio.Queue()
    out: dict[str, tuple[AsyncJob, asyncio.Future[End]]] = {}

    async def refill() -> None:
        taken = [fields async for fields in _first(jobs, window - len(out))]
        async for job in submit_many(taken):
            if job.id not in out:
                future = (await listener.watch([job.id]))[job.id]
                out[job.id] = (job, future)
                future.add_done_callback(lambda _, job_id=job.id: ended.put_nowait(job_id))  # type: ignore[misc]  # mypy can't infer a lambda's default

    try:
        await refill()
        while out:
            job_id = await ended.get()
            job, future = out.pop(job_id)
            listener.leave([job_id])
            yield job, future.result()
            if _has_room(len(out), window):
                await refill()
    finally:
        listener.leave(out)


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
