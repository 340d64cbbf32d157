"""How the outcome of a job looks to Celery."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from celery.exceptions import Ignore, Reject, Retry

from visionq.contract import DelayReason, ErrorDocument, ResultDocument
from visionq.errors import BY_CODE, InvalidJob, JobFailed, QueueUnavailable, VisionqError
from visionq.ledger import Completed, Failed, Outcome, Parked, Waiting
from visionq.names import TASK_ANALYZE, TASK_RUN
from worker.celery import tasks
from worker.work import Stale

if TYPE_CHECKING:
    from collections.abc import Callable


class Process:
    """Stands for what a worker process has: these tests pass it on only."""

    dependencies = intake = leases = registration = None
    loop = SimpleNamespace(run=asyncio.run)


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    # The app reads it at its first use, and nothing here connects.
    monkeypatch.setenv("VISIONQ_REDIS_URL", "redis://127.0.0.1:1/0")


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch) -> Callable[[Outcome | Stale], str]:
    def run(outcome: Outcome | Stale) -> str:
        async def ended(*_: Any) -> Outcome | Stale:
            return outcome

        monkeypatch.setattr(tasks, "runtime", Process)
        monkeypatch.setattr(tasks, "work", ended)
        text: str = tasks.run.run()
        return text

    return run


def test_completed(ends: Callable[[Any], str]) -> None:
    """A completed job is a success that shows what it cost, and not its answer."""
    result = ResultDocument(
        id="j", model="m", api="responses", text="secret", cost_rub=Decimal("0.5"), cached=True
    )
    assert ends(Completed(result)) == "completed cost_rub=0.5 cached=True"


@pytest.mark.parametrize("code", sorted(BY_CODE))
def test_failed(ends: Callable[[Any], str], code: str) -> None:
    """A failed job raises the class of its code with the picture's number, and nothing else."""
    document = ErrorDocument(code=code, message="secret", image="secret.png")
    with pytest.raises(BY_CODE[code]) as raised:
        ends(Failed(document, BY_CODE[code].__name__, picture=2))
    assert str(raised.value) == f"{code}: picture 2"
    with pytest.raises(BY_CODE[code]) as raised:
        ends(Failed(document, BY_CODE[code].__name__))
    assert str(raised.value) == f"{code}: see the job"
    assert isinstance(raised.value, tasks.run.throws)


def test_failed_with_a_code_of_tomorrow(ends: Callable[[Any], str]) -> None:
    """A code without a class of its own still fails with this code."""
    with pytest.raises(JobFailed) as raised:
        ends(Failed(ErrorDocument(code="configuration", message="so"), "ConfigurationError"))
    assert str(raised.value) == "configuration: see the job"


@pytest.mark.parametrize(
    ("outcome", "says"),
    [
        (Waiting(DelayReason.RATE_LIMITED, 3, counted=False), "waiting: rate_limited"),
        (Parked(DelayReason.INSUFFICIENT_BALANCE, 60), "parked: insufficient_balance"),
    ],
)
def test_comes_back(ends: Callable[[Any], str], outcome: Outcome, says: str) -> None:
    """A job that waits or is parked is a retry with its reason, and nothing is published for it."""
    with pytest.raises(Retry, match=says) as raised:
        ends(outcome)
    assert raised.value.when is None


def test_stale(ends: Callable[[Any], str]) -> None:
    """A hint that led to nothing leaves no trace."""
    with pytest.raises(Ignore):
        ends(Stale("completed"))


def test_entering(monkeypatch: pytest.MonkeyPatch) -> None:
    """A document that is entered leaves its result to the job; one that is refused fails."""
    monkeypatch.setattr(tasks, "runtime", Process)
    given: list[Any] = []
    monkeypatch.setattr(tasks, "enter", lambda *args, **more: given.append((*args, more["canvas"])))
    tasks.analyze.push_request(id="job-1")
    try:
        with pytest.raises(Ignore):
            tasks.analyze.run("a", prompt="?")
        assert given == [("job-1", ("a",), {"prompt": "?"}, None, "")]

        def refuse(error: VisionqError) -> None:
            def fail(*_: object, **__: object) -> None:
                raise error

            monkeypatch.setattr(tasks, "enter", fail)

        refuse(InvalidJob("prompt: missing"))
        with pytest.raises(InvalidJob):
            tasks.analyze.run()
        refuse(QueueUnavailable("full"))
        with pytest.raises(Reject) as raised:
            tasks.analyze.run()
        rejection: Any = raised.value
        assert rejection.requeue is True
    finally:
        tasks.analyze.pop_request()


def test_acknowledgement() -> None:
    """A hint is acknowledged before it is worked on, a document when it is in the ledger."""
    assert tasks.run.app.conf.task_acks_late is False
    assert not tasks.run.acks_late
    assert (tasks.run.name, tasks.run.ignore_result) == (TASK_RUN, True)
    assert (tasks.analyze.name, tasks.analyze.acks_late) == (TASK_ANALYZE, True)
    assert tasks.analyze.Request == "worker.celery.masked_request:MaskedRequest"


def test_no_worker_here() -> None:
    """Outside a worker the tasks say so instead of failing obscurely."""
    with pytest.raises(RuntimeError, match="no worker"):
        tasks.run.run()
