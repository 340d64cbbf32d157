"""The batches of the gateway in Redis."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import Field
from redis.exceptions import WatchError

from visionq.contract import Lane
from visionq.contract.base import Document
from visionq.names import BATCH, BATCH_KEEPER, FILE_BATCH, OPEN_BATCHES, TENANT_BATCHES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redis.asyncio import Redis
    from redis.asyncio.client import Pipeline

    from visionq.ledger import AsyncLedger

Status = Literal[
    "validating", "in_progress", "finalizing", "completed", "failed", "cancelling", "cancelled",
    "expired",
]  # fmt: skip
DONE: Final = frozenset({"completed", "failed", "cancelled", "expired"})
Endpoint = Literal["/v1/responses", "/v1/chat/completions"]
_COUNTS: Final = ("total", "completed", "failed", "cancelled", "sealed")
#: Fields about the end of a batch, removed when it is reopened.
_ENDS: Final = (
    "finalizing_at", "completed_at", "failed_at", "cancelling_at", "cancelled_at", "expired_at",
    "message",
)  # fmt: skip
#: Fields that change when it is reopened.
_AGAIN: Final = {"status", "reopened", "ended_before"}
#: Seconds before its moment when nothing of a batch waits any more.
_AT_ONCE: Final = 60
#: Seconds that a gateway's hold on a batch lasts without renewal.
_HOLD: Final = 20


class Batch(Document):
    """A batch: its request, which never changes, and its progress."""

    id: str
    tenant: str
    endpoint: Endpoint
    input_file_id: str
    completion_window: str
    metadata: dict[str, str] = Field(default_factory=dict)
    created_at: int
    expires_at: int
    #: Requests in its file.
    lines: int
    #: How its lines are asked, and when their answers are needed, unless they say so themselves.
    lane: Lane = Lane.AUTO
    needed_at: int | None = None

    status: Status = "validating"
    #: Lines that have been submitted or refused.
    entered: int = 0
    #: Those of them that were refused.
    refused: int = 0
    output_file_id: str | None = None
    error_file_id: str | None = None
    message: str | None = None
    in_progress_at: int | None = None
    finalizing_at: int | None = None
    completed_at: int | None = None
    failed_at: int | None = None
    cancelling_at: int | None = None
    cancelled_at: int | None = None
    expired_at: int | None = None

    #: How often it was reopened by replays, and its earlier final status.
    reopened: int = 0
    ended_before: Status | None = None

    def job_id(self, number: int) -> str:
        """Return the id of a line's job, which is always the same."""
        return f"{self.id}-{number:06}"

    def needed_by(self, now: float) -> datetime | None:
        """Return when the answers of lines are needed that may wait; None: at once."""
        moment = min(self.needed_at or self.expires_at, self.expires_at)
        # What is as good as over does not wait, and a moment in the past would be refused.
        return datetime.fromtimestamp(moment, UTC) if moment > now + _AT_ONCE else None

    def reopened_now(self) -> Batch:
        """Return a finished batch as in progress again, without its end."""
        ends = dict.fromkeys(_ENDS)
        again = {"reopened": self.reopened + 1, "ended_before": self.status}
        return self.model_copy(update={"status": "in_progress", **again, **ends})


class Counts(Document):
    """The ledger's counts of a batch's jobs."""

    total: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    sealed: int = 0

    @property
    def is_done(self) -> bool:
        """Whether the batch is sealed and every job has ended."""
        ended = self.completed + self.failed + self.cancelled
        return bool(self.sealed) and ended >= self.total


