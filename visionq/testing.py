"""Canned answers for tests of programs that use the clients: no Redis, no worker, nothing paid.

    pytest_plugins = ["visionq.testing"]  # in conftest.py; or `with canned_answers() as answers:`

Arguments, files and fields are checked as ever; the ledger and what is behind it are not there.
"""

from __future__ import annotations

import json
import os
import uuid
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import jsonschema_rs
import pytest
from pydantic import BaseModel

from visionq.contract import ErrorDocument, ImageReport, JobView, ResultDocument, State
from visionq.errors import BY_CODE, Cancelled, JobFailed, QueueUnavailable, VisionqError
from visionq.ledger import Book, Conflict, Submitted
from visionq.model_migrations import NO_MIGRATIONS
from visionq.sdk.operations import AsyncOperations, BlockingOperations
from visionq.sdk.results import not_found
from visionq.sdk.submitting import draft
from visionq.sdk.waiting import timeout_error

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator, Iterable, Iterator, Mapping, Sequence

    from visionq.contract import JobDocument
    from visionq.ledger import BudgetScope, NewJob
    from visionq.model_migrations import ModelMigrations
    from visionq.sans_io import Steps
    from visionq.sdk.job_handles import AsyncJob, Job
    from visionq.sdk.typed import End
    from visionq.settings import Settings

__all__ = ["CannedAnswers", "canned_answers", "visionq_answers"]


@pytest.fixture(name="visionq_answers")
def visionq_answers() -> Iterator[CannedAnswers]:
    """Answer the jobs of all clients that the test makes from canned answers."""
    with canned_answers() as answers:
        yield answers


@contextmanager
def canned_answers() -> Iterator[CannedAnswers]:
    """Answer the jobs of all clients that are made in this block from canned answers."""
    answers = CannedAnswers()
    operations = "visionq.sdk.operations"
    with (
        patch(f"{operations}.BlockingOperations", partial(_BlockingOperations, answers)),
        patch(f"{operations}.AsyncOperations", partial(_AsyncOperations, answers)),
        patch.dict(os.environ, {"VISIONQ_REDIS_URL": "redis://canned.invalid:6379/0"}),
    ):
        yield answers


@dataclass(slots=True)
class _Answer:
    """A canned answer, and the questions it is for."""

    text: str
    data: Any
    error: VisionqError | None
    prompt: str
    image: str
    cost_rub: Decimal
    cached: bool
    pending: bool
    #: How often it is given yet; None: always.
    left: int | None

    def fits(self, job: JobDocument) -> bool:
        """Return whether the question is one of those that it is for."""
        labels = [picture.label(position) for position, picture in enumerate(job.images)]
        return (
            self.left != 0
            and self.prompt in job.prompt
            and any(self.image in label for label in labels)
        )


