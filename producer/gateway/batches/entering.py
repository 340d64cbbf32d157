"""From the lines of a file to jobs of the ledger, a few at a time."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from redis.exceptions import RedisError

from producer.gateway.batches.lines import draft_of, read_lines
from producer.gateway.faults import Fault
from visionq.errors import QueueUnavailable
from visionq.ledger import Conflict, Submitted
from visionq.sdk.entering import enter

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from producer.gateway.batches.record import Batch
    from producer.gateway.services import Services
    from visionq.sdk.drafts import Draft

#: What is in memory at a time: at most so many jobs, and pictures of about so many bytes.
_MOST_JOBS: Final = 200
_MOST_BYTES: Final = 4_000_000
#: Seconds between attempts while Redis takes no jobs.
_PAUSES: Final = (1, 2, 5, 10)


@dataclass(slots=True)
class LineChunk:
    """Some lines that follow each other."""

    drafts: list[Draft] = field(default_factory=list)
    refused: int = 0
    last: int = 0
    size: int = 0

    @property
    def is_full(self) -> bool:
        """Whether it is time to enter them."""
        return len(self.drafts) >= _MOST_JOBS or self.size >= _MOST_BYTES


async def enter_lines(services: Services, batch: Batch, path: Path) -> Batch:
    """Enter what has not been entered yet; returns early when the batch is cancelled or expires."""
    portions = _portions(services, batch, path)
    while portion := await services.in_batch_thread(next, portions, None):
        if not await _enter(services, batch, portion.drafts):
            break
        batch = await services.batches.note(
            batch, entered=portion.last, refused=batch.refused + portion.refused
        )
        if await _is_over(services, batch):
            break
    return batch


def _portions(services: Services, batch: Batch, path: Path) -> Iterator[LineChunk]:
    """Yield the lines after those that were entered before, decoded."""
    portion = LineChunk()
    for line in read_lines(path):
        if line.number <= batch.entered:
            continue
        portion.last = line.number
        try:
            one = draft_of(line, batch, services.settings, services.models)
        except Fault:  # told in the error file
            portion.refused += 1
        else:
            portion.drafts.append(one)
            portion.size += sum(map(len, one.contents.values()))
        if portion.is_full:
            yield portion
            portion = LineChunk()
    if portion.last:
        yield portion


async def _enter(services: Services, batch: Batch, drafts: list[Draft]) -> bool:
    """Enter jobs, however long Redis takes none; false if the batch is over before."""
    attempt = 0
    while drafts:
        try:
            replies = await enter(drafts, services.blobs, services.ledger)
        except (QueueUnavailable, RedisError):
            pass
        else:
            # Another document under the same id is that of an earlier release or setting.
            entered = {reply.id for reply in replies if isinstance(reply, Submitted | Conflict)}
            drafts = [one for one in drafts if one.job.id not in entered]
        if drafts:
            await asyncio.sleep(_PAUSES[min(attempt, len(_PAUSES) - 1)])
            attempt += 1
            if await _is_over(services, batch):
                return False
    return True


async def _is_over(services: Services, batch: Batch) -> bool:
    if time.time() >= batch.expires_at:
        return True
    try:
        now = await services.batches.get(batch.id)
    except RedisError:  # as before, for all one knows
        return False
    return now is None or now.status == "cancelling"
