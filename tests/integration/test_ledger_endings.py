"""How jobs end, and what becomes of their money, answers and pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.ledger import (
    SHA,
    LedgerDriver,
    completed,
    new_job,
    outcome_of,
    paid,
    unclear,
    unpaid,
    with_blobs,
)
from visionq.contract import State
from visionq.ledger import Claim, ClaimRefusal, LedgerOptions, Verdict
from visionq.ledger.views import job_views, result_of
from visionq.names import (
    ANSWER,
    BATCH,
    BLOB,
    BLOB_REFERENCES,
    CELERY_RESULT,
    GATE,
    IDEMPOTENCY,
    JOB,
    MONEY,
)

if TYPE_CHECKING:
    from redis import Redis

OPTIONS = LedgerOptions(result_ttl=600, answer_ttl=500, blob_grace=300)


@pytest.fixture
def driver(any_redis: Redis) -> LedgerDriver:
    return LedgerDriver(any_redis, OPTIONS)


def _sent(driver: LedgerDriver, reserve: int = 900, **fields: Any) -> Claim:
    claim = driver.begin(new_job(**fields))
    assert driver.ledger.admit(claim, reserve=reserve).verdict is Verdict.GO
    return claim


def _next_claim(driver: LedgerDriver, job_id: str, name: str = "w2") -> Claim:
    worker = driver.worker(name)
    driver.hints()
    return driver.claim(job_id, worker)


@pytest.mark.parametrize("where", ["queued", "hinted", "waiting 9", "parked", "in_progress"])
def test_cancel_anywhere(driver: LedgerDriver, where: str) -> None:
    """Cancel works in every state, frees what the job held, and wakes its waiters."""
    job = new_job()
    if where == "queued":
        driver.enter(job)
    else:
        driver.enter(job)
        worker = driver.worker()
        driver.hints()
        if where != "hinted":
            claim = driver.claim(job.id, worker)
            if where != "in_progress":
                kind = "parked insufficient_balance 60" if where == "parked" else where
                driver.ledger.finish(claim, unpaid(outcome_of(kind, job.id)))
    assert driver.ledger.cancel([job.id]) == [where.partition(" ")[0]]
    assert driver.state(job.id) is State.CANCELLED
    assert driver.ledger.cancel([job.id, "nobody"]) == ["cancelled", "missing"]
    status, result = result_of(driver.redis, job.id) or ("", {})
    assert (status, result["exc_type"]) == ("REVOKED", "TaskRevokedError")
    assert driver.redis.zcard("visionq:due") == driver.redis.zcard("visionq:parked") == 0
    assert {*driver.redis.hvals("visionq:hinted"), *driver.redis.hvals("visionq:pool-busy")} <= {
        b"0"
    }
    assert driver.pass_time(100) == []


def test_cancel_before_the_call(driver: LedgerDriver) -> None:
    """A worker whose job was cancelled before the call is not let through."""
    claim = driver.begin()
    driver.ledger.cancel([claim.id])
    admission = driver.ledger.admit(claim, reserve=900)
    assert (admission.verdict, admission.state) == (Verdict.REFUSED, State.CANCELLED)
    assert driver.money() == {}


def test_cancel_after_the_call(driver: LedgerDriver) -> None:
    """The answer of a call that was out at the cancel is kept, paid, and good for others."""
    claim = _sent(driver)
    driver.ledger.cancel([claim.id])
    assert driver.money() == {"reserved": 900}
    assert not driver.ledger.finish(claim, paid(completed(claim.id, "late", "key"), cost=700))
    assert driver.state(claim.id) is State.CANCELLED
    assert driver.money() == {"settled": 700}
    other = driver.begin(worker=driver.worker("w2"))
    admission = driver.ledger.admit(other, cache_key="key", reserve=900)
    assert admission.verdict is Verdict.ANSWER
    assert '"text":"late"' in (admission.answer or "")


def test_cancelled_and_never_heard_of(driver: LedgerDriver) -> None:
    """If the worker of a cancelled call dies, the money is unknown once its lease lapsed."""
    claim = _sent(driver)
    driver.ledger.cancel([claim.id])
    assert driver.redis.ttl(JOB + claim.id) == -1, "its money is still to be accounted for"
    driver.pass_time(9)
    assert driver.money() == {"reserved": 900}
    driver.pass_time(2)
    assert driver.money() == {"unknown": 900, "unknown_calls": 1}
    assert 0 < driver.redis.ttl(JOB + claim.id) <= 600
    driver.ledger.finish(claim, paid(completed(claim.id), cost=650))
    assert driver.money() == {"settled": 650}


def test_money_of_a_call(driver: LedgerDriver) -> None:
    """A call's reservation is settled at its cost, or released, or unknown."""
    for ending, expected in (
        (paid(outcome_of("failed", "x"), cost=300), {"settled": 300}),
        (unpaid(outcome_of("waiting 5", "x")), {"settled": 300}),
        (
            unclear(outcome_of("parked billing_unknown", "x")),
            {"settled": 300, "unknown": 900, "unknown_calls": 1},
        ),
    ):
        before = driver.money()
        claim = _sent(driver)
        assert driver.money() == before | {"reserved": 900}
        driver.ledger.finish(claim, ending)
        assert driver.money() == expected


