"""What clients do, written once: the steps of `Client` and `AsyncClient`, and their connections."""

from __future__ import annotations

import asyncio
import uuid
from itertools import count
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from visionq.blobs import open_async_blobs, open_blobs
from visionq.contract import State
from visionq.errors import JobError
from visionq.ledger import AsyncLedger, Ledger, Period, ledger_options
from visionq.ledger.gates import ask_for_gate
from visionq.ledger.provider_batches import BATCH_FIELDS, batch_view
from visionq.ledger.views import ask_for_view, batches_of, behind, read_view, with_batch
from visionq.model_migrations import FreshMigrations
from visionq.names import MODEL_MIGRATIONS, PROVIDER_BATCH
from visionq.redis_connection import as_queue_unavailable, connect, connect_async
from visionq.sans_io import Item
from visionq.sdk.budget_arguments import cleared, limits_of
from visionq.sdk.job_handles import AsyncJob, Job
from visionq.sdk.results import not_found
from visionq.sdk.submitting import (
    MOST_JOBS,
    SubmissionChunk,
    accepted,
    draft,
    redirected,
    submit_drafts,
)
from visionq.sdk.typed import asking_for, typed_end
from visionq.sdk.waiting import (
    REPLY,
    AsyncJobsOut,
    JobsOut,
    Listener,
    ends,
    portions,
    timeout_error,
)

if TYPE_CHECKING:
    from collections.abc import (
        AsyncGenerator,
        AsyncIterator,
        Generator,
        Iterable,
        Iterator,
        Mapping,
        Sequence,
    )

    from redis import Redis
    from redis.asyncio import Redis as AsyncRedis

    from visionq.blobs import AsyncBlobStore, BlobStore
    from visionq.contract import JobView
    from visionq.ledger import Book, BudgetScope, Submission
    from visionq.model_migrations import ModelMigrations
    from visionq.sans_io import Steps
    from visionq.sdk.async_client import AsyncClient
    from visionq.sdk.budget_arguments import Rubles
    from visionq.sdk.client import Client
    from visionq.sdk.submitting import Draft
    from visionq.sdk.typed import End, Model, Schema
    from visionq.settings import Settings

J = TypeVar("J", Job, AsyncJob)

#: How a client's connections appear in Redis's `CLIENT LIST`.
_CLIENT_NAME: Final = "visionq-client"
_NO_MORE: Final = object()
#: The part of the window of a stream that is free before more is submitted.
_SLACK: Final = 4


