"""A plain Celery program that waits for a job is answered by whichever script ends it."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.ledger import LedgerDriver, completed, moment, new_job, outcome_of, paid, unpaid
from visionq.errors import DeadlineExceeded, NotAnImage
from visionq.names import CELERY_RESULT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from redis import Redis

    from visionq.ledger import Claim


@pytest.fixture
def celery(redis_url: str) -> Iterator[Any]:
    """A program with a broker, a backend, and no other setting."""
    from celery import Celery  # noqa: PLC0415  # takes seconds, and only these tests need it

    app: Any = Celery("caller", broker=redis_url, backend=redis_url)
    yield app
    app.backend.result_consumer.stop()
    app.close()


class Caller(threading.Thread):
    """Waits for a result; `said` is what came, `late` how long after the end."""

    def __init__(self, app: Any, job_id: str) -> None:
        super().__init__(daemon=True)
        self.result = app.AsyncResult(job_id)
        self.said: object = None
        self.came = 0.0

    def run(self) -> None:
        try:
            # Nothing but the announcement ends so long an interval.
            self.said = self.result.get(timeout=20, interval=20)
        except Exception as error:  # noqa: BLE001  # any error: the test looks at it
            self.said = error
        self.came = time.monotonic()


def _ask(app: Any, driver: LedgerDriver, job_id: str, end: Callable[[], object]) -> object:
    caller = Caller(app, job_id)
    caller.start()
    channel = CELERY_RESULT + job_id
    for _ in range(500):
        if driver.redis.pubsub_numsub(channel)[0][1]:
            break
        time.sleep(0.01)
    time.sleep(0.1)  # it has looked at the result that is not there yet
    end()
    ended = time.monotonic()
    caller.join(20)
    assert caller.came - ended < 2
    return caller.said


def _claimed(driver: LedgerDriver) -> Claim:
    return driver.begin()


def test_wakes_the_caller(redis: Redis, celery: Any) -> None:
    """A caller that waits in `get` has the result document as soon as the job completes."""
    driver = LedgerDriver(redis)
    claim = _claimed(driver)
    said = _ask(
        celery,
        driver,
        claim.id,
        lambda: driver.ledger.finish(claim, paid(completed(claim.id, "кот"))),
    )
    assert isinstance(said, dict)
    assert (said["id"], said["text"]) == (claim.id, "кот")


def test_raises_for_the_caller(redis: Redis, celery: Any) -> None:
    """It raises the error of a job that failed, cancelled, or passed its deadline."""
    from celery.exceptions import TaskRevokedError  # noqa: PLC0415  # as above

    driver = LedgerDriver(redis)
    claim = _claimed(driver)
    end = unpaid(outcome_of("failed", claim.id))
    said = _ask(celery, driver, claim.id, lambda: driver.ledger.finish(claim, end))
    assert isinstance(said, NotAnImage)
    assert str(said).startswith("not_an_image: a.png: ")

    first, second = driver.enter(new_job(), new_job(deadline=moment(driver.clock.now)))
    said = _ask(celery, driver, first, lambda: driver.ledger.cancel([first]))
    assert isinstance(said, TaskRevokedError)
    said = _ask(celery, driver, second, lambda: driver.ledger.expire([second]))
    assert isinstance(said, DeadlineExceeded)


def test_waits_through_a_retry(redis: Redis, celery: Any) -> None:
    """A job that waits is RETRY to Celery, and `get` waits on until it has ended."""
    driver = LedgerDriver(redis)
    claim = _claimed(driver)
    driver.ledger.finish(claim, unpaid(outcome_of("waiting 0", claim.id)))
    assert celery.AsyncResult(claim.id).status == "RETRY"
    driver.hints()
    second = driver.claim(claim.id, driver.worker())

    said = _ask(
        celery,
        driver,
        claim.id,
        lambda: driver.ledger.finish(second, paid(completed(claim.id, "yes"))),
    )
    assert isinstance(said, dict)
    assert said["text"] == "yes"


def test_ended_before_anybody_asked(redis: Redis, celery: Any) -> None:
    """A later question gets the same result."""
    driver = LedgerDriver(redis)
    claim = _claimed(driver)
    driver.ledger.finish(claim, paid(completed(claim.id, "yes")))
    assert celery.AsyncResult(claim.id).get(timeout=5)["text"] == "yes"
