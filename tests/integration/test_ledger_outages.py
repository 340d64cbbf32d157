"""An outage is a property of the provider, or of one of its models: no job finds out by itself."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.ledger import (
    LedgerDriver,
    completed,
    new_job,
    outcome_of,
    paid,
    unclear,
    unpaid,
)
from visionq.contract import State
from visionq.ledger import Ending, GateOrder, LedgerOptions, RateLimitFeedback, Verdict, Written
from visionq.ledger.gates import read_gate
from visionq.ledger.spending import unknown_calls
from visionq.names import GATE, JOB, NOTICES

if TYPE_CHECKING:
    from redis import Redis

    from visionq.ledger import Claim, Registration

#: No hint is sent ahead, and so none comes where it is not expected.
OPTIONS = LedgerOptions(slots_per_hint_ahead=0)


@pytest.fixture
def driver(redis: Redis) -> LedgerDriver:
    return LedgerDriver(redis, OPTIONS)


def _gate(driver: LedgerDriver) -> dict[str, str]:
    stored: dict[Any, Any] = driver.redis.hgetall(GATE + "k")
    return {name.decode(): value.decode() for name, value in stored.items()}


def _sent(driver: LedgerDriver, worker: Registration) -> list[Claim]:
    """Renew the worker, and send all that it is given."""
    driver.ledger.renew(worker)
    claims = [driver.claim(hint.id, worker) for hint in driver.hints()]
    for claim in claims:
        while (admission := driver.ledger.admit(claim, reserve=900)).verdict is Verdict.WAIT:
            driver.clock.now += admission.wait
        assert admission.verdict is Verdict.GO
    return claims


def _silent(claim: Claim) -> Ending:
    """Return how a call ends that brought nothing, as a worker says it."""
    kind = "unclear 0" if claim.unknown_calls == 0 else "parked billing_unknown"
    return replace(unclear(outcome_of(kind, claim.id)), may_be_put_off=claim.unknown_calls < 2)


def _fail(driver: LedgerDriver, claim: Claim) -> Written:
    return driver.ledger.finish(claim, _silent(claim))


def _pass(driver: LedgerDriver, claim: Claim) -> None:
    assert driver.ledger.finish(claim, paid(completed(claim.id)))


def _unknown_calls(driver: LedgerDriver, ids: list[str]) -> list[int]:
    return [int(driver.redis.hget(JOB + job_id, "unknown_calls") or 0) for job_id in ids]


def _work(
    driver: LedgerDriver, worker: Registration, seconds: int, *, is_out: bool, most: int = 10_000
) -> list[str]:
    """Let every call end at once; returns the ids of the jobs that were called for."""
    called: list[str] = []
    for _ in range(seconds):
        driver.clock.now += 1
        for claim in _sent(driver, worker):
            called.append(claim.id)
            if is_out:
                _fail(driver, claim)
            else:
                _pass(driver, claim)
        if len(called) >= most:
            break
    return called


def test_an_outage_closes_the_gate(driver: LedgerDriver) -> None:
    """Five calls in a row without a word close the gate; all jobs wait in their lane, unburned."""
    worker = driver.worker(slots=8, key="k")
    ids = driver.enter(*(new_job() for _ in range(30)))
    written = [_fail(driver, claim) for claim in _sent(driver, worker)]
    assert written == [Written.DONE] * 4 + [Written.PUT_OFF] * 4
    assert (_gate(driver)["state"], _gate(driver)["reason"]) == ("closed", "provider_unavailable")
    driver.clock.now += 1
    assert driver.hints() == ()
    assert {driver.state(job_id) for job_id in ids} == {State.PARKED}
    assert driver.redis.hget(JOB + ids[4], "attempts") == b"0"
    assert (driver.money()["unknown_calls"], driver.money()["unknown"]) == (8, 8 * 900)
    assert driver.redis.xlen(NOTICES) == 1, "the operator is notified once"


@pytest.mark.parametrize("seconds", [20, 600])
def test_everything_goes_on_after_an_outage(driver: LedgerDriver, seconds: int) -> None:
    """Unknown calls are those that were out and the trials, each of another job; all complete."""
    worker = driver.worker(slots=8, key="k")
    ids = driver.enter(*(new_job() for _ in range(60)))
    trials = _work(driver, worker, seconds, is_out=True)[8:]
    assert len(trials) <= {20: 3, 600: 14}[seconds]
    assert len(set(trials)) == len(trials)
    assert max(_unknown_calls(driver, ids)) == 1
    assert sum(_unknown_calls(driver, ids)) == 8 + len(trials)
    _work(driver, worker, 120, is_out=False)
    assert {driver.state(job_id) for job_id in ids} == {State.COMPLETED}
    assert _gate(driver)["state"] == "open"


def test_trials_are_made_by_who_has_risked_least(driver: LedgerDriver) -> None:
    """As long as any lane has a job without an unknown call, no other makes a trial."""
    worker = driver.worker(slots=5, key="k")
    lonely = driver.enter(*(new_job(tenant=f"t{one}", priority="interactive") for one in range(5)))
    for claim in _sent(driver, worker):
        _fail(driver, claim)
    many = driver.enter(*(new_job(tenant="many", priority="bulk") for _ in range(20)))
    called = _work(driver, worker, 300, is_out=True)
    assert len(called) > 5
    assert set(called) <= set(many)
    assert _unknown_calls(driver, lonely) == [1] * 5


def test_free_faults_close_it_too(driver: LedgerDriver) -> None:
    """So do ten calls in a row that never reached the provider; no job uses up its attempts."""
    worker = driver.worker(slots=1, key="k")
    (job,) = driver.enter(new_job())
    for number in range(200):
        driver.clock.now += 1
        for claim in _sent(driver, worker):
            kind = "unavailable" if claim.attempts >= 2 else "retrying 0"
            ending = replace(unpaid(outcome_of(kind, claim.id)), may_be_put_off=True)
            driver.ledger.finish(claim, ending)
        assert driver.state(job) is not State.FAILED, number
    assert _gate(driver)["reason"] == "provider_unavailable"
    _work(driver, worker, 70, is_out=False)
    assert driver.state(job) is State.COMPLETED


def test_a_lonely_job_closes_the_gate(driver: LedgerDriver) -> None:
    """A job that has nobody to try for it calls three times at most, then parks for good."""
    worker = driver.worker(slots=8, key="k")
    (job,) = driver.enter(new_job())
    called = _work(driver, worker, 300, is_out=True)
    assert called == [job] * 3
    assert driver.state(job) is State.PARKED
    assert driver.redis.hget(JOB + job, "reason") == b"billing_unknown"


def test_hold_is_never_called_twice(driver: LedgerDriver) -> None:
    """A job that must not be called twice parks at once, also in an outage."""
    worker = driver.worker(slots=8, key="k")
    driver.enter(*(new_job() for _ in range(8)))
    *others, held = _sent(driver, worker)
    for claim in others:
        _fail(driver, claim)
    written = driver.ledger.finish(held, unclear(outcome_of("parked billing_unknown", held.id)))
    assert written is Written.DONE
    assert driver.redis.hget(JOB + held.id, "reason") == b"billing_unknown"


def test_rare_losses_close_nothing(driver: LedgerDriver) -> None:
    """If every other call is answered, the gate stays open and the rule of one job holds."""
    worker = driver.worker(slots=4, key="k")
    driver.enter(*(new_job() for _ in range(40)))
    for number in range(40):
        driver.clock.now += 1
        for place, claim in enumerate(_sent(driver, worker)):
            if (number + place) % 2:
                assert _fail(driver, claim) is Written.DONE
            else:
                _pass(driver, claim)
    assert "state" not in _gate(driver)


def test_one_model_is_out(driver: LedgerDriver) -> None:
    """A model that is silent while others answer is rested; one call at a time tries it again."""
    worker = driver.worker(slots=4, key="k")
    silent = driver.enter(*(new_job(model="silent") for _ in range(20)))
    others = driver.enter(*(new_job(model="well") for _ in range(40)))
    tried = 0
    for _ in range(30):
        driver.clock.now += 1
        claims = _sent(driver, worker)
        if read_gate(driver.redis).held:
            assert sum(claim.document.model == "silent" for claim in claims) <= 1
        for claim in claims:
            if claim.document.model == "silent":
                tried += 1
                _fail(driver, claim)
            else:
                _pass(driver, claim)
    assert _gate(driver).get("state", "open") == "open"
    assert read_gate(driver.redis).held == {"model:silent": "provider_unavailable"}
    assert tried <= 5 + 3
    assert {driver.state(job_id) for job_id in others} == {State.COMPLETED}
    _work(driver, worker, 120, is_out=False)
    assert {driver.state(job_id) for job_id in silent} == {State.COMPLETED}
    assert read_gate(driver.redis).held == {}


# A model that does not exist ----------------------------------------------------------------------


def _deny(driver: LedgerDriver, claim: Claim) -> None:
    assert driver.ledger.finish(claim, unpaid(outcome_of("missing", claim.id)))


def test_one_denial_fails_one_job(driver: LedgerDriver) -> None:
    """A model that has answered and is denied once costs the job that got the denial, no other."""
    worker = driver.worker(slots=4, key="k")
    ids = driver.enter(*(new_job() for _ in range(40)))
    _pass(driver, _sent(driver, worker)[0])
    driver.clock.now += 1
    _deny(driver, _sent(driver, worker)[0])
    driver.clock.now += 1
    assert _sent(driver, worker) == []
    assert read_gate(driver.redis).held == {"model:m1": "model_not_found"}
    driver.clock.now += 5
    (trial,) = _sent(driver, worker)
    assert driver.hints() == ()
    assert trial.missing_model is None
    _pass(driver, trial)
    driver.pass_time(30)
    _work(driver, worker, 90, is_out=False)
    states = [driver.state(job_id) for job_id in ids]
    assert states.count(State.FAILED) == 1
    assert states.count(State.COMPLETED) == 39


def test_a_model_that_never_answered(driver: LedgerDriver) -> None:
    """If it never answered, a second call confirms it; the others need not call."""
    worker = driver.worker(slots=4, key="k")
    driver.enter(*(new_job() for _ in range(20)))
    first = _sent(driver, worker)
    for claim in first:
        _deny(driver, claim)
    driver.clock.now += 6
    (trial,) = _sent(driver, worker)
    assert trial.missing_model is None
    _deny(driver, trial)
    driver.ledger.renew(worker)
    claims = [driver.claim(hint.id, worker) for hint in driver.hints()]
    assert len(claims) == 4
    assert all(claim.missing_model for claim in claims)


# A rate limit without an end ----------------------------------------------------------------------


def test_an_absurd_pause_is_tried_within_a_minute(driver: LedgerDriver) -> None:
    """Asked to wait for an hour or a lifetime, one call tries after a minute, then all go on."""
    worker = driver.worker(slots=4, key="k")
    ids = driver.enter(*(new_job() for _ in range(20)))
    for claim in _sent(driver, worker):
        ending = unpaid(outcome_of("waiting 60", claim.id))
        driver.ledger.finish(
            claim, replace(ending, rate_limit=RateLimitFeedback(refused=True, pause=3600))
        )
    before = driver.clock.now
    (trial,) = _next(driver, worker)
    assert 55 <= driver.clock.now - before <= 75
    ending = unpaid(outcome_of("waiting 60", trial.id))
    driver.ledger.finish(
        trial, replace(ending, rate_limit=RateLimitFeedback(refused=True, pause=3600))
    )
    (trial,) = _next(driver, worker)
    _pass(driver, trial)
    _work(driver, worker, 200, is_out=False)
    assert {driver.state(job_id) for job_id in ids} == {State.COMPLETED}


def _next(driver: LedgerDriver, worker: Registration) -> list[Claim]:
    """Wait for the next calls."""
    for _ in range(200):
        driver.clock.now += 1
        if sent := _sent(driver, worker):
            return sent
    return []


def test_an_operator_opens(driver: LedgerDriver) -> None:
    """`gate open` ends the waiting at once, and the silence of before counts no more."""
    worker = driver.worker(slots=8, key="k")
    driver.enter(*(new_job() for _ in range(20)))
    for claim in _sent(driver, worker):
        _fail(driver, claim)
    driver.ledger.steer_gate("k", GateOrder.OPEN)
    assert "silence" not in _gate(driver)
    assert len(_sent(driver, worker)) == 8


# The same question, asked by several jobs ---------------------------------------------------------


def _asks(driver: LedgerDriver, worker: Registration, key: str, *, calls: int) -> list[str]:
    """Let jobs that ask the same call in vain, one after the other; returns who called."""
    called: list[str] = []
    for _ in range(calls):
        driver.clock.now += 70
        driver.ledger.renew(worker)
        for hint in driver.hints():
            claim = driver.claim(hint.id, worker)
            if driver.ledger.admit(claim, cache_key=key, reserve=900).verdict is Verdict.GO:
                called.append(claim.id)
                _fail(driver, claim)
    return called


def test_a_question_is_asked_three_times_at_most(driver: LedgerDriver) -> None:
    """Calls of unknown billing are counted for the question: its other jobs wait, unpaid."""
    worker = driver.worker(slots=8, key="k")
    ids = driver.enter(*(new_job() for _ in range(6)))
    called = _asks(driver, worker, "question", calls=20)
    assert len(called) == 3
    assert driver.money()["unknown_calls"] == 3
    assert {driver.redis.hget(JOB + job_id, "reason") for job_id in ids} == {b"billing_unknown"}
    (other,) = driver.enter(new_job())
    assert _asks(driver, worker, "another", calls=3) == [other] * 3


def test_those_that_wait_go_on_when_it_is_known(driver: LedgerDriver) -> None:
    """When one of the calls turns out unpaid, or its answer comes, the others go on by that."""
    worker = driver.worker(slots=8, key="k")
    ids = driver.enter(*(new_job() for _ in range(6)))
    _asks(driver, worker, "question", calls=20)
    first = min(unknown_calls(driver.redis), key=lambda call: call.entry)
    assert driver.ledger.settle_unknown([first], paid=False) == ["settled"]
    driver.clock.now += 70
    driver.ledger.steer_gate("k", GateOrder.OPEN)
    driver.ledger.renew(worker)
    hints = driver.hints()
    (claim, *others) = (driver.claim(hint.id, worker) for hint in hints)
    assert driver.ledger.admit(claim, cache_key="question").verdict is Verdict.GO
    driver.ledger.finish(claim, paid(completed(claim.id, cache_key="question")))
    for other in others:
        admission = driver.ledger.admit(other, cache_key="question")
        assert admission.verdict is Verdict.ANSWER
        driver.ledger.finish(other, unpaid(completed(other.id)))
    done = [driver.state(job_id) for job_id in ids].count(State.COMPLETED)
    assert done >= 3


def test_somebody_decides_to_ask_again(driver: LedgerDriver) -> None:
    """A job that is resumed calls once more, however often it and its question did before."""
    worker = driver.worker(slots=8, key="k")
    (job,) = driver.enter(new_job())
    assert _asks(driver, worker, "question", calls=20) == [job] * 3
    assert driver.ledger.resume([job, "nobody"]) == ["resumed", "missing"]
    driver.ledger.steer_gate("k", GateOrder.OPEN)
    driver.ledger.renew(worker)
    (hint,) = driver.hints()
    claim = driver.claim(hint.id, worker)
    assert claim.unknown_calls == 1
    assert driver.ledger.admit(claim, cache_key="question", reserve=900).verdict is Verdict.GO
    driver.ledger.finish(claim, unclear(outcome_of("parked billing_unknown", claim.id)))
    assert driver.money()["unknown_calls"] == 4
    assert driver.ledger.resume([job]) == ["resumed"]
    assert driver.state(job) is State.QUEUED
    assert driver.ledger.resume([job]) == ["queued"]
