"""A job goes on to another of its models in one step with its money."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.ledger import LedgerDriver, completed, new_job, paid, unclear, unpaid
from visionq.contract import DelayReason, State
from visionq.errors import ModelNotFound, Refused
from visionq.ledger import Billing, BudgetScope, Ending, Held, Moved, Parked
from visionq.ledger.metrics import read_counters
from visionq.ledger.records import error_document
from visionq.ledger.views import job_views
from visionq.names import FALLBACK_JOBS, FALLBACK_MODELS
from visionq.pricing.money import rubles

if TYPE_CHECKING:
    from redis import Redis

    from visionq.ledger import Claim

LADDER: dict[str, Any] = {"cascade": {"models": ["m2"], "sure_at": 0.9}}


@pytest.fixture
def driver(redis: Redis) -> LedgerDriver:
    return LedgerDriver(redis)


def moved(*models: str, reason: str = "unsure", **more: Any) -> Moved:
    return Moved(models, reason, **more)


def refused(*models: str) -> Moved:
    return Moved(models, "refused", error=error_document(Refused("no")))


def again(driver: LedgerDriver, claim: Claim) -> Claim:
    """Have the job taken once more."""
    assert [hint.id for hint in driver.hints()] == [claim.id]
    return driver.claim(claim.id, driver.registration())


def test_money_and_move_are_one_step(driver: LedgerDriver) -> None:
    """The first model's cost is settled as the job enters the next one's lane."""
    claim = driver.begin(new_job(**LADDER))
    driver.ledger.admit(claim, cache_key="", reserve=900, tokens=10)
    driver.ledger.finish(claim, paid(moved("m2", sureness=0.5, text="a cat")))
    assert driver.money() == {"settled": 700}
    second = again(driver, claim)
    assert second.document.model == "m2"
    (step,) = second.steps
    assert (step.model, step.reason, step.cost, step.sureness) == ("m1", "unsure", 700, 0.5)
    assert (step.text, step.attempts, second.attempts, second.cost) == ("a cat", 1, 1, 700)


def test_move_is_made_once(driver: LedgerDriver) -> None:
    """A repeated end, whose reply was lost, moves nothing and books nothing again."""
    claim = driver.begin(new_job(**LADDER))
    driver.ledger.admit(claim, cache_key="", reserve=900, tokens=10)
    ending = paid(moved("m2"))
    assert driver.ledger.finish(claim, ending)
    assert driver.ledger.finish(claim, ending)
    assert driver.money() == {"settled": 700}
    assert len(again(driver, claim).steps) == 1


def test_unsure_answer_is_kept_for_others(driver: LedgerDriver) -> None:
    """A follower gets the unsure answer from the store, and judges it by its own threshold."""
    claim = driver.begin(new_job(**LADDER))
    driver.ledger.admit(claim, cache_key="c1", reserve=900, tokens=10)
    follower = driver.begin(new_job())
    assert driver.ledger.admit(follower, cache_key="c1", reserve=900, tokens=10).verdict == "FOLLOW"
    answer = completed(claim.id).result
    driver.ledger.finish(claim, paid(moved("m2", result=answer, cache_key="c1")))
    hinted = [hint.id for hint in (*driver.hints(), *driver.hints())]
    assert sorted(hinted) == sorted([claim.id, follower.id])
    follower = driver.claim(follower.id, driver.registration())
    assert driver.ledger.admit(follower, cache_key="c1", reserve=9, tokens=1).verdict == "ANSWER"


def test_fallback_waits_for_known_billing(driver: LedgerDriver) -> None:
    """A job of which a call may have been paid takes no fallback until that is known."""
    claim = driver.begin(new_job(fallback=["m2"]))
    driver.ledger.admit(claim, cache_key="", reserve=900, tokens=10)
    driver.lapse(claim)
    driver.worker()
    driver.hints()
    second = driver.claim(claim.id, driver.worker())
    driver.ledger.admit(second, cache_key="", reserve=900, tokens=10)
    driver.ledger.finish(second, unpaid(refused("m2")))
    (view,) = job_views(driver.redis, [claim.id])
    assert view is not None
    assert (view.state, view.reason, view.model) == (State.PARKED, "billing_unknown", "m1")


def test_late_refusal_moves_what_waits_for_it(driver: LedgerDriver) -> None:
    """A job whose unknown call comes back refused goes on to its next model."""
    claim = driver.begin(new_job(fallback=["m2"]))
    driver.ledger.admit(claim, cache_key="", reserve=900, tokens=10)
    driver.ledger.finish(claim, unclear(Parked(DelayReason.BILLING_UNKNOWN)))
    driver.ledger.finish(claim, unpaid(refused("m2")))
    assert again(driver, claim).document.model == "m2"
    assert driver.money() == {}


def test_held_model_is_left_for_one_that_is_served(driver: LedgerDriver) -> None:
    """Of a job's models the first that nothing holds is asked; what is left stays for later."""
    for model in ("m1", "m2"):
        claim = driver.begin(new_job(model=model))
        held = Held(DelayReason.ACCESS_DENIED, model)
        driver.ledger.finish(claim, Ending(held, Billing.RELEASED))
    (job_id,) = driver.enter(new_job(fallback=["m2", "m3"]))
    assert (driver.ledger.fall_back(), driver.ledger.fall_back()) == (1, 0)
    hinted = driver.hints()
    assert [(hint.id, hint.model) for hint in hinted] == [(job_id, "m3")]
    claim = driver.claim(job_id, driver.registration())
    assert [(step.model, step.reason) for step in claim.steps] == [("m1", "access_denied")]
    assert driver.redis.hget(f"visionq:job:{job_id}", "fallback") == b"m2"


