"""How jobs end, and what becomes of their money, answers and pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.ledger_kit import (
    SHA,
    Desk,
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
def desk(any_redis: Redis) -> Desk:
    return Desk(any_redis, OPTIONS)


def _sent(desk: Desk, reserve: int = 900, **fields: Any) -> Claim:
    claim = desk.begin(new_job(**fields))
    assert desk.ledger.admit(claim, reserve=reserve).verdict is Verdict.GO
    return claim


def _next_claim(desk: Desk, job_id: str, name: str = "w2") -> Claim:
    worker = desk.worker(name)
    desk.hints()
    return desk.claim(job_id, worker)


@pytest.mark.parametrize("where", ["queued", "hinted", "waiting 9", "parked", "in_progress"])
def test_cancel_anywhere(desk: Desk, where: str) -> None:
    """Cancel works in every state, frees what the job held, and tells whoever waits for it."""
    job = new_job()
    if where == "queued":
        desk.enter(job)
    else:
        desk.enter(job)
        worker = desk.worker()
        desk.hints()
        if where != "hinted":
            claim = desk.claim(job.id, worker)
            if where != "in_progress":
                kind = "parked insufficient_balance 60" if where == "parked" else where
                desk.ledger.finish(claim, unpaid(outcome_of(kind, job.id)))
    assert desk.ledger.cancel([job.id]) == [where.partition(" ")[0]]
    assert desk.state(job.id) is State.CANCELLED
    assert desk.ledger.cancel([job.id, "nobody"]) == ["cancelled", "missing"]
    status, result = result_of(desk.redis, job.id) or ("", {})
    assert (status, result["exc_type"]) == ("REVOKED", "TaskRevokedError")
    assert desk.redis.zcard("visionq:due") == desk.redis.zcard("visionq:parked") == 0
    assert {*desk.redis.hvals("visionq:hinted"), *desk.redis.hvals("visionq:pool-busy")} <= {b"0"}
    assert desk.pass_time(100) == []


def test_cancel_before_the_call(desk: Desk) -> None:
    """A worker whose job was cancelled before the call is not let through."""
    claim = desk.begin()
    desk.ledger.cancel([claim.id])
    admission = desk.ledger.admit(claim, reserve=900)
    assert (admission.verdict, admission.state) == (Verdict.REFUSED, State.CANCELLED)
    assert desk.money() == {}


def test_cancel_after_the_call(desk: Desk) -> None:
    """The answer of a call that was out at the cancel is kept, paid, and good for others."""
    claim = _sent(desk)
    desk.ledger.cancel([claim.id])
    assert desk.money() == {"reserved": 900}
    assert not desk.ledger.finish(claim, paid(completed(claim.id, "late", "key"), cost=700))
    assert desk.state(claim.id) is State.CANCELLED
    assert desk.money() == {"settled": 700}
    other = desk.begin(worker=desk.worker("w2"))
    admission = desk.ledger.admit(other, cache_key="key", reserve=900)
    assert admission.verdict is Verdict.ANSWER
    assert '"text":"late"' in (admission.answer or "")


def test_cancelled_and_never_heard_of(desk: Desk) -> None:
    """If the worker of a cancelled call dies, the money is unknown once its lease lapsed."""
    claim = _sent(desk)
    desk.ledger.cancel([claim.id])
    assert desk.redis.ttl(JOB + claim.id) == -1, "its money is still to be accounted for"
    desk.pass_time(9)
    assert desk.money() == {"reserved": 900}
    desk.pass_time(2)
    assert desk.money() == {"unknown": 900, "unknown_calls": 1}
    assert 0 < desk.redis.ttl(JOB + claim.id) <= 600
    desk.ledger.finish(claim, paid(completed(claim.id), cost=650))
    assert desk.money() == {"settled": 650}


def test_money_of_a_call(desk: Desk) -> None:
    """What is reserved for a call is settled at its cost, or released, or unknown."""
    for ending, expected in (
        (paid(outcome_of("failed", "x"), cost=300), {"settled": 300}),
        (unpaid(outcome_of("waiting 5", "x")), {"settled": 300}),
        (
            unclear(outcome_of("parked billing_unknown", "x")),
            {"settled": 300, "unknown": 900, "unknown_calls": 1},
        ),
    ):
        before = desk.money()
        claim = _sent(desk)
        assert desk.money() == before | {"reserved": 900}
        desk.ledger.finish(claim, ending)
        assert desk.money() == expected


def test_admit_can_be_repeated(desk: Desk) -> None:
    """The same call asked for again, after a lost reply, reserves nothing twice."""
    claim = _sent(desk)
    assert desk.ledger.admit(claim, reserve=900).verdict is Verdict.GO
    assert desk.money() == {"reserved": 900}


def test_unsent_attempt_costs_nothing(desk: Desk) -> None:
    """A worker that died before the call leaves no trace in the books."""
    claim = desk.begin()
    desk.lapse(claim)
    assert desk.money() == {}
    assert not _next_claim(desk, claim.id).interrupted


def test_lapsed_call_is_unknown(desk: Desk) -> None:
    """A worker that died after it leaves its money unknown, and the next claim is told."""
    claim = _sent(desk)
    desk.lapse(claim)
    assert desk.money() == {"unknown": 900, "unknown_calls": 1}
    second = _next_claim(desk, claim.id)
    assert (second.interrupted, second.unknown_calls) == (True, 1)


def test_late_refusal_clears_the_interruption(desk: Desk) -> None:
    """If it turns out later that the lost call was not billed, nobody is told of it any more."""
    claim = _sent(desk)
    desk.lapse(claim)
    desk.ledger.finish(claim, unpaid(outcome_of("waiting 5", claim.id)))
    assert desk.money() == {}
    second = _next_claim(desk, claim.id)
    assert (second.interrupted, second.unknown_calls) == (False, 0)


@pytest.mark.parametrize("cache_key", ["", "key"])
def test_late_answer_wakes_the_parked(desk: Desk, cache_key: str) -> None:
    """An answer that comes after its job was parked for it wakes the job, which uses it."""
    late = _sent(desk)
    desk.lapse(late)
    second = _next_claim(desk, late.id)
    desk.ledger.finish(second, unpaid(outcome_of("parked billing_unknown", late.id)))
    assert desk.pass_time(100) == []
    answer = completed(late.id, "late", cache_key)
    assert not desk.ledger.finish(late, paid(answer, cost=700))
    assert desk.money() == {"settled": 700}
    third = _next_claim(desk, late.id, "w3")
    assert (third.interrupted, third.cost) == (False, 700)
    admission = desk.ledger.admit(third, cache_key="", reserve=900)
    assert admission.verdict is Verdict.ANSWER
    assert '"text":"late"' in (admission.answer or "")
    assert desk.ledger.finish(third, unpaid(completed(late.id, "late")))
    assert desk.money() == {"settled": 700}


def test_late_answer_of_the_one_who_parked(desk: Desk) -> None:
    """The same holds when the answer comes from the attempt that had given it up, said twice."""
    claim = _sent(desk)
    for _ in range(2):
        assert desk.ledger.finish(claim, unclear(outcome_of("parked billing_unknown", claim.id)))
    desk.ledger.finish(claim, paid(completed(claim.id, "late"), cost=700))
    assert desk.money() == {"settled": 700}
    second = _next_claim(desk, claim.id)
    assert desk.ledger.admit(second).verdict is Verdict.ANSWER


def test_answer_between_lapse_and_park(desk: Desk) -> None:
    """An answer that comes before its job is parked for want of it does not leave it parked."""
    late = _sent(desk)
    desk.lapse(late)
    second = _next_claim(desk, late.id)
    desk.ledger.finish(late, paid(completed(late.id, "late"), cost=700))
    desk.ledger.finish(second, unpaid(outcome_of("parked billing_unknown", late.id)))
    third = _next_claim(desk, late.id, "w3")
    assert desk.ledger.admit(third).verdict is Verdict.ANSWER


def _parked_unclear(desk: Desk) -> Claim:
    """Return the claim of a call that was given up, and whose job is parked for it."""
    claim = _sent(desk)
    desk.ledger.finish(claim, unclear(outcome_of("parked billing_unknown", claim.id)))
    assert desk.state(claim.id) is State.PARKED
    return claim


def test_a_call_that_was_not_billed_after_all(desk: Desk) -> None:
    """A job that is parked for it goes on when its call turns out to have cost nothing."""
    claim = _parked_unclear(desk)
    desk.ledger.finish(claim, unpaid(outcome_of("retrying 5", claim.id)))
    assert [hint.id for hint in desk.hints()] == [claim.id]
    assert desk.money() == {}


def test_a_paid_failure_that_comes_late(desk: Desk) -> None:
    """It is the end of a job that was parked for want of it: nobody pays for another."""
    claim = _parked_unclear(desk)
    desk.ledger.finish(claim, paid(outcome_of("failed", claim.id)))
    assert desk.state(claim.id) is State.FAILED
    assert desk.money() == {"settled": 700}
    assert desk.hints() == ()


def test_a_faulty_answer_that_comes_late(desk: Desk) -> None:
    """It is mended like any other: its pictures are not paid for again."""
    claim = _parked_unclear(desk)
    desk.ledger.finish(claim, paid(outcome_of("mending", claim.id, "almost")))
    (hint,) = desk.hints()
    again = desk.claim(hint.id, desk.worker())
    assert again.faulty is not None
    assert again.faulty.text == "almost"


def test_not_billed_between_lapse_and_park(desk: Desk) -> None:
    """Nor does a job stay parked for a call that was known to be free when it was parked."""
    claim = _sent(desk)
    desk.lapse(claim)
    again = _next_claim(desk, claim.id)
    assert again.interrupted
    desk.ledger.finish(claim, unpaid(outcome_of("retrying 5", claim.id)))
    desk.ledger.finish(again, unpaid(outcome_of("parked billing_unknown", claim.id)))
    assert [hint.id for hint in desk.hints()] == [claim.id]


def test_paid_answer_of_a_forgotten_job(desk: Desk) -> None:
    """Even when all else of the job expired, a paid answer is kept for whoever asks the same."""
    claim = _sent(desk)
    desk.ledger.cancel([claim.id])
    desk.redis.delete(JOB + claim.id)
    desk.ledger.finish(claim, paid(completed(claim.id, "late", "key")))
    assert 0 < desk.redis.ttl(ANSWER + "key") <= 500


def test_stored_answer(desk: Desk) -> None:
    """An answer is stored under its content key and given instead of a call."""
    claim = _sent(desk)
    desk.ledger.finish(claim, paid(completed(claim.id, "first", "key")))
    other = desk.begin(worker=desk.worker("w2"))
    assert desk.ledger.admit(other, cache_key="key", reserve=9).verdict is Verdict.ANSWER
    assert desk.ledger.admit(other, cache_key="", reserve=9).verdict is Verdict.GO


def test_end_is_told_to_celery(desk: Desk) -> None:
    """Each way to end sets Celery's own result, before anything else can be seen of it."""
    claim = _sent(desk)
    desk.ledger.finish(claim, paid(completed(claim.id, "yes")))
    assert (result_of(desk.redis, claim.id) or ("",))[0] == "SUCCESS"
    claim = desk.begin()
    desk.ledger.finish(claim, unpaid(outcome_of("waiting 1", claim.id)))
    assert (result_of(desk.redis, claim.id) or ("",))[0] == "RETRY"
    desk.clock.now += 1
    claim = _next_claim(desk, claim.id)
    desk.ledger.finish(claim, unpaid(outcome_of("failed", claim.id)))
    assert (result_of(desk.redis, claim.id) or ("",))[0] == "FAILURE"
    (view,) = job_views(desk.redis, [claim.id])
    assert view is not None
    assert view.error is not None
    assert view.error.image == "a.png"


