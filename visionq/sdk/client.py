"""The client for ordinary programs and threads."""

from __future__ import annotations

import uuid
from contextlib import closing
from typing import TYPE_CHECKING, Any, Self, Unpack, overload

from visionq.blobs import open_blobs
from visionq.errors import VisionqError
from visionq.ledger import Ledger, ledger_options
from visionq.ledger.views import job_views
from visionq.redis_connection import as_queue_unavailable, connect
from visionq.sdk import waiting
from visionq.sdk.connecting import CLIENT_NAME, redis_address
from visionq.sdk.drafts import UPLOADS, Draft, Entry, Portion, accepted, all_contents, draft
from visionq.sdk.job import Job, id_of
from visionq.sdk.reading import not_found
from visionq.sdk.streaming import WINDOW, stream
from visionq.sdk.typed import Model, TypedResult, asking_for, model_of, typed, typed_end
from visionq.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from visionq.contract import JobView, ResultDocument
    from visionq.ledger import Submission
    from visionq.sdk.drafts import AnalyzeOptions, JobOptions
    from visionq.sdk.images import ImageInput
    from visionq.settings import Settings


class Client:
    """Submits jobs to the ledger and fetches their results. Threads may share one.

    Every method raises `QueueUnavailable` when Redis can't be reached or takes no jobs.
    """

    def __init__(self, settings: Settings | None = None, redis_url: str | None = None) -> None:
        """Read the environment where `settings` is not given; connect at the first use.

        Raises:
            ConfigurationError: no address of Redis is given, or it is malformed.
        """
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
        for portion in self._portions(jobs):
            for reply in self._enter(portion.drafts):
                yield self._job(reply)

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

        Raises:
            VisionqError: those of `submit`; the jobs that are out go on.
        """
        model = model_of(schema)
        found = stream(self._waiting_redis, asking_for(jobs, schema), self.submit_many, window)
        with closing(found):
            for job, end in found:
                yield job, typed_end(end, model)

    def get(self, job: Job | str) -> JobView:
        """Return how a job stands now; raises `JobNotFound`."""
        with as_queue_unavailable():
            (view,) = job_views(self._redis, [id_of(job)])
        if view is None:
            raise not_found(id_of(job))
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
        model = model_of(schema)
        with closing(waiting.ends(self._waiting_redis, [id_of(job)], timeout)) as ends:
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
        model = model_of(schema)
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
        model = model_of(schema)
        given = {id_of(job): job for job in jobs}
        with closing(waiting.ends(self._waiting_redis, given, timeout)) as ends:
            for job_id, end in ends:
                yield given[job_id], typed_end(end, model)

    def cancel(self, job: Job | str) -> JobView:
        """Cancel a job in whatever state it is, and return how it stands then.

        A job that has ended stays as it is. The answer of a call that is out is kept and paid.

        Raises:
            JobNotFound: the ledger holds no such job.
        """
        with as_queue_unavailable():
            self._ledger.cancel([id_of(job)])
        return self.get(job)

    def _draft(self, fields: Mapping[str, Any]) -> Draft:
        return draft(fields, self._settings, str(uuid.uuid4()))

    def _portions(self, jobs: Iterable[Mapping[str, Any]]) -> Iterator[Portion]:
        """Yield what is submitted together; before an error, what was drafted until then."""
        portion = Portion()
        for fields in jobs:
            try:
                portion.add(self._draft(fields))
            except VisionqError:
                yield portion
                raise
            if portion.is_full:
                yield portion
                portion = Portion()
        yield portion

    def _enter(self, drafts: Sequence[Draft]) -> list[Submission]:
        """Upload and submit; what expires in between is uploaded again."""
        entry = Entry(drafts)
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
