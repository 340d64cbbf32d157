"""What callers ask of Celery itself is honoured, or refused by name; other programs are let be."""

from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.bare_celery import run_caller
from tests.support.checkout import ROOT
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
#: Option of docs/producing.md → what the caller gives, and what the refusal says.
_REFUSED = {
    "countdown": ("countdown=3600", "countdown or eta: not supported"),
    "eta": ("eta='2036-12-01T12:00:00+00:00'", "countdown or eta: not supported"),
    "time_limit": ("time_limit=10", "time_limit: not supported"),
    "soft_time_limit": ("soft_time_limit=10", "time_limit: not supported"),
    "stamps": ("order='7', stamped_headers=['order']", "stamps: not supported"),
    "args": ("args=['?']", "args: at most one object"),
    "pickle": ("serializer='pickle'", "only JSON is read"),
}
_TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
#: Option of docs/producing.md → what the caller gives; the job is answered.
_HONOURED = {
    "ignore_result": "ignore_result=True",
    "priority": "priority=9",
    "shadow": "shadow='shop.question'",
    "headers": f"headers={{'traceparent': '{_TRACE}', 'order': '7'}}",
    "root_id": "root_id='r'",
    "parent_id": "parent_id='p'",
    "reply_to": "reply_to='shop'",
    "exchange": "exchange='visionq.intake', routing_key='visionq.intake'",
    "retry": "retry=True, retry_policy={'max_retries': 3}",
    'serializer="json"': "serializer='json'",
    "compression": "compression='gzip'",
    "expires": "expires=600",
}
#: The other options of the page, which have tests of their own here and in test_canvases.py.
_ELSEWHERE = [
    "task_id",
    "queue",
    "routing_key",
    "retry_policy",
    "group",
    "link",
    "link_error",
    "chain",
    "chord",
    "AsyncResult.revoke()",
    "terminate=True",
    "app.control.revoke",
    "terminate",
    "map",
    "starmap",
    "chunks",
]
_MAPPED = f"""{_ASK}
@app.task(name="visionq.analyze")
def analyze(document): ...

document = ask(0).kwargs
reply({{
    "map": outcome(analyze.map([document]).apply_async(queue="visionq.intake")),
    "starmap": outcome(analyze.starmap([[document]]).apply_async(queue="visionq.intake")),
    "chunks": outcome(analyze.chunks([[document]] * 2, 2).apply_async(queue="visionq.intake")[0]),
}})
"""
_GROUP = f"""{_ASK}
reply([outcome(child) for child in group(ask(0), ask(1)).apply_async()])
"""
_EXPIRES = f"{_ASK}\nreply(outcome(ask(0).apply_async(expires=2)))"
_SENT = f"{_ASK}\nreply(ask(0).apply_async(**given['options']).id)"
_REVOKED = "app.AsyncResult(given['id']).revoke(terminate=given['terminate']); reply(None)"
_REVOKED_WHILE_CALLED = f"""{_ASK}
import time, urllib.request

def calls():
    return json.load(urllib.request.urlopen(given["bill"]))["calls"]

before, sent = calls(), ask(0).apply_async()
while calls() == before:
    time.sleep(0.05)
sent.revoke(terminate=True)
reply(outcome(sent))
"""
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
    fleet.redis.hset(names.HOLDS, "tenant:default", "paused")
    yield
    fleet.redis.hdel(names.HOLDS, "tenant:default")


def blobs(fleet: Fleet, *numbers: int) -> list[str]:
    return fleet.client._blobs.put([picture(number) for number in numbers])


def calls(fleet: Fleet) -> int:
    count: int = fleet.simulator.bill()["calls"]
    return count


def sent_with(options: dict[str, str]) -> str:
    """Return a program that sends a job with each option, and replies with their outcomes."""
    results = ", ".join(f"{name!r}: send({given})" for name, given in options.items())
    return f"""{_ASK}
def send(**options):
    return app.send_task("visionq.analyze", kwargs=ask(0).kwargs, queue="visionq.intake", **options)

sent = {{{results}}}
reply({{name: outcome(app.AsyncResult(result.id)) for name, result in sent.items()}})
"""


def state(fleet: Fleet, job_id: str) -> str | None:
    found: Any = fleet.redis.hget(names.JOB + job_id, "state")
    return found.decode() if found else None


