"""The client for asyncio programs."""

from __future__ import annotations

import asyncio
import uuid
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Self, Unpack, overload

from visionq.blobs import open_async_blobs
from visionq.errors import VisionqError, WrongEventLoop
from visionq.ledger import AsyncLedger, ledger_options
from visionq.ledger.views import ask_for_view, read_view
from visionq.redis_connection import as_queue_unavailable, connect_async
from visionq.sdk.connecting import CLIENT_NAME, redis_address
from visionq.sdk.drafts import Draft, accepted, draft
from visionq.sdk.entering import each, enter, portions_of
from visionq.sdk.job import AsyncJob, id_of
from visionq.sdk.listening import Listener
from visionq.sdk.reading import not_found
from visionq.sdk.streaming import WINDOW, stream_async
from visionq.sdk.typed import Model, TypedResult, asking_for_async, model_of, typed, typed_end
from visionq.sdk.waiting import REPLY, portions, timeout_error
from visionq.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping, Sequence

    from visionq.contract import JobView, ResultDocument
    from visionq.ledger import Submission
    from visionq.sdk.drafts import AnalyzeOptions, JobOptions
    from visionq.sdk.entering import Rows
    from visionq.sdk.images import ImageInput
    from visionq.sdk.reading import End
    from visionq.settings import Settings


class AsyncClient:
    """`Client` for asyncio: the same methods and errors, awaited. Belongs to one event loop.

    However many jobs are waited for at once, one connection listens for them all.
    """

    def __init__(self, settings: Settings | None = None, redis_url: str | None = None) -> None:
        """Read the environment where `settings` is not given; connect at the first use.

        Raises:
            ConfigurationError: no address of Redis is given, or it is malformed.
        """
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

    async def submit_many(self, jobs: Rows) -> AsyncIterator[AsyncJob]:
        """Submit jobs, each given as the keywords of `submit`, and yield them in input order.

        Nothing is submitted until the iterator is used. Jobs go in portions of at most 500 jobs or
        about 32 MB. An error (those of `submit`) ends the iterator at the place of its job; the
        jobs before it are submitted, and other jobs of its portion may be.
        """
        async for portion in portions_of(each(jobs), self._draft):
            for reply in await self._enter(portion.drafts):
                yield self._job(reply)

    @overload
    def stream(
        self, jobs: Rows, window: int = WINDOW
    ) -> AsyncIterator[tuple[AsyncJob, ResultDocument | VisionqError]]: ...

    @overload
    def stream(
        self, jobs: Rows, window: int = WINDOW, *, schema: type[Model]
    ) -> AsyncIterator[tuple[AsyncJob, TypedResult[Model] | VisionqError]]: ...

    async def stream(
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

        Raises:
            VisionqError: those of `submit`; the jobs that are out go on.
        """
        model = model_of(schema)
        rows = asking_for_async(each(jobs), schema)
        self._check_loop()
        found = stream_async(self._listener, rows, self.submit_many, window)
        async with aclosing(found):
            async for job, end in found:
                yield job, typed_end(end, model)

    async def get(self, job: AsyncJob | str) -> JobView:
        """Return how a job stands now; raises `JobNotFound`."""
        self._check_loop()
        job_id = id_of(job)
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
        model, job_id = model_of(schema), id_of(job)
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
        model = model_of(schema)
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

    async def results(
        self,
        jobs: Iterable[AsyncJob | str],
        timeout: float | None = None,  # noqa: ASYNC109  # the jobs go on, so this is no cancel scope
        *,
        schema: type[Model] | dict[str, Any] | None = None,
    ) -> AsyncIterator[tuple[AsyncJob | str, Any]]:
        """Yield each job as it was given, with its result or its error, in the order of ending.

        With `schema`, the pydantic model that the jobs were submitted with, `parsed` of a result is
        an object of it; an answer that it does not take is `InvalidOutput`.

        Raises:
            WaitTimeout: `timeout` seconds have passed; what has ended was yielded.
        """
        self._check_loop()
        model = model_of(schema)
        given = {id_of(job): job for job in jobs}
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

    async def cancel(self, job: AsyncJob | str) -> JobView:
        """Cancel a job in whatever state it is, and return how it stands then.

        A job that has ended stays as it is. The answer of a call that is out is kept and paid.

        Raises:
            JobNotFound: the ledger holds no such job.
        """
        self._check_loop()
        with as_queue_unavailable():
            await self._ledger.cancel([id_of(job)])
        return await self.get(job)

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