def test_paid_answer_that_came_late_is_not_left(driver: LedgerDriver) -> None:
    """A job whose own answer is there stays with its model: no other is paid for it."""
    claim = driver.begin(new_job(fallback=["m2"]))
    driver.ledger.admit(claim, cache_key="", reserve=900, tokens=10)
    driver.ledger.finish(claim, unclear(Parked(DelayReason.BILLING_UNKNOWN)))
    other = driver.begin(new_job())
    held = Held(DelayReason.ACCESS_DENIED, "m1", recheck=60)
    driver.ledger.finish(other, Ending(held, Billing.RELEASED))
    driver.ledger.finish(claim, paid(completed(claim.id)))
    assert driver.redis.zscore(f"{FALLBACK_JOBS}m1", claim.id)
    assert driver.ledger.fall_back() == 0
    driver.clock.now += 61
    driver.worker()
    assert claim.id in {hint.id for hint in driver.hints()}
    second = driver.claim(claim.id, driver.registration())
    assert driver.ledger.admit(second, cache_key="", reserve=9, tokens=1).verdict == "ANSWER"


def test_who_is_not_queued_any_more_is_listed_no_longer(driver: LedgerDriver) -> None:
    """A job that an older dispatcher took leaves the list of its held model."""
    claim = driver.begin(new_job())
    driver.ledger.finish(claim, Ending(Held(DelayReason.ACCESS_DENIED, "m1"), Billing.RELEASED))
    driver.redis.zadd(f"{FALLBACK_JOBS}m1", {"forgotten": 1})
    driver.redis.sadd(FALLBACK_MODELS, "m1")
    assert (driver.ledger.fall_back(), driver.ledger.fall_back()) == (0, 0)
    assert not driver.redis.exists(f"{FALLBACK_JOBS}m1", FALLBACK_MODELS)


def test_short_hold_is_waited_for(driver: LedgerDriver) -> None:
    """A model that is tried again within 15 seconds keeps its jobs."""
    claim = driver.begin(new_job(model="m1"))
    driver.ledger.finish(claim, unpaid(Held(DelayReason.ACCESS_DENIED, "m1", recheck=10)))
    (job_id,) = driver.enter(new_job(fallback=["m2"]))
    assert driver.ledger.fall_back() == 0
    assert driver.hints() == ()
    driver.clock.now += 11
    driver.worker()
    assert {hint.model for hint in driver.hints()} == {"m1"}
    assert driver.state(job_id) is State.QUEUED


