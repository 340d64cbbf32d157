"""The client for asyncio programs."""

from __future__ import annotations

import asyncio
import uuid
from contextlib import aclosing
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any, Self, Unpack, overload

from visionq.blobs import open_async_blobs
from visionq.errors import JobError, VisionqError, WrongEventLoop
from visionq.ledger import AsyncLedger, Period, ledger_options
from visionq.ledger.views import ask_for_view, read_view
from visionq.redis_connection import as_queue_unavailable, connect_async
from visionq.sdk.arguments import (
    check_client,
    check_job,
    check_jobs,
    check_rows,
    check_timeout,
    check_window,
)
from visionq.sdk.budgets import cleared, limits_of
from visionq.sdk.connecting import CLIENT_NAME, redis_address
from visionq.sdk.drafts import Draft, accepted, draft
from visionq.sdk.entering import each, enter, portions_of
from visionq.sdk.job import AsyncJob
from visionq.sdk.listening import Listener
from visionq.sdk.reading import not_found
from visionq.sdk.streaming import WINDOW, stream_async
from visionq.sdk.typed import Model, TypedResult, asking_for_async, model_of, typed, typed_end
from visionq.sdk.waiting import REPLY, portions, timeout_error
from visionq.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence

    from visionq.contract import JobView, ResultDocument
    from visionq.ledger import Book, Submission
    from visionq.sdk.budgets import Rubles
    from visionq.sdk.drafts import AnalyzeOptions, JobOptions
    from visionq.sdk.entering import Rows
    from visionq.sdk.images import ImageInput
    from visionq.sdk.reading import End
    from visionq.settings import Settings

_TOTAL, _DAY, _MONTH = Period.TOTAL, Period.DAY, Period.MONTH