def test_everything_finished_expires(desk: Desk) -> None:
    """Nothing that an unfinished job needs expires; all of it does once the job ended."""
    desk.redis.set(BLOB + SHA["a"], b"picture", ex=60)
    job = new_job(images=with_blobs("a"), idempotency_key="k", batch_id="b")
    claim = desk.begin(job)
    (key,) = desk.redis.keys(IDEMPOTENCY + "*")
    held = [JOB + job.id, BLOB + SHA["a"], key, BATCH + "b"]
    assert [desk.redis.ttl(name) for name in held] == [-1] * 4
    desk.ledger.finish(claim, paid(completed(job.id)))
    left = [desk.redis.ttl(name) for name in (*held, CELERY_RESULT + job.id)]
    assert [round(ttl, -2) for ttl in left] == [600, 300, 600, 600, 600]


def test_blob_of_two_jobs(desk: Desk) -> None:
    """A blob is kept until the last job that needs it ended; named twice it counts once."""
    desk.redis.set(BLOB + SHA["a"], b"picture", ex=60)
    first, second = desk.enter(
        new_job(images=with_blobs("a", "a")), new_job(images=with_blobs("a"))
    )
    assert desk.redis.hget(BLOB_REFERENCES, SHA["a"]) == b"2"
    desk.ledger.cancel([first])
    assert desk.redis.ttl(BLOB + SHA["a"]) == -1
    desk.ledger.cancel([second])
    assert desk.redis.ttl(BLOB + SHA["a"]) > 0
    assert desk.redis.hlen(BLOB_REFERENCES) == 0


