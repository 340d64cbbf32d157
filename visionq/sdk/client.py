"""The client for ordinary programs and threads."""

from __future__ import annotations

import uuid
from contextlib import closing
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any, Self, Unpack, overload

from visionq.blobs import open_blobs
from visionq.errors import JobError, VisionqError
from visionq.ledger import Ledger, Period, ledger_options
from visionq.ledger.views import job_views
from visionq.redis_connection import as_queue_unavailable, connect
from visionq.sdk import waiting
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
from visionq.sdk.drafts import (
    UPLOADS,
    Draft,
    PendingSubmission,
    SubmissionChunk,
    accepted,
    all_contents,
    draft,
)
from visionq.sdk.job import Job
from visionq.sdk.reading import not_found
from visionq.sdk.streaming import WINDOW, stream
from visionq.sdk.typed import Model, TypedResult, asking_for, model_of, typed, typed_end
from visionq.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from visionq.contract import JobView, ResultDocument
    from visionq.ledger import Book, Submission
    from visionq.sdk.budgets import Rubles
    from visionq.sdk.drafts import AnalyzeOptions, JobOptions
    from visionq.sdk.images import ImageInput
    from visionq.settings import Settings

_TOTAL, _DAY, _MONTH = Period.TOTAL, Period.DAY, Period.MONTH


