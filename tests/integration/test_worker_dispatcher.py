"""The thread that moves jobs from their lanes to the workers, on a real Redis."""

from __future__ import annotations

import json
import statistics
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from celery import Celery
from kombu.exceptions import OperationalError
from pydantic import SecretStr

from tests.support.ledger import BOTH, moment, new_job
from tests.support.waiting import until
from tests.support.worker import Recorder
from tests.support.worker_ledger import WorkerLedger
from visionq.contract import DelayReason
from visionq.devstack.redis_server import running_redis
from visionq.ledger import Claim, Ending, Hint, LedgerOptions, Parked, Registration
from visionq.ledger.views import job_views, result_of
from visionq.names import QUEUE_BULK, QUEUE_INTERACTIVE, TASK_ANALYZE, TASK_RUN, WAKE
from visionq.redis_connection import connect
from visionq.settings import Settings
from worker.celery import transport
from worker.celery.app import celery_config
from worker.threads.dispatcher import Dispatcher, HintPublisher

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from redis import Redis

OPTIONS = LedgerOptions(slots_per_hint_ahead=0, first_wait_for_claim=0.4, broker_is_here=False)


class Fleet:
    """A dispatcher whose hints are kept, and a worker with some slots."""

    def __init__(self, redis: Redis, slots: int, options: LedgerOptions) -> None:
        self.redis = redis
        self.ledger = WorkerLedger(redis, options)
        self.sent = Recorder()
        self.here = Registration("w1", slots, BOTH)
        self.ledger.renew(self.here)
        self.dispatcher = Dispatcher(redis, self.ledger, self.sent)  # type: ignore[arg-type]

    def submit(self, **fields: Any) -> str:
        job = new_job(**fields)
        self.ledger.submit([job])
        return job.id

    def hinted_after(self, job_id: str) -> float:
        """Return the seconds from now to the job's hint."""
        began = time.monotonic()
        until(lambda: job_id in self.sent.ids())
        return next(at for at, hint in self.sent.hints if hint.id == job_id) - began


@contextmanager
def dispatching(redis: Redis, slots: int = 4, options: LedgerOptions = OPTIONS) -> Iterator[Fleet]:
    fleet = Fleet(redis, slots, options)
    fleet.dispatcher.start()
    try:
        yield fleet
    finally:
        fleet.dispatcher.stop()
        fleet.dispatcher.join(5)


def test_is_woken(redis: Redis) -> None:
    """A job is hinted at as soon as it is submitted, not at the next tick."""
    with dispatching(redis, slots=100) as fleet:
        waits = [fleet.hinted_after(fleet.submit()) for _ in range(9)]
    assert statistics.median(waits) < 0.1


def test_a_hint_for_each_free_slot(redis: Redis) -> None:
    """As many jobs are hinted at as there are free slots; each that ends makes place for one."""
    with dispatching(redis, slots=3) as fleet:
        ids = [fleet.submit() for _ in range(6)]
        until(lambda: len(fleet.sent.hints) == 3)
        assert fleet.sent.ids() == ids[:3]
        claims = [fleet.ledger.claim(job_id, f"t-{job_id}", fleet.here) for job_id in ids[:3]]
        time.sleep(0.3)
        assert len(fleet.sent.hints) == 3  # the slots are full now
        assert isinstance(claims[0], Claim)
        fleet.ledger.finish(claims[0], Ending(Parked(DelayReason.INSUFFICIENT_BALANCE)))
        until(lambda: len(fleet.sent.hints) == 4)
        assert fleet.sent.ids()[3] == ids[3]


def test_fails_what_waited_too_long(redis: Redis) -> None:
    """A job whose deadline passes in its lane fails, for its Celery caller too."""
    with dispatching(redis, slots=1) as fleet:
        fleet.submit()
        until(lambda: len(fleet.sent.hints) == 1)
        late = fleet.submit(deadline=moment(time.time() + 0.2))
        until(lambda: job_views(redis, [late])[0].state == "failed")  # type: ignore[union-attr]
    view = job_views(redis, [late])[0]
    assert view is not None
    assert view.reason == "deadline_exceeded"
    status, _ = result_of(redis, late) or ("", None)
    assert status == "FAILURE"


def test_hints_that_nobody_claims_come_again(redis: Redis) -> None:
    """A hint that was lost on its way is sent again, later each time."""
    with dispatching(redis) as fleet:
        fleet.submit()
        until(lambda: len(fleet.sent.hints) >= 3)
    moments = [at for at, _ in fleet.sent.hints]
    assert moments[1] - moments[0] >= 0.4
    assert moments[2] - moments[1] >= 0.8


@pytest.mark.parametrize("error", [OperationalError("no broker"), RuntimeError("our own fault")])
def test_a_broker_that_fails(redis: Redis, error: Exception) -> None:
    """Hints that can't be published are published when they can; the thread lives on."""
    with dispatching(redis) as fleet:
        fleet.sent.error = error
        job_id = fleet.submit()
        time.sleep(0.3)
        fleet.sent.error = None
        fleet.hinted_after(job_id)


