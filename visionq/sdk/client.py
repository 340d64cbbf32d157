"""The client for ordinary programs and threads."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any, Self, Unpack, overload

from visionq.sans_io import items, run
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
    from collections.abc import Iterable, Iterator, Mapping

    from visionq.contract import JobView, ResultDocument
    from visionq.errors import VisionqError
    from visionq.ledger import Book
    from visionq.sdk.arguments import ImageInput
    from visionq.sdk.budget_arguments import Rubles
    from visionq.sdk.job_handles import Job
    from visionq.sdk.submitting import AnalyzeOptions, JobOptions
    from visionq.sdk.typed import Model, TypedResult
    from visionq.settings import Settings


class Client:
    """Submits jobs to the ledger and fetches their results. Threads may share a client.

    Every method raises `QueueUnavailable` if Redis can't be reached or takes no jobs, and
    `TypeError` or `ValueError`, naming the argument, for a wrong argument.
    """

    def __init__(self, settings: Settings | None = None, redis_url: str | None = None) -> None:
        """Read the environment unless `settings` is given; connect at the first use.

        Raises:
            ConfigurationError: no address of Redis is set, or it is malformed.
        """
        check_client(settings, redis_url)
        # With the first client, not with the import: the ledger, blob stores and price tables.
        from visionq.sdk.operations import BlockingOperations  # noqa: PLC0415  # see above

        settings = settings or load_settings()
        operations = BlockingOperations(settings, redis_address(settings, redis_url), self)
        self._operations = operations
        self._redis, self._ledger, self._blobs = (
            operations.redis,
            operations.ledger,
            operations.blobs,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections; jobs go on."""
        self._operations.close()

    def submit(
        self,
        *,
        prompt: str,
        images: Iterable[ImageInput],
        idempotency_key: str | None = None,
        **options: Unpack[JobOptions],
    ) -> Job:
        """Submit one question about one or several pictures.

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
        return run(self._operations.submit(fields))

    def submit_many(self, jobs: Iterable[Mapping[str, Any]]) -> Iterator[Job]:
        """Submit jobs, each the keywords of `submit`, and yield them in input order.

        Nothing is submitted until you iterate. Jobs are submitted in chunks of at most 500 jobs or
        about 32 MB. An error (see `submit`) ends the iterator at its job; the jobs before it are
        submitted, and others of its chunk may be.
        """
        check_rows(jobs)
        return items(self._operations.submit_many(iter(jobs)))

    @overload
    def stream(
        self, jobs: Iterable[Mapping[str, Any]], window: int = WINDOW
    ) -> Iterator[tuple[Job, ResultDocument | VisionqError]]: ...

    @overload
    def stream(
        self, jobs: Iterable[Mapping[str, Any]], window: int = WINDOW, *, schema: type[Model]
    ) -> Iterator[tuple[Job, TypedResult[Model] | VisionqError]]: ...

    def stream(
        self,
        jobs: Iterable[Mapping[str, Any]],
        window: int = WINDOW,
        *,
        schema: type[Model] | dict[str, Any] | None = None,
    ) -> Iterator[tuple[Job, Any]]:
        """Submit jobs as `submit_many` does, and yield each with its result or error.

        Jobs come in the order of ending. At most `window` jobs are out at any time: more are read
        and submitted only when you take their results, so that an endless source needs little
        memory. `schema`, a pydantic model, applies to jobs without a schema of their own; results
        are as those of `results`.

        A job that can't be submitted (a missing file, a wrong field) yields its error; its
        `position` says which it was, and it is not in the ledger.

        Raises:
            QueueUnavailable: the ledger takes no jobs; submitted jobs go on.
        """
        check_rows(jobs)
        check_window(window)
        model = model_of(schema)
        return items(self._operations.stream(iter(jobs), window, schema, model))

    def get(self, job: Job | str) -> JobView:
        """Return the current state of a job; raise `JobNotFound`."""
        return run(self._operations.get(check_job(job)))

    @overload
    def wait(self, job: Job | str, timeout: float | None = None) -> ResultDocument: ...

    @overload
    def wait(
        self, job: Job | str, timeout: float | None = None, *, schema: type[Model]
    ) -> TypedResult[Model]: ...

    def wait(
        self,
        job: Job | str,
        timeout: float | None = None,
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
        model, job_id, seconds = model_of(schema), check_job(job), check_timeout(timeout)
        with closing(self._operations.ends([job_id], seconds)) as ends:
            _, end = next(ends)
        return result_of(end, model)

    @overload
    def analyze(
        self,
        image: ImageInput,
        prompt: str,
        *,
        schema: type[Model],
        timeout: float | None = None,
        **options: Unpack[AnalyzeOptions],
    ) -> TypedResult[Model]: ...

    @overload
    def analyze(
        self,
        image: ImageInput,
        prompt: str,
        *,
        schema: dict[str, Any] | None = None,
        timeout: float | None = None,
        **options: Unpack[AnalyzeOptions],
    ) -> ResultDocument: ...

    def analyze(
        self,
        image: ImageInput,
        prompt: str,
        *,
        schema: type[Model] | dict[str, Any] | None = None,
        timeout: float | None = None,
        **options: Unpack[AnalyzeOptions],
    ) -> ResultDocument | TypedResult[Model]:
        """Submit one question about one picture and wait for its result.

        With `schema`, a pydantic model, `parsed` of the result is an object of it; with a JSON
        Schema its `data` match it. Raises the errors of `submit` and `wait`.
        """
        model, timeout = model_of(schema), check_timeout(timeout)
        job = self.submit(prompt=prompt, images=[image], schema=schema, **options)
        if model is None:
            return self.wait(job, timeout)
        return self.wait(job, timeout, schema=model)

    @overload
    def results(
        self, jobs: Iterable[Job | str], timeout: float | None = None
    ) -> Iterator[tuple[Job | str, ResultDocument | VisionqError]]: ...

    @overload
    def results(
        self, jobs: Iterable[Job | str], timeout: float | None = None, *, schema: type[Model]
    ) -> Iterator[tuple[Job | str, TypedResult[Model] | VisionqError]]: ...

    def results(
        self,
        jobs: Iterable[Job | str],
        timeout: float | None = None,
        *,
        schema: type[Model] | dict[str, Any] | None = None,
    ) -> Iterator[tuple[Job | str, Any]]:
        """Yield each job with its result or its error, in the order of ending.

        One connection serves all jobs. With `schema`, the pydantic model of the submission,
        `parsed` of a result is an object of it; an answer that fails its validation yields
        `InvalidOutput`.

        Raises:
            WaitTimeout: `timeout` seconds have passed; all jobs that ended were yielded.
        """
        return self._results(check_jobs(jobs), check_timeout(timeout), model_of(schema))

    def cancel(self, job: Job | str) -> JobView:
        """Cancel a job in any state, and return its new state.

        A job that has ended does not change. The answer of a call in progress is kept and paid.

        Raises:
            JobNotFound: there is no such job.
        """
        return run(self._operations.cancel(check_job(job)))

    def set_budget(
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
        limits = {"total": total, "day": day, "month": month}
        return run(self._operations.set_budget(tenant, batch, limits))

    def clear_budget(
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
        periods = {"total": total, "day": day, "month": month}
        run(self._operations.clear_budget(tenant, batch, periods))

    def budgets(self) -> tuple[Book, ...]:
        """Return the book of every budget: rubles reserved, paid and left."""
        return run(self._operations.budgets())

    def _results(
        self, given: Mapping[str, Job | str], timeout: float | None, model: type[Model] | None
    ) -> Iterator[tuple[Job | str, Any]]:
        with closing(self._operations.ends(given, timeout)) as ends:
            for job_id, end in ends:
                yield given[job_id], typed_end(end, model)