@dataclass(slots=True)
class CannedAnswers:
    """The answers that jobs get, and the jobs that clients submitted."""

    #: Documents of the submitted jobs, in order.
    jobs: list[JobDocument] = field(default_factory=list)
    _answers: list[_Answer] = field(default_factory=list)
    _views: dict[str, JobView] = field(default_factory=dict)
    _ends: dict[str, End] = field(default_factory=dict)
    _documents: dict[str, JobDocument] = field(default_factory=dict)
    _keys: dict[tuple[str, str], str] = field(default_factory=dict)
    _budgets: dict[BudgetScope, Decimal] = field(default_factory=dict)

    def add(
        self,
        text: str = "",
        *,
        data: Any = None,  # noqa: ANN401  # any JSON value
        error: str | VisionqError | None = None,
        prompt: str = "",
        image: str = "",
        cost_rub: Decimal | int | str = 0,
        cached: bool = False,
        pending: bool = False,
        times: int | None = None,
    ) -> None:
        """Add an answer for questions whose prompt, and a picture's name or address, contain these.

        Of several that fit, the first one added is given; after `times` jobs, the next.
        `data`, JSON or a pydantic object, is checked against the schema of the job. `error` is one
        of the codes of docs/errors.md, or the error itself; `queue_unavailable` is raised by
        `submit`, as all that keeps a job from being taken. A `pending` job never ends.

        Raises:
            ValueError: there is no such code, or neither an answer nor an error is given.
        """
        if isinstance(error, str):
            if error not in BY_CODE:
                raise ValueError(
                    f"error: no code {error!r}; known are {', '.join(sorted(BY_CODE))}"
                )
            error = BY_CODE[error]("canned by the test")
        if [bool(text), data is not None, error is not None, pending].count(True) != 1:
            raise ValueError("give one of text, data, error and pending")
        if isinstance(data, BaseModel):
            data = data.model_dump(mode="json")
        rubles = Decimal(cost_rub)
        answer = _Answer(text, data, error, prompt, image, rubles, cached, pending, times)
        self._answers.append(answer)

    # What the ledger does.

    def submit(self, jobs: Sequence[NewJob]) -> list[Submitted | Conflict]:
        """Take jobs; each has ended then, unless it is pending."""
        return [self._take(job) for job in jobs]

    def _take(self, job: NewJob) -> Submitted | Conflict:
        document = job.document
        key = (document.tenant, document.idempotency_key or job.id)
        known = self._keys.get(key)
        if known is not None:
            same = self._documents[known] == document
            return Submitted(known, created=False) if same else Conflict(job.id, known)
        answer = self._answer_to(document)
        if isinstance(answer.error, QueueUnavailable):
            raise answer.error
        self.jobs.append(document)
        self._keys[key], self._documents[job.id] = job.id, document
        self._views[job.id] = JobView(
            id=job.id,
            state=State.QUEUED,
            tenant=document.tenant,
            model=document.model or "",
            priority=document.priority,
            images=len(document.images),
            submitted_at=datetime.now(UTC),
            batch_id=document.batch_id,
        )
        if not answer.pending:
            self._end(job.id, _end_of(job.id, document, answer))
        return Submitted(job.id, created=True)

    def _answer_to(self, document: JobDocument) -> _Answer:
        for answer in self._answers:
            if answer.fits(document):
                answer.left = None if answer.left is None else answer.left - 1
                return answer
        names = [picture.label(position) for position, picture in enumerate(document.images)]
        raise AssertionError(
            f"no canned answer for the question {document.prompt[:80]!r} about {', '.join(names)}:"
            " add one by visionq_answers.add(…)"
        )

    def _end(self, job_id: str, end: End) -> None:
        self._ends[job_id] = end
        ended: dict[str, Any] = {
            "state": State.COMPLETED,
            "finished_at": datetime.now(UTC),
            "cost_rub": end.cost_rub,
        }
        if isinstance(end, VisionqError):
            is_cancelled = end.code == Cancelled.code
            ended["state"] = State.CANCELLED if is_cancelled else State.FAILED
            ended["reason"] = end.code
            ended["error"] = ErrorDocument(code=end.code, message=end.message, image=end.image)
        self._views[job_id] = self._views[job_id].model_copy(update=ended)

    def cancel(self, job_ids: Sequence[str]) -> None:
        """Cancel those jobs that have not ended."""
        for job_id in job_ids:
            if job_id in self._views and job_id not in self._ends:
                self._end(job_id, JobFailed(Cancelled.code, "the job was cancelled"))

    def view(self, job_id: str) -> JobView:
        """Return the state of a job; raise `JobNotFound`."""
        if job_id not in self._views:
            raise not_found(job_id)
        return self._views[job_id]

    def end(self, job_id: str) -> End | None:
        """Return the end of a job; None while it is pending."""
        return self._ends.get(job_id) if job_id in self._views else not_found(job_id)

    def set_budget(self, scope: BudgetScope, limit: Decimal | None) -> None:
        """Note a budget, which stops no canned job."""
        self._budgets.pop(scope, None)
        if limit is not None:
            self._budgets[scope] = limit

    def book(self, scope: BudgetScope) -> Book:
        """Return the book of a scope, in which nothing is spent."""
        nothing = Decimal(0)
        return Book(scope, nothing, nothing, nothing, nothing, 0, self._budgets.get(scope))

    def budgets(self) -> tuple[Book, ...]:
        """Return the books of all budgets."""
        return tuple(map(self.book, sorted(self._budgets)))


def _end_of(job_id: str, job: JobDocument, answer: _Answer) -> End:
    if (error := answer.error) is not None:
        return JobFailed(error.code, error.message, image=error.image, cost_rub=answer.cost_rub)
    text, data = answer.text, answer.data
    if data is not None:
        text = json.dumps(data, ensure_ascii=False)
    if job.answer_schema is not None:
        data = _of_the_schema(job.answer_schema, text)
    return ResultDocument(
        id=job_id,
        tenant=job.tenant,
        model=job.model or "",
        api=job.api,
        text=text,
        data=data,
        cost_rub=Decimal(0) if answer.cached else answer.cost_rub,
        cached=answer.cached,
        images=tuple(
            ImageReport(name=picture.label(position), sha256=picture.blob)
            for position, picture in enumerate(job.images)
        ),
        metadata=job.metadata,
        batch_id=job.batch_id,
        finished_at=datetime.now(UTC),
    )


def _of_the_schema(schema: dict[str, Any], text: str) -> object:
    """Return the answer as data: a canned one that no model could give proves nothing."""
    try:
        data: object = json.loads(text)
        jsonschema_rs.validator_for(schema).validate(data)
    except ValueError as error:
        reason = str(error).partition("\n")[0]
        raise AssertionError(
            f"the canned answer does not match the schema of the job: {reason}"
        ) from None
    return data