def test_batch_outlives_its_last_job(desk: Desk) -> None:
    """A batch's counts are kept while one of its jobs has not ended, however long that takes."""
    first, second = desk.enter(new_job(batch_id="b"), new_job(batch_id="b"))
    desk.ledger.cancel([first])
    assert desk.redis.ttl(BATCH + "b") == -1
    desk.ledger.cancel([second])
    assert desk.redis.ttl(BATCH + "b") > 0
    assert desk.redis.hgetall(BATCH + "b") == {b"total": b"2", b"cancelled": b"2"}


def test_id_that_comes_back_in_another_lane(desk: Desk) -> None:
    """What a cancelled job leaves in its lane is not mistaken for a later job of the same id."""
    desk.enter(new_job("same", model="m1"), new_job("other", model="m1"))
    desk.ledger.cancel(["same"])
    desk.redis.delete(JOB + "same")
    desk.enter(new_job("same", model="m2"))
    desk.worker()
    assert {hint.id: hint.model for hint in desk.hints()} == {"same": "m2", "other": "m1"}
    assert desk.redis.hgetall("visionq:lane-sizes") == {}
    assert desk.hints() == ()


def test_ended_job_is_refused(desk: Desk) -> None:
    """No hint brings an ended job back."""
    claim = _sent(desk)
    desk.ledger.finish(claim, paid(completed(claim.id)))
    assert desk.ledger.claim(claim.id, "t", desk.worker()) == ClaimRefusal(State.COMPLETED)
    assert desk.ledger.admit(claim).verdict is Verdict.REFUSED