def test_each_option_of_the_page_has_a_test() -> None:
    """No option is named in the table of docs/producing.md without a test that gives it."""
    page = (ROOT / "docs" / "producing.md").read_text(encoding="utf-8")
    table = page.partition("| Option | What happens |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| (.*?) \|", table, re.MULTILINE)
    options = {name for row in rows for name in re.findall(r"`([^`]+)`", row)}
    words = {word for word in ("stamps", "pickle") if any(word in row for row in rows)}
    assert options | words == {*_REFUSED, *_HONOURED, *_ELSEWHERE}


def test_what_would_be_dropped_is_refused(bare_environment: Path, fleet: Fleet) -> None:
    """Each option that no job can have fails at once under its own name, and nothing is paid."""
    before = calls(fleet)
    sent = sent_with({option: given for option, (given, _) in _REFUSED.items()})
    replies = run_caller(bare_environment, fleet, sent, blobs=blobs(fleet, 1))
    for option, (_, says) in _REFUSED.items():
        assert says in replies[option]["error"], option
    assert calls(fleet) == before


def test_what_can_be_kept_is_kept(bare_environment: Path, fleet: Fleet) -> None:
    """Each other option leaves a job that is answered; a trace and a deadline go with it."""
    program = sent_with(_HONOURED)
    replies = run_caller(bare_environment, fleet, program, blobs=blobs(fleet, 2))
    assert {option: reply["state"] for option, reply in replies.items()} == dict.fromkeys(
        _HONOURED, "SUCCESS"
    )
    trace: Any = fleet.redis.hget(names.JOB + replies["headers"]["id"], "trace")
    assert trace.decode() == _TRACE
    document: Any = fleet.redis.hget(names.JOB + replies["expires"]["id"], "document")
    assert json.loads(document)["deadline"]


def test_maps_and_chunks_are_refused(bare_environment: Path, fleet: Fleet) -> None:
    """The tasks that Celery makes of `map`, `starmap` and `chunks` fail by name, unpaid."""
    before = calls(fleet)
    replies = run_caller(bare_environment, fleet, _MAPPED, blobs=blobs(fleet, 1))
    for option, reply in replies.items():
        assert "map, starmap, chunks: not supported; send a group" in reply["error"], option
    assert calls(fleet) == before


def test_a_task_id_is_the_job_id(bare_environment: Path, fleet: Fleet) -> None:
    """A message that is sent twice under one id is one job, paid once."""
    before = calls(fleet)
    options = {"task_id": "shop-7"}
    for _ in range(2):
        run_caller(bare_environment, fleet, _SENT, blobs=blobs(fleet, 3), options=options)
        reply = run_caller(bare_environment, fleet, _OUTCOME, id="shop-7")
        assert (reply["state"], reply["answer"]["id"]) == ("SUCCESS", "shop-7")
    assert calls(fleet) == before + 1


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
    fleet.redis.hdel(names.HOLDS, "tenant:default")
    time.sleep(2)  # the dispatcher looks once a second
    assert calls(fleet) == before


def test_a_revoke_keeps_a_call_that_is_out(bare_environment: Path, fleet: Fleet) -> None:
    """`terminate=True` while the provider answers cancels the job, and ends no worker."""
    before = calls(fleet)
    fleet.simulator.configure(latency_s=3)
    bill = f"{fleet.simulator.url}/simulator/bill"
    pictures = blobs(fleet, 35)
    reply = run_caller(bare_environment, fleet, _REVOKED_WHILE_CALLED, blobs=pictures, bill=bill)
    fleet.simulator.configure(latency_s=0)
    assert reply["state"] == "REVOKED"
    again = run_caller(bare_environment, fleet, _SENT, blobs=pictures, options={})
    reply = run_caller(bare_environment, fleet, _OUTCOME, id=again)
    assert reply["answer"]["cached"]
    assert (calls(fleet), fleet.workers[-1].poll()) == (before + 1, None)


def test_a_revoke_outlives_the_workers_that_heard_it(bare_environment: Path, fleet: Fleet) -> None:
    """A job that was revoked before any worker met it is cancelled by workers started later."""
    before = calls(fleet)
    run_caller(bare_environment, fleet, _REVOKED, id="early", terminate=False)
    until(lambda: bool(fleet.redis.exists(names.REVOKED + "early")), 20, "the revoke")
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
    redis = fleet.redis
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