class AsyncClient:
    """`Client` for asyncio: the same methods and errors, awaited. Belongs to one event loop.

    However many jobs are waited for at once, one connection listens for them all.
    """

    def __init__(self, settings: Settings | None = None, redis_url: str | None = None) -> None:
        """Read the environment where `settings` is not given; connect at the first use.

        Raises:
            ConfigurationError: no address of Redis is given, or it is malformed.
        """
        check_client(settings, redis_url)
        self._settings = settings or load_settings()
        url = redis_address(self._settings, redis_url)
        self._redis = connect_async(url, CLIENT_NAME)
        # Waiting has patience of its own: its connections neither try again nor wait for long.
        self._waiting_redis = connect_async(url, CLIENT_NAME, retries=0, patience=REPLY)
        self._listener = Listener(self._waiting_redis)
        self._ledger = AsyncLedger(self._redis, ledger_options(self._settings))
        self._blobs = open_async_blobs(self._settings, self._redis)
        self._loop: asyncio.AbstractEventLoop | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close every connection. Jobs go on."""
        self._check_loop()
        await self._listener.close()
        await self._redis.aclose()
        await self._waiting_redis.aclose()

    async def submit(
        self,
        *,
        prompt: str,
        images: Iterable[ImageInput],
        idempotency_key: str | None = None,
        **options: Unpack[JobOptions],
    ) -> AsyncJob:
        """Submit one question about one or several pictures; files are read in a thread.

        Raises:
            InvalidJob: a field is wrong; the message names it.
            ImageError: a picture can't be read, is empty or too large; the error names it.
            IdempotencyConflict: the key already names a job that asks for something else.
        """
        fields = {
            "prompt": prompt,
            "images": images,
            "idempotency_key": idempotency_key,
            **options,
        }
        (reply,) = await self._enter([await self._draft(fields)])
        return self._job(reply)

    def submit_many(self, jobs: Rows) -> AsyncIterator[AsyncJob]:
        """Submit jobs, each given as the keywords of `submit`, and yield them in input order.

        Nothing is submitted until the iterator is used. Jobs go in portions of at most 500 jobs or
        about 32 MB. An error (those of `submit`) ends the iterator at the place of its job; the
        jobs before it are submitted, and other jobs of its portion may be.
        """
        check_rows(jobs, asynchronous=True)
        return self._submit_many(jobs)

    @overload
    def stream(
        self, jobs: Rows, window: int = WINDOW
    ) -> AsyncIterator[tuple[AsyncJob, ResultDocument | VisionqError]]: ...

    @overload
    def stream(
        self, jobs: Rows, window: int = WINDOW, *, schema: type[Model]
    ) -> AsyncIterator[tuple[AsyncJob, TypedResult[Model] | VisionqError]]: ...

    def stream(
        self,
        jobs: Rows,
        window: int = WINDOW,
        *,
        schema: type[Model] | dict[str, Any] | None = None,
    ) -> AsyncIterator[tuple[AsyncJob, Any]]:
        """Submit jobs as `submit_many` does, and yield each with its end, in the order of ending.

        At most `window` jobs are out at any time: more are read and submitted only as their
        answers are taken. With `schema`, a pydantic model, jobs without a schema of their own ask
        for it, and results are as those of `results` with it.

        A job that can't be submitted (a missing file, a wrong field) ends in its error, as others
        do; its `position` says which it was, and the ledger does not know it.

        Raises:
            QueueUnavailable: the ledger takes no jobs; the jobs that are out go on.
        """
        check_rows(jobs, asynchronous=True)
        check_window(window)
        return self._stream(jobs, window, schema, model_of(schema))

    async def get(self, job: AsyncJob | str) -> JobView:
        """Return how a job stands now; raises `JobNotFound`."""
        self._check_loop()
        job_id = check_job(job)
        with as_queue_unavailable():
            async with self._redis.pipeline(transaction=False) as pipeline:
                ask_for_view(pipeline, job_id)
                fields, due = await pipeline.execute()
        view = read_view(job_id, fields, due)
        if view is None:
            raise not_found(job_id)
        return view

    @overload
    async def wait(self, job: AsyncJob | str, timeout: float | None = None) -> ResultDocument: ...  # noqa: ASYNC109  # see below

    @overload
    async def wait(
        self,
        job: AsyncJob | str,
        timeout: float | None = None,  # noqa: ASYNC109  # see below
        *,
        schema: type[Model],
    ) -> TypedResult[Model]: ...

    async def wait(
        self,
        job: AsyncJob | str,
        timeout: float | None = None,  # noqa: ASYNC109  # the job goes on, so this is no cancel scope
        *,
        schema: type[Model] | dict[str, Any] | None = None,
    ) -> ResultDocument | TypedResult[Model]:
        """Return the result of a job, waiting for it at most `timeout` seconds.

        Survives a restart of Redis within that time. With `schema`, the pydantic model that the job
        was submitted with, `parsed` of the result is an object of it.

        Raises:
            JobFailed: the job ended without an answer; `code` says why (`cancelled`, …).
            WaitTimeout: the time is up; the job goes on.
            JobNotFound: the ledger holds no such job.
            InvalidOutput: the model does not take the answer; the paid text is in `text`.
        """
        self._check_loop()
        model, job_id, timeout = model_of(schema), check_job(job), check_timeout(timeout)
        async with self._listener.watching([job_id]) as futures:
            await asyncio.wait(futures.values(), timeout=timeout)
            end = futures[job_id].result() if futures[job_id].done() else None
        end = end or (await self._last_look([job_id])).get(job_id)
        if end is None:
            raise timeout_error(1, timeout)
        if isinstance(end, VisionqError):
            raise end
        return end if model is None else typed(end, model)

    @overload
    async def analyze(
        self,
        image: ImageInput,
        prompt: str,
        *,
        schema: type[Model],
        timeout: float | None = None,  # noqa: ASYNC109  # see `wait`
        **options: Unpack[AnalyzeOptions],
    ) -> TypedResult[Model]: ...

    @overload
    async def analyze(
        self,
        image: ImageInput,
        prompt: str,
        *,
        schema: dict[str, Any] | None = None,
        timeout: float | None = None,  # noqa: ASYNC109  # see `wait`
        **options: Unpack[AnalyzeOptions],
    ) -> ResultDocument: ...

    async def analyze(
        self,
        image: ImageInput,
        prompt: str,
        *,
        schema: type[Model] | dict[str, Any] | None = None,
        timeout: float | None = None,  # noqa: ASYNC109  # see `wait`
        **options: Unpack[AnalyzeOptions],
    ) -> ResultDocument | TypedResult[Model]:
        """Submit one question about one picture and wait for its result.

        With `schema`, a pydantic model, `parsed` of the result is an object of it; with a JSON
        Schema its `data` are of that form. Raises what `submit` and `wait` raise.
        """
        model, timeout = model_of(schema), check_timeout(timeout)
        job = await self.submit(prompt=prompt, images=[image], schema=schema, **options)
        if model is None:
            return await self.wait(job, timeout)
        return await self.wait(job, timeout, schema=model)

    @overload
    def results(
        self, jobs: Iterable[AsyncJob | str], timeout: float | None = None
    ) -> AsyncIterator[tuple[AsyncJob | str, ResultDocument | VisionqError]]: ...

    @overload
    def results(
        self, jobs: Iterable[AsyncJob | str], timeout: float | None = None, *, schema: type[Model]
    ) -> AsyncIterator[tuple[AsyncJob | str, TypedResult[Model] | VisionqError]]: ...

    def results(
        self,
        jobs: Iterable[AsyncJob | str],
        timeout: float | None = None,
        *,
        schema: type[Model] | dict[str, Any] | None = None,
    ) -> AsyncIterator[tuple[AsyncJob | str, Any]]:
        """Yield each job as it was given, with its result or its error, in the order of ending.

        With `schema`, the pydantic model that the jobs were submitted with, `parsed` of a result is
        an object of it; an answer that it does not take is `InvalidOutput`.

        Raises:
            WaitTimeout: `timeout` seconds have passed; what has ended was yielded.
        """
        return self._results(check_jobs(jobs), check_timeout(timeout), model_of(schema))

    async def cancel(self, job: AsyncJob | str) -> JobView:
        """Cancel a job in whatever state it is, and return how it stands then.

        A job that has ended stays as it is. The answer of a call that is out is kept and paid.

        Raises:
            JobNotFound: the ledger holds no such job.
        """
        self._check_loop()
        job_id = check_job(job)
        with as_queue_unavailable():
            await self._ledger.cancel([job_id])
        return await self.get(job_id)

    async def set_budget(
        self,
        *,
        tenant: str | None = None,
        batch: str | None = None,
        total: Rubles | None = None,
        day: Rubles | None = None,
        month: Rubles | None = None,
    ) -> tuple[Book, ...]:
        """Bound in rubles what a tenant or a batch may spend; periods not named stay as they are.

        Returns the books of what was set. A batch has `total` alone; set it before its first job.

        Raises:
            ValueError: not one tenant or batch is named, it can't be called so, or an amount is
                none from 0 to nine million.
        """
        limits = limits_of(tenant, batch, {_TOTAL: total, _DAY: day, _MONTH: month})
        self._check_loop()
        with as_queue_unavailable():
            for scope, limit in limits.items():
                await self._ledger.set_budget(scope, limit)
            return tuple([await self._ledger.book(scope) for scope in limits])

    async def clear_budget(
        self,
        *,
        tenant: str | None = None,
        batch: str | None = None,
        total: bool = False,
        day: bool = False,
        month: bool = False,
    ) -> None:
        """Remove the budgets of a tenant or a batch, all or those named: spending has no bound.

        Raises:
            ValueError: not one tenant or batch is named, or it can't be called so.
        """
        scopes = cleared(tenant, batch, {_TOTAL: total, _DAY: day, _MONTH: month})
        self._check_loop()
        with as_queue_unavailable():
            for scope in scopes:
                await self._ledger.set_budget(scope, None)

    async def budgets(self) -> tuple[Book, ...]:
        """Return the book of every scope that has a budget: what is reserved, paid and left."""
        self._check_loop()
        with as_queue_unavailable():
            return await self._ledger.budgets()

    async def _submit_many(self, jobs: Rows) -> AsyncIterator[AsyncJob]:
        async for job, failure in self._submit_each(jobs, count()):
            if failure is not None:
                raise failure
            yield job

    async def _submit_each(
        self, jobs: Rows, positions: Iterator[int]
    ) -> AsyncIterator[tuple[AsyncJob, JobError | None]]:
        """Submit jobs; yield each in input order, with why it is not in the ledger if it is not."""
        async for portion in portions_of(each(jobs), self._draft):
            replies = await self._enter(portion.drafts)
            for one, reply in zip(portion.drafts, replies, strict=True):
                yield self._job_or_failure(one, reply, next(positions))
            if portion.failure is not None:
                yield AsyncJob(str(uuid.uuid4()), False, self, next(positions)), portion.failure  # noqa: FBT003  # not created

    def _job_or_failure(
        self, one: Draft, reply: Submission, position: int
    ) -> tuple[AsyncJob, JobError | None]:
        try:
            submitted = accepted(reply)
        except JobError as failure:
            return AsyncJob(one.job.id, False, self, position), failure  # noqa: FBT003  # likewise
        return AsyncJob(submitted.id, submitted.created, self, position), None

    async def _stream(
        self,
        jobs: Rows,
        window: int,
        schema: type[Model] | dict[str, Any] | None,
        model: type[Model] | None,
    ) -> AsyncIterator[tuple[AsyncJob, Any]]:
        self._check_loop()
        rows = asking_for_async(each(jobs), schema)
        submit = partial(self._submit_each, positions=count())
        found = stream_async(self._listener, rows, submit, window)
        async with aclosing(found):
            async for job, end in found:
                yield job, typed_end(end, model)

    async def _results(
        self,
        given: dict[str, AsyncJob | str],
        timeout: float | None,  # noqa: ASYNC109  # the jobs go on, so this is no cancel scope
        model: type[Model] | None,
    ) -> AsyncIterator[tuple[AsyncJob | str, Any]]:
        self._check_loop()
        until = None if timeout is None else asyncio.get_running_loop().time() + timeout
        ended: asyncio.Queue[str] = asyncio.Queue()
        async with self._listener.watching(list(given)) as futures:
            for job_id, future in futures.items():
                future.add_done_callback(lambda _, job_id=job_id: ended.put_nowait(job_id))  # type: ignore[misc]  # mypy can't infer a lambda's default
            while given:
                try:
                    async with asyncio.timeout_at(until):
                        job_id = await ended.get()
                except TimeoutError:
                    break
                yield given.pop(job_id), typed_end(futures[job_id].result(), model)
        for job_id, end in (await self._last_look(list(given))).items():
            yield given.pop(job_id), typed_end(end, model)
        if given:
            raise timeout_error(len(given), timeout)

    def _check_loop(self) -> None:
        """Take the running event loop for one's own; connections can't follow to another."""
        running = asyncio.get_running_loop()
        self._loop = self._loop or running
        if self._loop is not running:
            raise WrongEventLoop(
                "this AsyncClient was first used in another event loop; make one in each,"
                " with `async with AsyncClient()`"
            )

    async def _draft(self, fields: Mapping[str, Any]) -> Draft:
        self._check_loop()
        return await asyncio.to_thread(draft, fields, self._settings, str(uuid.uuid4()))

    async def _enter(self, drafts: Sequence[Draft]) -> list[Submission]:
        with as_queue_unavailable():
            return await enter(drafts, self._blobs, self._ledger)

    def _job(self, reply: Submission) -> AsyncJob:
        submitted = accepted(reply)
        return AsyncJob(submitted.id, submitted.created, self)

    async def _last_look(self, job_ids: Sequence[str]) -> dict[str, End]:
        """Return which of the jobs have ended when the time is up, whatever was heard."""
        ends: dict[str, End] = {}
        with as_queue_unavailable():
            for few in portions(job_ids):
                ends |= await self._listener.read(few)
        return ends