def test_what_was_written_down_is_forgotten(desk: Desk) -> None:
    """Nothing is left of an ended job that its owner lets go; the books and its answer stay."""
    claim = _sent(desk, idempotency_key="k1")
    desk.ledger.finish(claim, paid(completed(claim.id, cache_key="c1")))
    books = desk.money()
    assert desk.ledger.forget([claim.id, "never-heard-of"]) == 1
    assert not [key for key in desk.redis.keys("*") if claim.id.encode() in key]
    assert not desk.redis.keys(f"{IDEMPOTENCY}*")
    assert desk.money() == books
    assert desk.redis.exists(f"{ANSWER}c1")
    assert desk.ledger.forget([claim.id]) == 0


def test_open_money_is_not_forgotten(desk: Desk) -> None:
    """A job that runs, or whose last call may have been paid, stays until that is settled."""
    claim = _sent(desk)
    assert desk.ledger.forget([claim.id]) == 0
    desk.ledger.finish(claim, unclear(outcome_of("parked billing_unknown", claim.id)))
    desk.ledger.cancel([claim.id])
    assert desk.ledger.forget([claim.id]) == 0
    desk.ledger.finish(claim, paid(completed(claim.id)))
    assert desk.ledger.forget([claim.id]) == 1


@pytest.mark.parametrize("forgets", ["mark", "claim"])
def test_a_forgotten_call_is_paid_and_answers(desk: Desk, forgets: str) -> None:
    """A paid call whose mark Redis lost with its last moments is settled, once, not repeated."""
    claim = _sent(desk, reserve=900)
    job, books = JOB + claim.id, desk.money()
    desk.redis.hdel(job, "sent", "reserved", "gate", "epoch")
    desk.redis.hincrby(MONEY, "reserved", -900)
    desk.redis.hset(GATE, "calls_out", 0)
    assert books == {"reserved": 900}
    if forgets == "claim":
        desk.lapse(claim)
    ending = paid(completed(claim.id, "late"), cost=700)
    done = [bool(desk.ledger.finish(claim, ending)) for _ in range(2)]
    assert done == [forgets == "mark"] * 2
    assert desk.money() == {"settled": 700}
    if forgets == "claim":
        again = _next_claim(desk, claim.id)
        assert desk.ledger.admit(again).verdict is Verdict.ANSWER


def test_pictures_of_what_is_forgotten_go_soon(desk: Desk) -> None:
    """They need not wait for their hour, unless another job needs them."""
    for digit in "ab":
        desk.redis.set(BLOB + SHA[digit], b"picture", ex=300)
    claim = _sent(desk, images=with_blobs("a", "b"))
    desk.ledger.finish(claim, paid(completed(claim.id)))
    desk.enter(new_job(images=with_blobs("b")))
    assert desk.ledger.forget([claim.id]) == 1
    assert 0 < desk.redis.ttl(BLOB + SHA["a"]) <= 60
    assert desk.redis.ttl(BLOB + SHA["b"]) == -1