def test_survives_redis(tmp_path: Path) -> None:
    """After an outage of Redis jobs are dispatched as before."""
    with (
        running_redis(tmp_path) as server,
        connect(server.url, "tests", retries=0) as redis,
        dispatching(redis) as fleet,
    ):
        fleet.hinted_after(fleet.submit())
        server.kill()
        time.sleep(1)
        server.start()
        fleet.ledger.renew(fleet.here)
        assert fleet.hinted_after(fleet.submit()) < 3


def test_passes_a_wake_up_on(redis: Redis) -> None:
    """A dispatcher that is woken while it ends leaves the call to another."""
    with dispatching(redis) as fleet:
        until(lambda: redis.llen(WAKE) == 0)
        time.sleep(0.1)  # it waits to be woken
        fleet.dispatcher.stop()
        redis.lpush(WAKE, "1")
    assert redis.llen(WAKE) == 1


def test_two_dispatchers_take_each_job_once(redis: Redis) -> None:
    """A fleet that dispatches together hints at each job once."""
    patient = LedgerOptions()
    with dispatching(redis, 200, patient) as one, dispatching(redis, 200, patient) as other:
        ids = [one.submit() for _ in range(100)]
        until(lambda: len(one.sent.hints) + len(other.sent.hints) >= 100)
    assert sorted(one.sent.ids() + other.sent.ids()) == sorted(ids)


def test_ended_before_it_began(redis: Redis) -> None:
    """A dispatcher that never started can be ended."""
    fleet = Fleet(redis, 1, OPTIONS)
    fleet.dispatcher.stop()
    fleet.dispatcher.join(1)


# What is published --------------------------------------------------------------------------------


@pytest.fixture
def app(redis_url: str) -> Iterator[Celery]:
    app = Celery("hints", set_as_current=False)
    app.config_from_object(celery_config(Settings(redis_url=SecretStr(redis_url))))
    app.conf.imports = ()
    yield app
    app.close()


def test_the_message(redis: Redis, app: Celery) -> None:
    """A hint names its job by its id, shows what may be shown, and carries nothing."""
    HintPublisher(app).publish([Hint("job-1", QUEUE_BULK, "team", "m1", 2)])
    (raw,) = redis.lrange(QUEUE_BULK, 0, -1)
    message = json.loads(raw)
    headers = message["headers"]
    assert (headers["id"], headers["task"], headers["shadow"]) == ("job-1", TASK_RUN, TASK_ANALYZE)
    assert headers["argsrepr"] == "tenant=team model=m1 pictures=2"
    assert (headers["eta"], headers["expires"], headers["ignore_result"]) == (None, None, True)
    assert message["properties"]["delivery_info"]["routing_key"] == QUEUE_BULK


def test_hints_go_out_by_one_command(
    redis: Redis, app: Celery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each queue gets its hints by one command, in the form and order that kombu gives them."""
    hints = [
        Hint(f"job-{number}", queue, '%s "тест"', "m%1", 2)
        for number in range(3)
        for queue in (QUEUE_BULK, QUEUE_INTERACTIVE)
    ]
    publisher = HintPublisher(app)
    publisher.publish(hints[:1])  # connects
    redis.delete(QUEUE_BULK)
    redis.config_resetstat()
    publisher.publish(hints)
    stats: Any = redis.info("commandstats")
    assert stats["cmdstat_lpush"]["calls"] == 2
    ours = messages(redis)
    monkeypatch.delattr(transport.Channel, "push")
    redis.delete(*BOTH)
    publisher.publish(hints)
    assert messages(redis) == ours


def messages(redis: Redis) -> list[Any]:
    found = [json.loads(raw) for queue in BOTH for raw in redis.lrange(queue, 0, -1)]
    tags = {message["properties"].pop("delivery_tag") for message in found}
    assert len(tags) == len(found)
    return found


def test_publishing_after_an_outage(tmp_path: Path) -> None:
    """A publisher whose broker went away says so in good time, and works when it is back."""
    hint = Hint("job-1", QUEUE_BULK, "team", "m1", 1)
    with running_redis(tmp_path) as server:
        app = Celery("hints", set_as_current=False)
        app.config_from_object(celery_config(Settings(redis_url=SecretStr(server.url))))
        app.conf.imports = ()
        publisher = HintPublisher(app)
        publisher.publish([hint])
        server.kill()
        began = time.monotonic()
        with pytest.raises(OperationalError):
            publisher.publish([hint])
        assert time.monotonic() - began < 10
        server.start()
        publisher.publish([hint])
        with connect(server.url, "tests") as redis:
            assert redis.llen(QUEUE_BULK) >= 1
        app.close()