class Client:
    """Submits jobs to the ledger and fetches their results. Threads may share one.

    Every method raises `QueueUnavailable` when Redis can't be reached or takes no jobs, and at once
    `TypeError` or `ValueError`, which names the argument, for one of a wrong kind.
    """

    def __init__(self, settings: Settings | None = None, redis_url: str | None = None) -> None:
        """Read the environment where `settings` is not given; connect at the first use.

        Raises:
            ConfigurationError: no address of Redis is given, or it is malformed.
        """
        check_client(settings, redis_url)
        self._settings = settings or load_settings()
        url = redis_address(self._settings, redis_url)
        self._redis = connect(url, CLIENT_NAME)
        # Waiting has patience of its own: its connections neither try again nor wait for long.
        self._waiting_redis = connect(url, CLIENT_NAME, retries=0, patience=waiting.REPLY)
        self._ledger = Ledger(self._redis, ledger_options(self._settings))
        self._blobs = open_blobs(self._settings, self._redis)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection. Jobs go on."""
        self._redis.close()
        self._waiting_redis.close()

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
            IdempotencyConflict: the key already names a job that asks for something else.
        """
        fields = {
            "prompt": prompt,
            "images": images,
            "idempotency_key": idempotency_key,
            **options,
        }
        (reply,) = self._enter([self._draft(fields)])
        return self._job(reply)

    def submit_many(self, jobs: Iterable[Mapping[str, Any]]) -> Iterator[Job]:
        """Submit jobs, each given as the keywords of `submit`, and yield them in input order.

        Nothing is submitted until the iterator is used. Jobs go in portions of at most 500 jobs or
        about 32 MB. An error (those of `submit`) ends the iterator at the place of its job; the
        jobs before it are submitted, and other jobs of its portion may be.
        """
        check_rows(jobs)
        return self._submit_many(jobs)

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
        """Submit jobs as `submit_many` does, and yield each with its end, in the order of ending.

        At most `window` jobs are out at any time: more are read and submitted only as their
        answers are taken, so that an endless source needs no endless memory. With `schema`, a
        pydantic model, jobs without a schema of their own ask for it, and results are as those of
        `results` with it.

        A job that can't be submitted (a missing file, a wrong field) ends in its error, as others
        do; its `position` says which it was, and the ledger does not know it.

        Raises:
            QueueUnavailable: the ledger takes no jobs; the jobs that are out go on.
        """
        check_rows(jobs)
        check_window(window)
        return self._stream(jobs, window, schema, model_of(schema))

    def get(self, job: Job | str) -> JobView:
        """Return how a job stands now; raises `JobNotFound`."""
        job_id = check_job(job)
        with as_queue_unavailable():
            (view,) = job_views(self._redis, [job_id])
        if view is None:
            raise not_found(job_id)
        return view

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
        """Return the result of a job, waiting for it at most `timeout` seconds.

        Survives a restart of Redis within that time. With `schema`, the pydantic model that the job
        was submitted with, `parsed` of the result is an object of it.

        Raises:
            JobFailed: the job ended without an answer; `code` says why (`cancelled`, …).
            WaitTimeout: the time is up; the job goes on.
            JobNotFound: the ledger holds no such job.
            InvalidOutput: the model does not take the answer; the paid text is in `text`.
        """
        model, job_id, seconds = model_of(schema), check_job(job), check_timeout(timeout)
        with closing(waiting.ends(self._waiting_redis, [job_id], seconds)) as ends:
            _, end = next(ends)
        if isinstance(end, VisionqError):
            raise end
        return end if model is None else typed(end, model)

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
        Schema its `data` are of that form. Raises what `submit` and `wait` raise.
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
        """Yield each job as it was given, with its result or its error, in the order of ending.

        One connection serves them all. With `schema`, the pydantic model that the jobs were
        submitted with, `parsed` of a result is an object of it; an answer that it does not take is
        `InvalidOutput`.

        Raises:
            WaitTimeout: `timeout` seconds have passed; what has ended was yielded.
        """
        return self._results(check_jobs(jobs), check_timeout(timeout), model_of(schema))

    def cancel(self, job: Job | str) -> JobView:
        """Cancel a job in whatever state it is, and return how it stands then.

        A job that has ended stays as it is. The answer of a call that is out is kept and paid.

        Raises:
            JobNotFound: the ledger holds no such job.
        """
        job_id = check_job(job)
        with as_queue_unavailable():
            self._ledger.cancel([job_id])
        return self.get(job_id)

    def set_budget(
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
        with as_queue_unavailable():
            for scope, limit in limits.items():
                self._ledger.set_budget(scope, limit)
            return tuple(self._ledger.book(scope) for scope in limits)

    def clear_budget(
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
        with as_queue_unavailable():
            for scope in scopes:
                self._ledger.set_budget(scope, None)

    def budgets(self) -> tuple[Book, ...]:
        """Return the book of every scope that has a budget: what is reserved, paid and left."""
        with as_queue_unavailable():
            return self._ledger.budgets()

    def _submit_many(self, jobs: Iterable[Mapping[str, Any]]) -> Iterator[Job]:
        for job, failure in self._submit_each(jobs, count()):
            if failure is not None:
                raise failure
            yield job

    def _submit_each(
        self, jobs: Iterable[Mapping[str, Any]], positions: Iterator[int]
    ) -> Iterator[tuple[Job, JobError | None]]:
        """Submit jobs; yield each in input order, with why it is not in the ledger if it is not."""
        for portion in self._portions(jobs):
            for one, reply in zip(portion.drafts, self._enter(portion.drafts), strict=True):
                yield self._job_or_failure(one, reply, next(positions))
            if portion.failure is not None:
                yield Job(str(uuid.uuid4()), False, self, next(positions)), portion.failure  # noqa: FBT003  # not created

    def _job_or_failure(
        self, one: Draft, reply: Submission, position: int
    ) -> tuple[Job, JobError | None]:
        try:
            submitted = accepted(reply)
        except JobError as failure:
            return Job(one.job.id, False, self, position), failure  # noqa: FBT003  # likewise
        return Job(submitted.id, submitted.created, self, position), None

    def _stream(
        self,
        jobs: Iterable[Mapping[str, Any]],
        window: int,
        schema: type[Model] | dict[str, Any] | None,
        model: type[Model] | None,
    ) -> Iterator[tuple[Job, Any]]:
        submit = partial(self._submit_each, positions=count())
        found = stream(self._waiting_redis, asking_for(jobs, schema), submit, window)
        with closing(found):
            for job, end in found:
                yield job, typed_end(end, model)

    def _results(
        self,
        given: Mapping[str, Job | str],
        timeout: float | None,
        model: type[Model] | None,
    ) -> Iterator[tuple[Job | str, Any]]:
        with closing(waiting.ends(self._waiting_redis, given, timeout)) as ends:
            for job_id, end in ends:
                yield given[job_id], typed_end(end, model)

    def _draft(self, fields: Mapping[str, Any]) -> Draft:
        return draft(fields, self._settings, str(uuid.uuid4()))

    def _portions(self, jobs: Iterable[Mapping[str, Any]]) -> Iterator[SubmissionChunk]:
        """Yield what is submitted together; a job that can be none ends a portion."""
        portion = SubmissionChunk()
        for fields in jobs:
            try:
                portion.add(self._draft(fields))
            except JobError as failure:
                portion.failure = failure
            if portion.is_full:
                yield portion
                portion = SubmissionChunk()
        yield portion

    def _enter(self, drafts: Sequence[Draft]) -> list[Submission]:
        """Upload and submit; what expires in between is uploaded again."""
        entry = PendingSubmission(drafts)
        with as_queue_unavailable():
            for _ in range(UPLOADS):
                if entry.remaining:
                    for tenant, contents in all_contents(entry.remaining).items():
                        self._blobs.put(contents, tenant)
                    entry.note(self._ledger.submit([one.job for one in entry.remaining]))
        return entry.replies

    def _job(self, reply: Submission) -> Job:
        submitted = accepted(reply)
        return Job(submitted.id, submitted.created, self)