class BatchBook:
    """The batches of all tenants."""

    def __init__(self, redis: Redis, ledger: AsyncLedger, ttl: int) -> None:
        """Keep batches for `ttl` seconds from their end."""
        self._redis = redis
        self._ledger = ledger
        self._ttl = ttl

    async def open(self, batch: Batch) -> bool:
        """Enter a batch and list it as open, atomically; return False if it is known.

        A known batch that has not begun is listed again: the gateway that entered it may have died.
        """
        while True:
            async with self._redis.pipeline() as pipeline:
                await pipeline.watch(FILE_BATCH + batch.id)
                known = await self.get(batch.id)
                if known is not None and known.status != "validating":
                    return False
                pipeline.multi()  # type: ignore[no-untyped-call]  # redis-py's
                self._enter(pipeline, known or batch)
                try:
                    await pipeline.execute()
                except WatchError:
                    continue
            return known is None

    def _enter(self, pipeline: Pipeline, batch: Batch) -> None:
        index = TENANT_BATCHES + batch.tenant
        kept = self._ttl + batch.expires_at - batch.created_at
        fields = _stored(batch.model_dump(mode="json", exclude_none=True, exclude={"id"}))
        mapping: Any = {"id": batch.id, **fields}
        pipeline.hset(FILE_BATCH + batch.id, mapping=mapping)
        pipeline.zadd(index, {batch.id: batch.created_at}, nx=True)
        pipeline.zremrangebyscore(index, "-inf", batch.created_at - kept)
        pipeline.expire(index, kept)
        pipeline.zadd(OPEN_BATCHES, {batch.id: batch.created_at}, nx=True)

    async def get(self, batch_id: str) -> Batch | None:
        """Return a batch, or None."""
        fields: dict[Any, Any] = await self._redis.hgetall(FILE_BATCH + batch_id)
        return _read(fields)

    async def note(self, batch: Batch, **fields: Any) -> Batch:  # noqa: ANN401  # fields of a batch
        """Store the progress of a batch."""
        known = {name: value for name, value in fields.items() if value is not None}
        mapping: Any = _stored(known)
        await self._redis.hset(FILE_BATCH + batch.id, mapping=mapping)
        return batch.model_copy(update=known)

    async def page(self, tenant: str, after: str | None, limit: int) -> tuple[list[Batch], bool]:
        """Return the tenant's batches, newest first, and whether there are more."""
        index = TENANT_BATCHES + tenant
        rank: Any = await self._redis.zrevrank(index, after) if after else None
        start = 0 if rank is None else int(rank) + 1
        ids: Sequence[Any] = await self._redis.zrevrange(index, start, start + limit)
        async with self._redis.pipeline(transaction=False) as pipeline:
            for batch_id in ids[:limit]:
                pipeline.hgetall(FILE_BATCH + batch_id.decode())
            found = [_read(fields) for fields in await pipeline.execute()]
        return [batch for batch in found if batch], len(ids) > limit

    async def unfinished(self) -> list[str]:
        """Return the ids of unfinished batches, oldest first."""
        ids: Sequence[Any] = await self._redis.zrange(OPEN_BATCHES, 0, -1)
        return [batch_id.decode() for batch_id in ids]

    async def reader_of(self, tenant: str, file_id: str) -> str | None:
        """Return the id of an unfinished batch with this input file, or None."""
        for batch_id in await self.unfinished():
            batch = await self.get(batch_id)
            if batch and (batch.tenant, batch.input_file_id) == (tenant, file_id):
                return batch.id
        return None

    async def current(self, batch: Batch) -> Batch:
        """Return a finished batch as in progress if a replay has reopened it.

        Its files are out of date until a gateway has written them again.
        """
        if batch.status in DONE and await self._redis.zscore(OPEN_BATCHES, batch.id) is not None:
            return batch.reopened_now()
        return batch

    async def counts(self, batch_id: str) -> Counts:
        """Return the ledger's counts of the batch's jobs."""
        values = await self._redis.hmget(BATCH + batch_id, _COUNTS)
        given = {name: int(value or 0) for name, value in zip(_COUNTS, values, strict=True)}
        return Counts(**given)

    async def seal(self, batch_id: str) -> None:
        """Note that no more jobs will come."""
        name = BATCH + batch_id
        await self._redis.hset(name, "sealed", 1)
        counts = await self.counts(batch_id)
        if counts.is_done and await self._redis.ttl(name) < 0:
            await self._redis.expire(name, self._ttl)

    async def close(self, batch: Batch, status: Status, **fields: Any) -> bool:  # noqa: ANN401  # as in `note`
        """Store the end of a batch, let it expire, and notify its tenant's webhook once.

        Return False and write nothing if one of its jobs has been replayed meanwhile.
        """
        ends = {"status": status, f"{status}_at": int(time.time()), **fields}
        mapping: Any = _stored({name: end for name, end in ends.items() if end is not None})
        seed = f"{batch.id} {batch.reopened}" if batch.reopened else batch.id
        async with self._redis.pipeline() as pipeline:
            await pipeline.watch(BATCH + batch.id)
            if not (await self.counts(batch.id)).is_done and status != "failed":
                return False
            pipeline.multi()  # type: ignore[no-untyped-call]  # redis-py's
            pipeline.hset(FILE_BATCH + batch.id, mapping=mapping)
            await self._ledger.announce(
                pipeline, batch.tenant, f"batch.{status}", batch.id, seed=seed
            )
            pipeline.expire(FILE_BATCH + batch.id, self._ttl)
            pipeline.expire(BATCH + batch.id, self._ttl)
            pipeline.zrem(OPEN_BATCHES, batch.id)
            try:
                await pipeline.execute()
            except WatchError:
                return False
        return True

    async def reopen(self, batch: Batch) -> Batch:
        """Reopen a finished batch after a replay; it does not expire any more."""
        batch = batch.reopened_now()
        mapping: Any = _stored(batch.model_dump(include=_AGAIN))
        async with self._redis.pipeline() as pipeline:
            pipeline.hset(FILE_BATCH + batch.id, mapping=mapping)
            pipeline.hdel(FILE_BATCH + batch.id, *_ENDS)
            pipeline.persist(FILE_BATCH + batch.id)
            await pipeline.execute()
        return batch

    async def leave(self, batch: Batch) -> None:
        """Leave a batch as it ended: its input file is gone."""
        async with self._redis.pipeline() as pipeline:
            pipeline.expire(FILE_BATCH + batch.id, self._ttl)
            pipeline.zrem(OPEN_BATCHES, batch.id)
            await pipeline.execute()

    async def hold(self, batch_id: str, holder: str) -> bool:
        """Take or renew the hold on a batch; return False if another gateway has it."""
        name = BATCH_KEEPER + batch_id
        if await self._redis.set(name, holder, nx=True, ex=_HOLD):
            return True
        if await self._redis.get(name) != holder.encode():
            return False
        return bool(await self._redis.expire(name, _HOLD))

    async def let_go(self, batch_id: str, holder: str) -> None:
        """Release the hold on a batch, unless another gateway has it by now."""
        name = BATCH_KEEPER + batch_id
        if await self._redis.get(name) == holder.encode():
            await self._redis.delete(name)


def _stored(fields: dict[str, Any]) -> dict[str, str]:
    return {name: json.dumps(value, ensure_ascii=False) for name, value in fields.items()}


def _read(fields: dict[Any, Any]) -> Batch | None:
    if not fields or b"lines" not in fields:
        return None
    known = {name.decode(): value for name, value in fields.items()}
    own = {name: json.loads(value) for name, value in known.items() if name != "id"}
    return Batch.model_validate({**own, "id": known["id"].decode()}, extra="ignore")