def _never(unfinished: int, timeout: float | None) -> Exception:
    """Return the error of waiting for pending jobs: a test can't wait forever."""
    if timeout is None:
        return AssertionError("waiting for a pending job without a timeout would never end")
    return timeout_error(unfinished, timeout)


class _JobsOut:
    """Jobs of a stream."""

    def __init__(self, answers: CannedAnswers) -> None:
        self._answers = answers
        self._jobs: deque[Any] = deque()

    def __len__(self) -> int:
        return len(self._jobs)

    def add(self, job: Job | AsyncJob) -> None:
        self._jobs.append(job)

    def next_end(self) -> tuple[Any, End]:
        for job in self._jobs:
            if (end := self._answers.end(job.id)) is not None:
                self._jobs.remove(job)
                return job, end
        raise _never(len(self), None)

    def close(self) -> None:
        self._jobs.clear()


class _Awaited:
    """Answers the calls of another object with awaitables."""

    def __init__(self, target: object) -> None:
        self._target = target

    def __len__(self) -> int:
        return len(self._target)  # type: ignore[arg-type]  # of a `_JobsOut`

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  # see above
        method = getattr(self._target, name)
        if name == "close":
            return method

        async def call(*arguments: Any) -> Any:  # noqa: ANN401  # see above
            return method(*arguments)

        return call


class _Blobs:
    """Pictures, none of which anybody looks at."""

    def put(self, contents: Sequence[bytes], tenant: str = "") -> None:
        """Take pictures."""


class _BlockingOperations(BlockingOperations):
    """The operations of a `Client` on canned answers."""

    def __init__(self, answers: CannedAnswers, settings: Settings, _url: str, client: Any) -> None:  # noqa: ANN401  # a `Client`
        self._answers, self._settings, self._client = answers, settings, client
        nothing: Any = None
        ledger: Any = answers
        blobs: Any = _Blobs()
        self.redis, self.ledger, self.blobs = nothing, ledger, blobs

    def _migrations(self) -> Steps[ModelMigrations]:
        """Return none: canned answers are those of any model."""
        yield from ()
        return NO_MIGRATIONS

    def close(self) -> None:
        """Close nothing."""

    def get(self, job_id: str) -> Steps[JobView]:
        """Return a job as people see it."""
        yield
        return self._answers.view(job_id)

    def ends(
        self, job_ids: Iterable[str], seconds: float | None
    ) -> Generator[tuple[str, End], None, None]:
        """Yield each job with its end."""
        ends = {job_id: self._answers.end(job_id) for job_id in job_ids}
        yield from _ended(ends)
        if unfinished := list(ends.values()).count(None):
            raise _never(unfinished, seconds)

    def _jobs_out(self) -> Any:  # noqa: ANN401  # as its parent's parent has it
        return _JobsOut(self._answers)


class _AsyncOperations(AsyncOperations):
    """The operations of an `AsyncClient` on canned answers."""

    def __init__(self, answers: CannedAnswers, settings: Settings, _url: str, client: Any) -> None:  # noqa: ANN401  # an `AsyncClient`
        self._answers, self._settings, self._client = answers, settings, client
        ledger: Any = _Awaited(answers)
        blobs: Any = _Awaited(_Blobs())
        self.ledger, self.blobs = ledger, blobs

    def _migrations(self) -> Steps[ModelMigrations]:
        """Return none: canned answers are those of any model."""
        yield from ()
        return NO_MIGRATIONS

    async def aclose(self) -> None:
        """Close nothing."""

    def get(self, job_id: str) -> Steps[JobView]:
        """Return a job as people see it."""
        view: JobView = yield self.ledger.view(job_id)  # type: ignore[attr-defined]  # see above
        return view

    async def ends(
        self, job_ids: Iterable[str], seconds: float | None
    ) -> AsyncGenerator[tuple[str, End]]:
        """Yield each job with its end."""
        ends = {job_id: self._answers.end(job_id) for job_id in job_ids}
        for ended in _ended(ends):
            yield ended
        if unfinished := list(ends.values()).count(None):
            raise _never(unfinished, seconds)

    async def _draft(self, fields: Mapping[str, Any]) -> Any:  # noqa: ANN401  # as its parent's parent has it
        return draft(fields, self._settings, str(uuid.uuid4()))

    def _jobs_out(self) -> Any:  # noqa: ANN401  # likewise
        return _Awaited(_JobsOut(self._answers))


def _ended(ends: Mapping[str, End | None]) -> Iterator[tuple[str, End]]:
    return ((job_id, end) for job_id, end in ends.items() if end is not None)