class Operations(Generic[J]):
    """The steps of both clients; subclasses open the connections."""

    _fresh: FreshMigrations
    _settings: Settings
    redis: Redis | AsyncRedis
    ledger: Ledger | AsyncLedger
    blobs: BlobStore | AsyncBlobStore

    # The calls that differ: each returns a reply, or an awaitable of it.

    def _draft(self, fields: Mapping[str, Any]) -> Any:  # noqa: ANN401  # see above
        raise NotImplementedError

    def _next_row(self, rows: Any) -> Any:  # noqa: ANN401  # see above
        raise NotImplementedError

    def _jobs_out(self) -> Any:  # noqa: ANN401  # its methods return replies, or awaitables
        raise NotImplementedError

    def _job(self, job_id: str, position: int | None, *, created: bool = False) -> J:
        raise NotImplementedError

    def submit(self, fields: Mapping[str, Any]) -> Steps[J]:
        """Submit one job; return it, or raise why it was refused."""
        one = yield from self._drafted(fields)
        with as_queue_unavailable():
            (reply,) = yield from submit_drafts([one], self.blobs, self.ledger)
        submitted = accepted(reply)
        return self._job(submitted.id, None, created=submitted.created)

    def submit_many(self, rows: object) -> Steps[None]:
        """Submit jobs in chunks; yield each in the order of `rows`."""
        positions, is_last = count(), False
        while not is_last:
            chunk, is_last = yield from self._next_chunk(rows, MOST_JOBS, None)
            replies = yield from self._submit_chunk(chunk)
            for job, failure in self._outcomes(chunk, replies, positions):
                if failure is not None:
                    raise failure
                yield Item(job)

    def stream(
        self, rows: object, window: int, schema: Schema, model: type[Model] | None
    ) -> Steps[None]:
        """Submit jobs while there is room; yield each with its end."""
        out, positions, is_last = self._jobs_out(), count(), False
        try:
            while not is_last or len(out):
                room = window - len(out)
                if is_last or (len(out) and room < max(1, window // _SLACK)):
                    job, end = yield out.next_end()
                    yield Item((job, typed_end(end, model)))
                    continue
                while room > 0 and not is_last:
                    chunk, is_last = yield from self._next_chunk(rows, room, schema)
                    room -= len(chunk)
                    replies = yield from self._submit_chunk(chunk)
                    for job, failure in self._outcomes(chunk, replies, positions):
                        if failure is None:
                            yield out.add(job)
                        else:
                            yield Item((job, failure))
        finally:
            out.close()

    def _drafted(self, fields: Mapping[str, Any]) -> Steps[Draft]:
        """Draft a job; check its fields before anything is asked of Redis."""
        one: Draft = yield self._draft(fields)
        return redirected(one, fields, self._settings, (yield from self._migrations()))

    def _migrations(self) -> Steps[ModelMigrations]:
        """Return which models are asked in the place of others."""
        known = self._fresh.known
        if known is None:
            with as_queue_unavailable():
                known = self._fresh.keep((yield self.redis.hgetall(MODEL_MIGRATIONS)))
        return known

    def _next_chunk(
        self, rows: object, most: int, schema: Schema
    ) -> Steps[tuple[SubmissionChunk, bool]]:
        """Return the next jobs, at most `most`, and whether they are the last."""
        chunk = SubmissionChunk()
        while len(chunk) < most and not chunk.is_full:
            fields = yield self._next_row(rows)
            if fields is _NO_MORE:
                return chunk, True
            try:
                chunk.add((yield from self._drafted(asking_for(fields, schema))))
            except JobError as failure:
                chunk.failure = failure
        return chunk, False

    def _submit_chunk(self, chunk: SubmissionChunk) -> Steps[list[Submission]]:
        with as_queue_unavailable():
            return (yield from submit_drafts(chunk.drafts, self.blobs, self.ledger))

    def _outcomes(
        self, chunk: SubmissionChunk, replies: Sequence[Submission], positions: Iterator[int]
    ) -> Iterator[tuple[J, JobError | None]]:
        """Yield each job of a chunk, with its error if it was refused."""
        for one, reply in zip(chunk.drafts, replies, strict=True):
            try:
                submitted = accepted(reply)
            except JobError as failure:
                yield self._job(one.job.id, next(positions)), failure
            else:
                yield self._job(submitted.id, next(positions), created=submitted.created), None
        if chunk.failure is not None:
            yield self._job(str(uuid.uuid4()), next(positions)), chunk.failure

    def get(self, job_id: str) -> Steps[JobView]:
        """Return a job as people see it; raise `JobNotFound`."""
        with as_queue_unavailable():
            pipeline = self.redis.pipeline(transaction=False)
            ask_for_view(pipeline, job_id)
            fields, due = yield pipeline.execute()
            view = read_view(job_id, fields, due)
            if view is None:
                raise not_found(job_id)
            if view.state is State.QUEUED:
                view = behind((yield from ask_for_gate(self.redis)), view)
            for batch in batches_of([view]):
                stored = yield self.redis.hmget(PROVIDER_BATCH + batch, BATCH_FIELDS)
                view = with_batch(view, {batch: batch_view(batch, stored)})
            return view

    def cancel(self, job_id: str) -> Steps[JobView]:
        """Cancel a job and return it; raise `JobNotFound`."""
        with as_queue_unavailable():
            yield self.ledger.cancel([job_id])
        return (yield from self.get(job_id))

    def set_budget(
        self, tenant: str | None, batch: str | None, limits: Mapping[str, Rubles | None]
    ) -> Steps[tuple[Book, ...]]:
        """Set the budgets that are given; return their books."""
        scopes = limits_of(tenant, batch, {Period(name): one for name, one in limits.items()})
        with as_queue_unavailable():
            for scope, limit in scopes.items():
                yield self.ledger.set_budget(scope, limit)
            books: dict[BudgetScope, Book] = {}
            for scope in scopes:
                books[scope] = yield self.ledger.book(scope)
            return tuple(books.values())

    def clear_budget(
        self, tenant: str | None, batch: str | None, periods: Mapping[str, bool]
    ) -> Steps[None]:
        """Remove the named budgets, by default all."""
        scopes = cleared(tenant, batch, {Period(name): one for name, one in periods.items()})
        with as_queue_unavailable():
            for scope in scopes:
                yield self.ledger.set_budget(scope, None)

    def budgets(self) -> Steps[tuple[Book, ...]]:
        """Return the books of all scopes that have a budget."""
        with as_queue_unavailable():
            books: tuple[Book, ...] = yield self.ledger.budgets()
            return books


class BlockingOperations(Operations[Job]):
    """The connections of a `Client`."""

    redis: Redis
    ledger: Ledger
    blobs: BlobStore

    def __init__(self, settings: Settings, url: str, client: Client) -> None:
        self._settings = settings
        self._client = client
        self._fresh = FreshMigrations()
        self.redis = connect(url, _CLIENT_NAME)
        # Waiting has its own retries: its connections neither try again nor wait for long.
        self._waiting = connect(url, _CLIENT_NAME, retries=0, patience=REPLY)
        self.ledger = Ledger(self.redis, ledger_options(settings))
        self.blobs = open_blobs(settings, self.redis)

    def close(self) -> None:
        """Close the connections."""
        self.redis.close()
        self._waiting.close()

    def ends(
        self, job_ids: Iterable[str], seconds: float | None
    ) -> Generator[tuple[str, End], None, None]:
        """Yield each job with its end; raise as `waiting.ends`."""
        return ends(self._waiting, job_ids, seconds)

    def _draft(self, fields: Mapping[str, Any]) -> Draft:
        return draft(fields, self._settings, str(uuid.uuid4()))

    def _next_row(self, rows: Iterator[Any]) -> Any:  # noqa: ANN401  # checked by `draft`
        return next(rows, _NO_MORE)

    def _jobs_out(self) -> JobsOut:
        return JobsOut(self._waiting)

    def _job(self, job_id: str, position: int | None, *, created: bool = False) -> Job:
        return Job(job_id, created, self._client, position)


class AsyncOperations(Operations[AsyncJob]):
    """The connections of an `AsyncClient`."""

    redis: AsyncRedis
    ledger: AsyncLedger
    blobs: AsyncBlobStore

    def __init__(self, settings: Settings, url: str, client: AsyncClient) -> None:
        self._settings = settings
        self._client = client
        self._fresh = FreshMigrations()
        self.redis = connect_async(url, _CLIENT_NAME)
        # Waiting has its own retries: its connections neither try again nor wait for long.
        self._waiting = connect_async(url, _CLIENT_NAME, retries=0, patience=REPLY)
        self.listener = Listener(self._waiting)
        self.ledger = AsyncLedger(self.redis, ledger_options(settings))
        self.blobs = open_async_blobs(settings, self.redis)

    async def aclose(self) -> None:
        """Close the connections."""
        await self.listener.close()
        await self.redis.aclose()
        await self._waiting.aclose()

    async def ends(
        self, job_ids: Iterable[str], seconds: float | None
    ) -> AsyncGenerator[tuple[str, End]]:
        """Yield each job with its end; raise as `waiting.ends`."""
        pending = dict.fromkeys(job_ids)
        until = None if seconds is None else asyncio.get_running_loop().time() + seconds
        ended: asyncio.Queue[str] = asyncio.Queue()
        async with self.listener.watching(list(pending)) as futures:
            for job_id, future in futures.items():
                future.add_done_callback(lambda _, job_id=job_id: ended.put_nowait(job_id))  # type: ignore[misc]  # mypy can't infer a lambda's default
            while pending:
                try:
                    async with asyncio.timeout_at(until):
                        job_id = await ended.get()
                except TimeoutError:
                    break
                del pending[job_id]
                yield job_id, futures[job_id].result()
        # The time is up: look once more, heard of or not.
        for few in portions(list(pending)):
            with as_queue_unavailable():
                found = await self.listener.read(few)
            for job_id, end in found.items():
                del pending[job_id]
                yield job_id, end
        if pending:
            raise timeout_error(len(pending), seconds)

    async def _draft(self, fields: Mapping[str, Any]) -> Draft:
        job_id = str(uuid.uuid4())
        return await asyncio.to_thread(draft, fields, self._settings, job_id)

    async def _next_row(self, rows: AsyncIterator[Any]) -> Any:  # noqa: ANN401  # checked by `draft`
        return await anext(rows, _NO_MORE)

    def _jobs_out(self) -> AsyncJobsOut:
        return AsyncJobsOut(self.listener)

    def _job(self, job_id: str, position: int | None, *, created: bool = False) -> AsyncJob:
        return AsyncJob(job_id, created, self._client, position)