def test_admit_can_be_repeated(driver: LedgerDriver) -> None:
    """The same call asked for again, after a lost reply, reserves nothing twice."""
    claim = _sent(driver)
    assert driver.ledger.admit(claim, reserve=900).verdict is Verdict.GO
    assert driver.money() == {"reserved": 900}


def test_unsent_attempt_costs_nothing(driver: LedgerDriver) -> None:
    """A worker that died before the call leaves no trace in the books."""
    claim = driver.begin()
    driver.lapse(claim)
    assert driver.money() == {}
    assert not _next_claim(driver, claim.id).interrupted


def test_lapsed_call_is_unknown(driver: LedgerDriver) -> None:
    """A worker that died after it leaves its money unknown, and the next claim learns it."""
    claim = _sent(driver)
    driver.lapse(claim)
    assert driver.money() == {"unknown": 900, "unknown_calls": 1}
    second = _next_claim(driver, claim.id)
    assert (second.interrupted, second.unknown_calls) == (True, 1)


def test_late_refusal_clears_the_interruption(driver: LedgerDriver) -> None:
    """If it turns out later that the lost call was not billed, it is no longer reported."""
    claim = _sent(driver)
    driver.lapse(claim)
    driver.ledger.finish(claim, unpaid(outcome_of("waiting 5", claim.id)))
    assert driver.money() == {}
    second = _next_claim(driver, claim.id)
    assert (second.interrupted, second.unknown_calls) == (False, 0)


@pytest.mark.parametrize("cache_key", ["", "key"])
def test_late_answer_wakes_the_parked(driver: LedgerDriver, cache_key: str) -> None:
    """An answer that comes after its job was parked for it wakes the job, which uses it."""
    late = _sent(driver)
    driver.lapse(late)
    second = _next_claim(driver, late.id)
    driver.ledger.finish(second, unpaid(outcome_of("parked billing_unknown", late.id)))
    assert driver.pass_time(100) == []
    answer = completed(late.id, "late", cache_key)
    assert not driver.ledger.finish(late, paid(answer, cost=700))
    assert driver.money() == {"settled": 700}
    third = _next_claim(driver, late.id, "w3")
    assert (third.interrupted, third.cost) == (False, 700)
    admission = driver.ledger.admit(third, cache_key="", reserve=900)
    assert admission.verdict is Verdict.ANSWER
    assert '"text":"late"' in (admission.answer or "")
    assert driver.ledger.finish(third, unpaid(completed(late.id, "late")))
    assert driver.money() == {"settled": 700}


def test_late_answer_of_the_one_who_parked(driver: LedgerDriver) -> None:
    """The same holds when the answer comes from the attempt that had given it up, said twice."""
    claim = _sent(driver)
    for _ in range(2):
        assert driver.ledger.finish(claim, unclear(outcome_of("parked billing_unknown", claim.id)))
    driver.ledger.finish(claim, paid(completed(claim.id, "late"), cost=700))
    assert driver.money() == {"settled": 700}
    second = _next_claim(driver, claim.id)
    assert driver.ledger.admit(second).verdict is Verdict.ANSWER


def test_answer_between_lapse_and_park(driver: LedgerDriver) -> None:
    """An answer that comes before its job is parked for want of it does not leave it parked."""
    late = _sent(driver)
    driver.lapse(late)
    second = _next_claim(driver, late.id)
    driver.ledger.finish(late, paid(completed(late.id, "late"), cost=700))
    driver.ledger.finish(second, unpaid(outcome_of("parked billing_unknown", late.id)))
    third = _next_claim(driver, late.id, "w3")
    assert driver.ledger.admit(third).verdict is Verdict.ANSWER


def _parked_unclear(driver: LedgerDriver) -> Claim:
    """Return the claim of a call that was given up, and whose job is parked for it."""
    claim = _sent(driver)
    driver.ledger.finish(claim, unclear(outcome_of("parked billing_unknown", claim.id)))
    assert driver.state(claim.id) is State.PARKED
    return claim


def test_a_call_that_was_not_billed_after_all(driver: LedgerDriver) -> None:
    """A job that is parked for it goes on when its call turns out to have cost nothing."""
    claim = _parked_unclear(driver)
    driver.ledger.finish(claim, unpaid(outcome_of("retrying 5", claim.id)))
    assert [hint.id for hint in driver.hints()] == [claim.id]
    assert driver.money() == {}


