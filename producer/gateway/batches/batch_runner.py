"""Process batches from input to results, including those that another gateway left."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from redis.exceptions import RedisError

from producer.gateway.batches.batch_input import enter_lines
from producer.gateway.batches.batch_output import write_results
from producer.gateway.batches.batch_store import DONE
from producer.gateway.job_service import read_latest
from visionq.errors import VisionqError

if TYPE_CHECKING:
    from producer.gateway.batches.batch_store import Batch, Counts, Status
    from producer.gateway.dependencies import Services

log = logging.getLogger(__name__)

#: Seconds between looks at unfinished batches.
LOOK_EVERY: Final = 0.5
#: Seconds before a batch with an error is tried again.
_PAUSE: Final = 5.0
_SWEEP_EVERY: Final = 60.0
#: Jobs that one call cancels.
_AT_ONCE: Final = 250


class BatchRunner:
    """Runs one task for each batch that this gateway holds; every step can be repeated."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._name = uuid.uuid4().hex
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Process batches and sweep files until cancelled."""
        swept = 0.0
        try:
            while True:
                with suppress(RedisError, VisionqError):
                    await self._look_around()
                if time.monotonic() - swept > _SWEEP_EVERY:
                    swept = time.monotonic()
                    await asyncio.to_thread(self._services.files.sweep, time.time())
                await asyncio.sleep(LOOK_EVERY)
        finally:
            await self._leave()

    async def _look_around(self) -> None:
        book = self._services.batches
        for batch_id in await book.unfinished():
            held = await book.hold(batch_id, self._name)
            task = self._tasks.get(batch_id)
            if held and task is None:
                self._tasks[batch_id] = asyncio.create_task(self._process(batch_id))
            elif not held and task is not None:
                task.cancel()  # the hold has lapsed, and another has taken over

    async def _leave(self) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _process(self, batch_id: str) -> None:
        """Process one batch; after a transient error, the next look takes it up."""
        try:
            batch = await self._services.batches.get(batch_id)
            if batch is not None:
                await process(self._services, batch)
        except (RedisError, VisionqError, OSError) as error:
            log.warning("batch.waits batch=%s error=%s", batch_id, error)
            await asyncio.sleep(_PAUSE)
        except Exception:  # one batch must not stop the others
            log.exception("batch.defect batch=%s", batch_id)
            await asyncio.sleep(_PAUSE)
        finally:
            del self._tasks[batch_id]
            with suppress(RedisError):
                await self._services.batches.let_go(batch_id, self._name)


async def process(services: Services, batch: Batch) -> None:
    """Enter the lines, wait for the jobs to end, and write the results."""
    book, path = services.batches, services.files.path(batch.tenant, batch.input_file_id)
    if not await asyncio.to_thread(path.exists):
        message = f"the input file {batch.input_file_id} is gone"
        if batch.status in DONE:  # reopened: its answers stay with their jobs
            log.warning("batch.left batch=%s reason=%s", batch.id, message)
            await book.leave(batch)
            return
        await _cancel_jobs(services, batch)
        await book.close(batch, "failed", message=message)
        return
    if batch.status in DONE:
        batch = await book.reopen(batch)
    if not (await book.counts(batch.id)).sealed:
        if batch.status == "validating":
            batch = await book.note(batch, status="in_progress", in_progress_at=int(time.time()))
        if batch.status == "in_progress":
            batch = await enter_lines(services, batch, path)
        await book.seal(batch.id)
    batch = await _ended(services, batch)
    if batch.finalizing_at is None:
        batch = await book.note(batch, finalizing_at=int(time.time()))
    end = _end_of(batch, await book.counts(batch.id), time.time())
    if end == "completed":
        batch = await book.note(batch, status="finalizing")
    written = await write_results(services, batch, path)
    if not await book.close(batch, end, **written):
        log.info("batch.replayed batch=%s", batch.id)  # the next look takes it up


def _end_of(batch: Batch, counts: Counts, now: float) -> Status:
    """Return the final status of a batch whose jobs have ended."""
    if batch.cancelling_at:
        return "cancelled"
    unasked = batch.entered < batch.lines or counts.cancelled > 0
    if unasked and batch.ended_before in {"cancelled", "expired"}:
        return batch.ended_before
    expired = unasked and batch.ended_before is None and now >= batch.expires_at
    return "expired" if expired else "completed"


async def _ended(services: Services, batch: Batch) -> Batch:
    """Wait until all jobs of the batch have ended, cancelling them if necessary; return it."""
    book, stopped = services.batches, False
    while not (await book.counts(batch.id)).is_done:
        batch = await book.get(batch.id) or batch
        # Replayed jobs have no deadline.
        expired = not batch.reopened and time.time() >= batch.expires_at
        if not stopped and (batch.cancelling_at or expired):
            await _cancel_jobs(services, batch)
            stopped = True
            continue
        await asyncio.sleep(LOOK_EVERY)
    return await book.get(batch.id) or batch


async def _cancel_jobs(services: Services, batch: Batch) -> None:
    """Cancel all jobs of a batch, with replays and chunks that were being submitted."""
    numbers = range(1, batch.lines + 1)
    for first in range(0, batch.lines, _AT_ONCE):
        some = numbers[first : first + _AT_ONCE]
        job_ids = [batch.job_id(number) for number in some]
        records = await read_latest(services, job_ids) if batch.reopened else []
        latest = [job.view.id for job in records if job]
        await services.ledger.cancel(list(dict.fromkeys([*job_ids, *latest])))