def test_denied_model_is_left(driver: LedgerDriver) -> None:
    """A model that the provider does not know costs nothing, and is known as missing to others."""
    claim = driver.begin(new_job(fallback=["m2"]))
    driver.ledger.admit(claim, cache_key="", reserve=900, tokens=10)
    error = error_document(ModelNotFound("no such model"))
    driver.ledger.finish(claim, unpaid(Moved(("m2",), error.code, error=error)))
    assert again(driver, claim).document.model == "m2"
    assert driver.money() == {}
    assert read_counters(driver.redis).of("moved", 3) == {("other", "other", error.code): 1}


def test_next_model_waits_for_its_budget(driver: LedgerDriver) -> None:
    """The next model's price is reserved like any other: without room for it the job waits."""
    driver.ledger.set_budget(BudgetScope.tenant("default"), rubles(1500))
    claim = driver.begin(new_job(**LADDER))
    driver.ledger.admit(claim, cache_key="", reserve=900, tokens=10)
    driver.ledger.finish(claim, paid(moved("m2")))
    second = again(driver, claim)
    admission = driver.ledger.admit(second, cache_key="", reserve=900, tokens=10)
    assert (admission.verdict, admission.reason) == ("PARK", "budget_exhausted")
    driver.ledger.set_budget(BudgetScope.tenant("default"), rubles(1600))
    third = again(driver, claim)
    assert driver.ledger.admit(third, cache_key="", reserve=900, tokens=10).verdict == "GO"


def test_death_at_the_next_model(driver: LedgerDriver) -> None:
    """A worker that dies there loses nothing: the job stays at that model, its first step paid."""
    claim = driver.begin(new_job(**LADDER))
    driver.ledger.admit(claim, cache_key="", reserve=900, tokens=10)
    driver.ledger.finish(claim, paid(moved("m2")))
    second = again(driver, claim)
    driver.ledger.admit(second, cache_key="", reserve=2000, tokens=10)
    driver.lapse(second)
    assert driver.money() == {"settled": 700, "unknown": 2000, "unknown_calls": 1}
    driver.worker()
    third = again(driver, claim)
    assert (third.document.model, third.interrupted, len(third.steps)) == ("m2", True, 1)
    driver.ledger.finish(second, paid(completed(claim.id), 1500))
    assert driver.money() == {"settled": 2200}
    assert driver.ledger.admit(third, cache_key="", reserve=9, tokens=1).verdict == "ANSWER"


def test_late_answer_of_a_model_that_was_left(driver: LedgerDriver) -> None:
    """It is booked, and is not the answer of a job that another model is asked about."""
    first = driver.begin(new_job(**LADDER))
    driver.ledger.admit(first, cache_key="", reserve=900, tokens=10)
    driver.lapse(first)
    driver.worker()
    second = again(driver, first)
    driver.ledger.admit(second, cache_key="", reserve=900, tokens=10)
    driver.ledger.finish(second, paid(moved("m2")))
    driver.ledger.finish(first, paid(completed(first.id), 600))
    assert driver.money() == {"settled": 1300}
    third = again(driver, first)
    assert driver.ledger.admit(third, cache_key="", reserve=900, tokens=10).verdict == "GO"


def test_cancelled_job_does_not_move(driver: LedgerDriver) -> None:
    """A job that was cancelled while its call was out keeps its cost, and ends."""
    claim = driver.begin(new_job(fallback=["m2"], **LADDER | {"cascade": None}))
    driver.ledger.admit(claim, cache_key="", reserve=900, tokens=10)
    driver.ledger.cancel([claim.id])
    assert not driver.ledger.finish(claim, paid(refused("m2")))
    assert driver.state(claim.id) is State.CANCELLED
    assert driver.money() == {"settled": 700}
    (job_id,) = driver.enter(new_job(fallback=["m2"]))
    driver.ledger.cancel([job_id])
    assert driver.ledger.fall_back() == 0
    assert not driver.redis.exists(FALLBACK_JOBS + "m1", FALLBACK_MODELS)