def test_a_paid_failure_that_comes_late(driver: LedgerDriver) -> None:
    """It is the end of a job that was parked for want of it: nobody pays for another."""
    claim = _parked_unclear(driver)
    driver.ledger.finish(claim, paid(outcome_of("failed", claim.id)))
    assert driver.state(claim.id) is State.FAILED
    assert driver.money() == {"settled": 700}
    assert driver.hints() == ()


def test_a_faulty_answer_that_comes_late(driver: LedgerDriver) -> None:
    """It is repaired like any other: its pictures are not paid for again."""
    claim = _parked_unclear(driver)
    driver.ledger.finish(claim, paid(outcome_of("mending", claim.id, "almost")))
    (hint,) = driver.hints()
    again = driver.claim(hint.id, driver.worker())
    assert again.faulty is not None
    assert again.faulty.text == "almost"


def test_not_billed_between_lapse_and_park(driver: LedgerDriver) -> None:
    """Nor does a job stay parked for a call that was known to be free when it was parked."""
    claim = _sent(driver)
    driver.lapse(claim)
    again = _next_claim(driver, claim.id)
    assert again.interrupted
    driver.ledger.finish(claim, unpaid(outcome_of("retrying 5", claim.id)))
    driver.ledger.finish(again, unpaid(outcome_of("parked billing_unknown", claim.id)))
    assert [hint.id for hint in driver.hints()] == [claim.id]


def test_paid_answer_of_a_forgotten_job(driver: LedgerDriver) -> None:
    """When all else of the job has expired, a paid answer is kept for the same question."""
    claim = _sent(driver)
    driver.ledger.cancel([claim.id])
    driver.redis.delete(JOB + claim.id)
    driver.ledger.finish(claim, paid(completed(claim.id, "late", "key")))
    assert 0 < driver.redis.ttl(ANSWER + "key") <= 500


def test_stored_answer(driver: LedgerDriver) -> None:
    """An answer is stored under its content key and given instead of a call."""
    claim = _sent(driver)
    driver.ledger.finish(claim, paid(completed(claim.id, "first", "key")))
    other = driver.begin(worker=driver.worker("w2"))
    assert driver.ledger.admit(other, cache_key="key", reserve=9).verdict is Verdict.ANSWER
    assert driver.ledger.admit(other, cache_key="", reserve=9).verdict is Verdict.GO


def test_end_is_told_to_celery(driver: LedgerDriver) -> None:
    """Each way to end sets Celery's own result, before anything else can be seen of it."""
    claim = _sent(driver)
    driver.ledger.finish(claim, paid(completed(claim.id, "yes")))
    assert (result_of(driver.redis, claim.id) or ("",))[0] == "SUCCESS"
    claim = driver.begin()
    driver.ledger.finish(claim, unpaid(outcome_of("waiting 1", claim.id)))
    assert (result_of(driver.redis, claim.id) or ("",))[0] == "RETRY"
    driver.clock.now += 1
    claim = _next_claim(driver, claim.id)
    driver.ledger.finish(claim, unpaid(outcome_of("failed", claim.id)))
    assert (result_of(driver.redis, claim.id) or ("",))[0] == "FAILURE"
    (view,) = job_views(driver.redis, [claim.id])
    assert view is not None
    assert view.error is not None
    assert view.error.image == "a.png"


def test_everything_finished_expires(driver: LedgerDriver) -> None:
    """Nothing that an unfinished job needs expires; all of it does once the job ended."""
    driver.redis.set(BLOB + SHA["a"], b"picture", ex=60)
    job = new_job(images=with_blobs("a"), idempotency_key="k", batch_id="b")
    claim = driver.begin(job)
    (key,) = driver.redis.keys(IDEMPOTENCY + "*")
    held = [JOB + job.id, BLOB + SHA["a"], key, BATCH + "b"]
    assert [driver.redis.ttl(name) for name in held] == [-1] * 4
    driver.ledger.finish(claim, paid(completed(job.id)))
    left = [driver.redis.ttl(name) for name in (*held, CELERY_RESULT + job.id)]
    assert [round(ttl, -2) for ttl in left] == [600, 300, 600, 600, 600]


def test_blob_of_two_jobs(driver: LedgerDriver) -> None:
    """A blob is kept until the last job that needs it ended; named twice it counts once."""
    driver.redis.set(BLOB + SHA["a"], b"picture", ex=60)
    first, second = driver.enter(
        new_job(images=with_blobs("a", "a")), new_job(images=with_blobs("a"))
    )
    assert driver.redis.hget(BLOB_REFERENCES, SHA["a"]) == b"2"
    driver.ledger.cancel([first])
    assert driver.redis.ttl(BLOB + SHA["a"]) == -1
    driver.ledger.cancel([second])
    assert driver.redis.ttl(BLOB + SHA["a"]) > 0
    assert driver.redis.hlen(BLOB_REFERENCES) == 0


