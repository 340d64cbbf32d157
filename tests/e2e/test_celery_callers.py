"""What callers ask of Celery itself is honoured, or refused by name; other programs are let be."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.bare_celery import run_caller
from tests.support.fleet import Fleet, running_fleet
from tests.support.pictures import picture
from tests.support.waiting import until
from visionq import names

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_ASK = """
def ask(number):
    kwargs = {"prompt": "?", "images": [{"blob": given["blobs"][number]}]}
    return app.signature("visionq.analyze", kwargs=kwargs, queue="visionq.intake", immutable=True)
"""
_REFUSED = f"""{_ASK}
reply({{
    "countdown or eta": outcome(ask(0).apply_async(countdown=3600)),
    "time_limit": outcome(ask(0).apply_async(time_limit=10)),
}})
"""
_GROUP = f"""{_ASK}
reply([outcome(child) for child in group(ask(0), ask(1)).apply_async()])
"""
_EXPIRES = f"{_ASK}\nreply(outcome(ask(0).apply_async(expires=2)))"
_SENT = f"{_ASK}\nreply(ask(0).apply_async(**given['options']).id)"
_REVOKED = "app.AsyncResult(given['id']).revoke(terminate=given['terminate']); reply(None)"
_OUTCOME = "reply(outcome(app.AsyncResult(given['id']), timeout=20))"
_THEIRS = "reply([app.send_task('shop.resize', args=[number]).id for number in range(5)])"
_STATES = "reply([app.AsyncResult(task).state for task in given['ids']])"


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    extra = {"VISIONQ_CONSUME_DEFAULT_QUEUE": "1"}
    folder = tmp_path_factory.mktemp("callers")
    with running_fleet(folder, workers=1, concurrency=4, extra=extra) as running:
        yield running


@pytest.fixture
def paused(fleet: Fleet) -> Iterator[None]:
    """Keep jobs of the default tenant from being dispatched."""
    fleet.client._redis.hset(names.HOLDS, "tenant:default", "paused")
    yield
    fleet.client._redis.hdel(names.HOLDS, "tenant:default")


def blobs(fleet: Fleet, *numbers: int) -> list[str]:
    return fleet.client._blobs.put([picture(number) for number in numbers])


def calls(fleet: Fleet) -> int:
    count: int = fleet.simulator.bill()["calls"]
    return count


def state(fleet: Fleet, job_id: str) -> str | None:
    found: Any = fleet.client._redis.hget(names.JOB + job_id, "state")
    return found.decode() if found else None


def test_what_would_be_dropped_is_refused(bare_environment: Path, fleet: Fleet) -> None:
    """Each option that no job can have fails at once under its own name, and nothing is paid."""
    replies = run_caller(bare_environment, fleet, _REFUSED, blobs=blobs(fleet, 1, 2))
    for option, reply in replies.items():
        assert f"{option}: not supported" in reply["error"]
    assert calls(fleet) == 0


def test_a_group_is_answered(bare_environment: Path, fleet: Fleet) -> None:
    """The answers of a group come in its order."""
    replies = run_caller(bare_environment, fleet, _GROUP, blobs=blobs(fleet, 11, 12))
    assert [reply["state"] for reply in replies] == ["SUCCESS", "SUCCESS"]
    assert replies[0]["answer"]["text"] != replies[1]["answer"]["text"]


@pytest.mark.usefixtures("paused")
def test_expires_is_a_deadline(bare_environment: Path, fleet: Fleet) -> None:
    """A job that could not be asked before it expires is not paid for."""
    before = calls(fleet)
    reply = run_caller(bare_environment, fleet, _EXPIRES, blobs=blobs(fleet, 21))
    assert "deadline_exceeded" in reply["error"] or reply["raised"] == "TaskRevokedError"
    assert calls(fleet) == before


@pytest.mark.usefixtures("paused")
@pytest.mark.parametrize("terminate", [False, True])
def test_a_revoke_is_a_cancel(bare_environment: Path, fleet: Fleet, terminate: bool) -> None:
    """A job that is revoked while it waits is cancelled in the ledger too, and is never paid."""
    before = calls(fleet)
    pictures = blobs(fleet, 31 + terminate)
    job_id = run_caller(bare_environment, fleet, _SENT, blobs=pictures, options={})
    until(lambda: state(fleet, job_id) == "queued", 20, "the job to be entered")
    run_caller(bare_environment, fleet, _REVOKED, id=job_id, terminate=terminate)
    until(lambda: state(fleet, job_id) == "cancelled", 20, "the job to be cancelled")
    reply = run_caller(bare_environment, fleet, _OUTCOME, id=job_id)
    assert (reply["state"], reply["raised"]) == ("REVOKED", "TaskRevokedError")
    fleet.client._redis.hdel(names.HOLDS, "tenant:default")
    time.sleep(2)  # the dispatcher looks once a second
    assert calls(fleet) == before


def test_a_revoke_outlives_the_workers_that_heard_it(bare_environment: Path, fleet: Fleet) -> None:
    """A job that was revoked before any worker met it is cancelled by workers started later."""
    before = calls(fleet)
    run_caller(bare_environment, fleet, _REVOKED, id="early", terminate=False)
    until(lambda: bool(fleet.client._redis.exists(names.REVOKED + "early")), 20, "the revoke")
    fleet.workers[-1].terminate()
    fleet.workers[-1].wait(30)
    fleet.start_workers(1)
    options = {"task_id": "early"}
    run_caller(bare_environment, fleet, _SENT, blobs=blobs(fleet, 41), options=options)
    until(lambda: state(fleet, "early") == "cancelled", 20, "the job to be cancelled")
    reply = run_caller(bare_environment, fleet, _OUTCOME, id="early")
    assert reply["state"] == "REVOKED"
    assert calls(fleet) == before


def test_tasks_of_another_program_stay(bare_environment: Path, fleet: Fleet) -> None:
    """In a queue that another program uses too, its tasks stay, untouched and unanswered."""
    redis = fleet.client._redis
    letters = redis.zcard(names.DEAD_LETTERS)
    theirs = run_caller(bare_environment, fleet, _THEIRS)
    logs = [*fleet.logs.glob("worker-*.log")]
    until(
        lambda: any("tasks of another program" in log.read_text() for log in logs),
        20,
        "the queue to be left",
    )
    until(lambda: redis.llen(names.QUEUE_CELERY_DEFAULT) == len(theirs), 10, "all to be there")
    messages: Any = redis.lrange(names.QUEUE_CELERY_DEFAULT, 0, -1)
    assert all(any(task.encode() in message for message in messages) for task in theirs)
    assert run_caller(bare_environment, fleet, _STATES, ids=theirs) == ["PENDING"] * len(theirs)
    assert redis.zcard(names.DEAD_LETTERS) == letters
    (answered, _) = run_caller(bare_environment, fleet, _GROUP, blobs=blobs(fleet, 51, 52))
    assert answered["state"] == "SUCCESS"
