"""The client for asyncio programs."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Self, Unpack, overload

from visionq.errors import WrongEventLoop
from visionq.sans_io import each, items_async, run_async
from visionq.sdk.arguments import (
    WINDOW,
    check_client,
    check_job,
    check_jobs,
    check_rows,
    check_timeout,
    check_window,
    redis_address,
)
from visionq.sdk.typed import model_of, result_of, typed_end
from visionq.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping

    from visionq.contract import JobView, ResultDocument
    from visionq.errors import VisionqError
    from visionq.ledger import Book
    from visionq.sans_io import Steps
    from visionq.sdk.arguments import ImageInput
    from visionq.sdk.budget_arguments import Rubles
    from visionq.sdk.job_handles import AsyncJob
    from visionq.sdk.submitting import AnalyzeOptions, JobOptions
    from visionq.sdk.typed import Model, TypedResult
    from visionq.settings import Settings

    #: Jobs, each as the keywords of `submit`.
    Rows = Iterable[Mapping[str, Any]] | AsyncIterable[Mapping[str, Any]]


class AsyncClient:
    """`Client` for asyncio: the same methods and errors, awaited. Belongs to one event loop.

    One connection listens for all jobs that you wait for.
    """

    def __init__(self, settings: Settings | None = None, redis_url: str | None = None) -> None:
        """Read the environment unless `settings` is given; connect at the first use.

        Raises:
            ConfigurationError: no address of Redis is set, or it is malformed.
        """
        check_client(settings, redis_url)
        # With the first client, not with the import: the ledger, blob stores and price tables.
        from visionq.sdk.operations import AsyncOperations  # noqa: PLC0415  # see above

        settings = settings or load_settings()
        self._operations = AsyncOperations(settings, redis_address(settings, redis_url), self)
        self._loop: asyncio.AbstractEventLoop | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close all connections; jobs go on."""
        self._check_loop()
        await self._operations.aclose()

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
            IdempotencyConflict: the key belongs to a job with a different question.
        """
        fields = {
            "prompt": prompt,
            "images": images,
            "idempotency_key": idempotency_key,
            **options,
        }
        self._check_loop()
        return await run_async(self._operations.submit(fields))

    def submit_many(self, jobs: Rows) -> AsyncIterator[AsyncJob]:
        """Submit jobs, each the keywords of `submit`, and yield them in input order.

        Nothing is submitted until you iterate. Jobs are submitted in chunks of at most 500 jobs or
        about 32 MB. An error (see `submit`) ends the iterator at its job; the jobs before it are
        submitted, and others of its chunk may be.
        """
        check_rows(jobs, asynchronous=True)
        return self._items(self._operations.submit_many(each(jobs)))

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
        """Submit jobs as `submit_many` does, and yield each with its result or error.

        Jobs come in the order of ending. At most `window` jobs are out at any time: more are read
        and submitted only when you take their results. `schema`, a pydantic model, applies to jobs
        without a schema of their own; results are as those of `results`.

        A job that can't be submitted (a missing file, a wrong field) yields its error; its
        `position` says which it was, and it is not in the ledger.

        Raises:
            QueueUnavailable: the ledger takes no jobs; submitted jobs go on.
        """
        check_rows(jobs, asynchronous=True)
        check_window(window)
        model = model_of(schema)
        return self._items(self._operations.stream(each(jobs), window, schema, model))

    async def get(self, job: AsyncJob | str) -> JobView:
        """Return the current state of a job; raise `JobNotFound`."""
        self._check_loop()
        return await run_async(self._operations.get(check_job(job)))

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
        """Return the result of a job, waiting at most `timeout` seconds.

        The wait survives restarts of Redis. With `schema`, the pydantic model of the submission,
        `parsed` of the result is an object of it.

        Raises:
            JobFailed: the job ended without an answer; `code` says why (`cancelled`, …).
            WaitTimeout: the time is up; the job goes on.
            JobNotFound: there is no such job.
            InvalidOutput: the answer fails the model's validation; `text` has the paid text.
        """
        self._check_loop()
        model, job_id, timeout = model_of(schema), check_job(job), check_timeout(timeout)
        async with aclosing(self._operations.ends([job_id], timeout)) as ends:
            _, end = await anext(ends)
        return result_of(end, model)

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
        Schema its `data` match it. Raises the errors of `submit` and `wait`.
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
        """Yield each job with its result or its error, in the order of ending.

        With `schema`, the pydantic model of the submission, `parsed` of a result is an object of
        it; an answer that fails its validation yields `InvalidOutput`.

        Raises:
            WaitTimeout: `timeout` seconds have passed; all jobs that ended were yielded.
        """
        return self._results(check_jobs(jobs), check_timeout(timeout), model_of(schema))

    async def cancel(self, job: AsyncJob | str) -> JobView:
        """Cancel a job in any state, and return its new state.

        A job that has ended does not change. The answer of a call in progress is kept and paid.

        Raises:
            JobNotFound: there is no such job.
        """
        self._check_loop()
        return await run_async(self._operations.cancel(check_job(job)))

    async def set_budget(
        self,
        *,
        tenant: str | None = None,
        batch: str | None = None,
        total: Rubles | None = None,
        day: Rubles | None = None,
        month: Rubles | None = None,
    ) -> tuple[Book, ...]:
        """Set budgets of a tenant or a batch in rubles; omitted periods do not change.

        Return the books of these budgets. A batch has only `total`; set it before its first job.

        Raises:
            ValueError: neither or both of tenant and batch are given, a name is invalid, or an
                amount is not from 0 to nine million.
        """
        self._check_loop()
        limits = {"total": total, "day": day, "month": month}
        return await run_async(self._operations.set_budget(tenant, batch, limits))

    async def clear_budget(
        self,
        *,
        tenant: str | None = None,
        batch: str | None = None,
        total: bool = False,
        day: bool = False,
        month: bool = False,
    ) -> None:
        """Remove budgets of a tenant or a batch, by default all.

        Raises:
            ValueError: neither or both of tenant and batch are given, or a name is invalid.
        """
        self._check_loop()
        periods = {"total": total, "day": day, "month": month}
        await run_async(self._operations.clear_budget(tenant, batch, periods))

    async def budgets(self) -> tuple[Book, ...]:
        """Return the book of every budget: rubles reserved, paid and left."""
        self._check_loop()
        return await run_async(self._operations.budgets())

    async def _items(self, steps: Steps[None]) -> AsyncIterator[Any]:
        self._check_loop()
        async with aclosing(items_async(steps)) as found:
            async for one in found:
                yield one

    async def _results(
        self,
        given: Mapping[str, AsyncJob | str],
        timeout: float | None,  # noqa: ASYNC109  # the jobs go on, so this is no cancel scope
        model: type[Model] | None,
    ) -> AsyncIterator[tuple[AsyncJob | str, Any]]:
        self._check_loop()
        async with aclosing(self._operations.ends(given, timeout)) as ends:
            async for job_id, end in ends:
                yield given[job_id], typed_end(end, model)

    def _check_loop(self) -> None:
        """Bind the client to the running event loop; its connections can't change loops."""
        running = asyncio.get_running_loop()
        self._loop = self._loop or running
        if self._loop is not running:
            raise WrongEventLoop(
                "this AsyncClient was first used in another event loop; create one in each loop,"
                " with `async with AsyncClient()`"
            )