def test_batch_outlives_its_last_job(driver: LedgerDriver) -> None:
    """A batch's counts are kept while one of its jobs has not ended, however long that takes."""
    first, second = driver.enter(new_job(batch_id="b"), new_job(batch_id="b"))
    driver.ledger.cancel([first])
    assert driver.redis.ttl(BATCH + "b") == -1
    driver.ledger.cancel([second])
    assert driver.redis.ttl(BATCH + "b") > 0
    assert driver.redis.hgetall(BATCH + "b") == {b"total": b"2", b"cancelled": b"2"}


def test_id_that_comes_back_in_another_lane(driver: LedgerDriver) -> None:
    """A cancelled job's entry in its lane is not mistaken for a later job of the same id."""
    driver.enter(new_job("same", model="m1"), new_job("other", model="m1"))
    driver.ledger.cancel(["same"])
    driver.redis.delete(JOB + "same")
    driver.enter(new_job("same", model="m2"))
    driver.worker()
    assert {hint.id: hint.model for hint in driver.hints()} == {"same": "m2", "other": "m1"}
    assert driver.redis.hgetall("visionq:lane-sizes") == {}
    assert driver.hints() == ()


def test_ended_job_is_refused(driver: LedgerDriver) -> None:
    """No hint brings an ended job back."""
    claim = _sent(driver)
    driver.ledger.finish(claim, paid(completed(claim.id)))
    assert driver.ledger.claim(claim.id, "t", driver.worker()) == ClaimRefusal(State.COMPLETED)
    assert driver.ledger.admit(claim).verdict is Verdict.REFUSED


def test_what_was_written_down_is_forgotten(driver: LedgerDriver) -> None:
    """Nothing is left of an ended job that its owner lets go; the books and its answer stay."""
    claim = _sent(driver, idempotency_key="k1")
    driver.ledger.finish(claim, paid(completed(claim.id, cache_key="c1")))
    books = driver.money()
    assert driver.ledger.forget([claim.id, "never-heard-of"]) == 1
    assert not [key for key in driver.redis.keys("*") if claim.id.encode() in key]
    assert not driver.redis.keys(f"{IDEMPOTENCY}*")
    assert driver.money() == books
    assert driver.redis.exists(f"{ANSWER}c1")
    assert driver.ledger.forget([claim.id]) == 0


def test_open_money_is_not_forgotten(driver: LedgerDriver) -> None:
    """A job that runs, or whose last call may have been paid, stays until that is settled."""
    claim = _sent(driver)
    assert driver.ledger.forget([claim.id]) == 0
    driver.ledger.finish(claim, unclear(outcome_of("parked billing_unknown", claim.id)))
    driver.ledger.cancel([claim.id])
    assert driver.ledger.forget([claim.id]) == 0
    driver.ledger.finish(claim, paid(completed(claim.id)))
    assert driver.ledger.forget([claim.id]) == 1


@pytest.mark.parametrize("forgets", ["mark", "claim"])
def test_a_forgotten_call_is_paid_and_answers(driver: LedgerDriver, forgets: str) -> None:
    """A paid call whose mark Redis lost with its last moments is settled, once, not repeated."""
    claim = _sent(driver, reserve=900)
    job, books = JOB + claim.id, driver.money()
    driver.redis.hdel(job, "sent", "reserved", "gate", "epoch")
    driver.redis.hincrby(MONEY, "reserved", -900)
    driver.redis.hset(GATE, "calls_out", 0)
    assert books == {"reserved": 900}
    if forgets == "claim":
        driver.lapse(claim)
    ending = paid(completed(claim.id, "late"), cost=700)
    done = [bool(driver.ledger.finish(claim, ending)) for _ in range(2)]
    assert done == [forgets == "mark"] * 2
    assert driver.money() == {"settled": 700}
    if forgets == "claim":
        again = _next_claim(driver, claim.id)
        assert driver.ledger.admit(again).verdict is Verdict.ANSWER


def test_pictures_of_what_is_forgotten_go_soon(driver: LedgerDriver) -> None:
    """They need not wait for their hour, unless another job needs them."""
    for digit in "ab":
        driver.redis.set(BLOB + SHA[digit], b"picture", ex=300)
    claim = _sent(driver, images=with_blobs("a", "b"))
    driver.ledger.finish(claim, paid(completed(claim.id)))
    driver.enter(new_job(images=with_blobs("b")))
    assert driver.ledger.forget([claim.id]) == 1
    assert 0 < driver.redis.ttl(BLOB + SHA["a"]) <= 60
    assert driver.redis.ttl(BLOB + SHA["b"]) == -1
