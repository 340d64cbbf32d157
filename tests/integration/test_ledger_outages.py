"""An outage is a property of the provider, or of one of its models: no job finds out by itself."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.ledger_kit import (
    Desk,
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
def desk(redis: Redis) -> Desk:
    return Desk(redis, OPTIONS)


def _gate(desk: Desk) -> dict[str, str]:
    stored: dict[Any, Any] = desk.redis.hgetall(GATE + "k")
    return {name.decode(): value.decode() for name, value in stored.items()}


def _sent(desk: Desk, worker: Registration) -> list[Claim]:
    """Renew the worker, and send whatever it is given."""
    desk.ledger.renew(worker)
    claims = [desk.claim(hint.id, worker) for hint in desk.hints()]
    for claim in claims:
        while (admission := desk.ledger.admit(claim, reserve=900)).verdict is Verdict.WAIT:
            desk.clock.now += admission.wait
        assert admission.verdict is Verdict.GO
    return claims


def _silent(claim: Claim) -> Ending:
    """Return how a call ends that brought nothing, as a worker says it."""
    kind = "unclear 0" if claim.unknown_calls == 0 else "parked billing_unknown"
    return replace(unclear(outcome_of(kind, claim.id)), may_be_put_off=claim.unknown_calls < 2)


def _fail(desk: Desk, claim: Claim) -> Written:
    return desk.ledger.finish(claim, _silent(claim))


def _pass(desk: Desk, claim: Claim) -> None:
    assert desk.ledger.finish(claim, paid(completed(claim.id)))


def _unknown_calls(desk: Desk, ids: list[str]) -> list[int]:
    return [int(desk.redis.hget(JOB + job_id, "unknown_calls") or 0) for job_id in ids]


def _work(
    desk: Desk, worker: Registration, seconds: int, *, is_out: bool, most: int = 10_000
) -> list[str]:
    """Let every call end at once; returns the ids of the jobs that were called for."""
    called: list[str] = []
    for _ in range(seconds):
        desk.clock.now += 1
        for claim in _sent(desk, worker):
            called.append(claim.id)
            if is_out:
                _fail(desk, claim)
            else:
                _pass(desk, claim)
        if len(called) >= most:
            break
    return called


def test_an_outage_closes_the_gate(desk: Desk) -> None:
    """Five calls in a row without a word close the gate; all jobs wait in their lane, unburned."""
    worker = desk.worker(slots=8, key="k")
    ids = desk.enter(*(new_job() for _ in range(30)))
    written = [_fail(desk, claim) for claim in _sent(desk, worker)]
    assert written == [Written.DONE] * 4 + [Written.PUT_OFF] * 4
    assert (_gate(desk)["state"], _gate(desk)["reason"]) == ("closed", "provider_unavailable")
    desk.clock.now += 1
    assert desk.hints() == ()
    assert {desk.state(job_id) for job_id in ids} == {State.PARKED}
    assert desk.redis.hget(JOB + ids[4], "attempts") == b"0"
    assert (desk.money()["unknown_calls"], desk.money()["unknown"]) == (8, 8 * 900)
    assert desk.redis.xlen(NOTICES) == 1, "the operator is told once"


@pytest.mark.parametrize("seconds", [20, 600])
def test_everything_goes_on_after_an_outage(desk: Desk, seconds: int) -> None:
    """Unknown calls are those that were out and the trials, each of another job; all complete."""
    worker = desk.worker(slots=8, key="k")
    ids = desk.enter(*(new_job() for _ in range(60)))
    trials = _work(desk, worker, seconds, is_out=True)[8:]
    assert len(trials) <= {20: 3, 600: 14}[seconds]
    assert len(set(trials)) == len(trials)
    assert max(_unknown_calls(desk, ids)) == 1
    assert sum(_unknown_calls(desk, ids)) == 8 + len(trials)
    _work(desk, worker, 120, is_out=False)
    assert {desk.state(job_id) for job_id in ids} == {State.COMPLETED}
    assert _gate(desk)["state"] == "open"


def test_trials_are_made_by_who_has_risked_least(desk: Desk) -> None:
    """As long as any lane has a job without an unknown call, no other makes a trial."""
    worker = desk.worker(slots=5, key="k")
    lonely = desk.enter(*(new_job(tenant=f"t{one}", priority="interactive") for one in range(5)))
    for claim in _sent(desk, worker):
        _fail(desk, claim)
    many = desk.enter(*(new_job(tenant="many", priority="bulk") for _ in range(20)))
    called = _work(desk, worker, 300, is_out=True)
    assert len(called) > 5
    assert set(called) <= set(many)
    assert _unknown_calls(desk, lonely) == [1] * 5


def test_free_faults_close_it_too(desk: Desk) -> None:
    """So do ten calls in a row that never reached the provider; no job uses up its attempts."""
    worker = desk.worker(slots=1, key="k")
    (job,) = desk.enter(new_job())
    for number in range(200):
        desk.clock.now += 1
        for claim in _sent(desk, worker):
            kind = "unavailable" if claim.attempts >= 2 else "retrying 0"
            ending = replace(unpaid(outcome_of(kind, claim.id)), may_be_put_off=True)
            desk.ledger.finish(claim, ending)
        assert desk.state(job) is not State.FAILED, number
    assert _gate(desk)["reason"] == "provider_unavailable"
    _work(desk, worker, 70, is_out=False)
    assert desk.state(job) is State.COMPLETED


def test_a_lonely_job_closes_the_gate(desk: Desk) -> None:
    """A job that has nobody to try for it calls three times at most, then parks for good."""
    worker = desk.worker(slots=8, key="k")
    (job,) = desk.enter(new_job())
    called = _work(desk, worker, 300, is_out=True)
    assert called == [job] * 3
    assert desk.state(job) is State.PARKED
    assert desk.redis.hget(JOB + job, "reason") == b"billing_unknown"


def test_hold_is_never_called_twice(desk: Desk) -> None:
    """A job that must not be called twice parks at once, also in an outage."""
    worker = desk.worker(slots=8, key="k")
    desk.enter(*(new_job() for _ in range(8)))
    *others, held = _sent(desk, worker)
    for claim in others:
        _fail(desk, claim)
    written = desk.ledger.finish(held, unclear(outcome_of("parked billing_unknown", held.id)))
    assert written is Written.DONE
    assert desk.redis.hget(JOB + held.id, "reason") == b"billing_unknown"


def test_rare_losses_close_nothing(desk: Desk) -> None:
    """Where every other call is answered, the gate stays open and the rule of one job holds."""
    worker = desk.worker(slots=4, key="k")
    desk.enter(*(new_job() for _ in range(40)))
    for number in range(40):
        desk.clock.now += 1
        for place, claim in enumerate(_sent(desk, worker)):
            if (number + place) % 2:
                assert _fail(desk, claim) is Written.DONE
            else:
                _pass(desk, claim)
    assert "state" not in _gate(desk)


def test_one_model_is_out(desk: Desk) -> None:
    """A model that is silent while others answer is rested; one call at a time tries it again."""
    worker = desk.worker(slots=4, key="k")
    silent = desk.enter(*(new_job(model="silent") for _ in range(20)))
    others = desk.enter(*(new_job(model="well") for _ in range(40)))
    tried = 0
    for _ in range(30):
        desk.clock.now += 1
        claims = _sent(desk, worker)
        if read_gate(desk.redis).held:
            assert sum(claim.document.model == "silent" for claim in claims) <= 1
        for claim in claims:
            if claim.document.model == "silent":
                tried += 1
                _fail(desk, claim)
            else:
                _pass(desk, claim)
    assert _gate(desk).get("state", "open") == "open"
    assert read_gate(desk.redis).held == {"model:silent": "provider_unavailable"}
    assert tried <= 5 + 3
    assert {desk.state(job_id) for job_id in others} == {State.COMPLETED}
    _work(desk, worker, 120, is_out=False)
    assert {desk.state(job_id) for job_id in silent} == {State.COMPLETED}
    assert read_gate(desk.redis).held == {}


# A model that is said not to exist ----------------------------------------------------------------


def _deny(desk: Desk, claim: Claim) -> None:
    assert desk.ledger.finish(claim, unpaid(outcome_of("missing", claim.id)))


def test_one_denial_fails_one_job(desk: Desk) -> None:
    """A model that has answered and is denied once costs the job that was told so, no other."""
    worker = desk.worker(slots=4, key="k")
    ids = desk.enter(*(new_job() for _ in range(40)))
    _pass(desk, _sent(desk, worker)[0])
    desk.clock.now += 1
    _deny(desk, _sent(desk, worker)[0])
    desk.clock.now += 1
    assert _sent(desk, worker) == []
    assert read_gate(desk.redis).held == {"model:m1": "model_not_found"}
    desk.clock.now += 5
    (trial,) = _sent(desk, worker)
    assert desk.hints() == ()
    assert trial.missing_model is None
    _pass(desk, trial)
    desk.pass_time(30)
    _work(desk, worker, 90, is_out=False)
    states = [desk.state(job_id) for job_id in ids]
    assert states.count(State.FAILED) == 1
    assert states.count(State.COMPLETED) == 39


def test_a_model_that_never_answered(desk: Desk) -> None:
    """Where it never answered, a second call confirms it; the others need not call."""
    worker = desk.worker(slots=4, key="k")
    desk.enter(*(new_job() for _ in range(20)))
    first = _sent(desk, worker)
    for claim in first:
        _deny(desk, claim)
    desk.clock.now += 6
    (trial,) = _sent(desk, worker)
    assert trial.missing_model is None
    _deny(desk, trial)
    desk.ledger.renew(worker)
    claims = [desk.claim(hint.id, worker) for hint in desk.hints()]
    assert len(claims) == 4
    assert all(claim.missing_model for claim in claims)


# A rate limit without an end ----------------------------------------------------------------------


def test_an_absurd_pause_is_tried_within_a_minute(desk: Desk) -> None:
    """Asked to wait for an hour or a lifetime, one call tries after a minute, then all go on."""
    worker = desk.worker(slots=4, key="k")
    ids = desk.enter(*(new_job() for _ in range(20)))
    for claim in _sent(desk, worker):
        ending = unpaid(outcome_of("waiting 60", claim.id))
        desk.ledger.finish(
            claim, replace(ending, rate_limit=RateLimitFeedback(refused=True, pause=3600))
        )
    before = desk.clock.now
    (trial,) = _next(desk, worker)
    assert 55 <= desk.clock.now - before <= 75
    ending = unpaid(outcome_of("waiting 60", trial.id))
    desk.ledger.finish(
        trial, replace(ending, rate_limit=RateLimitFeedback(refused=True, pause=3600))
    )
    (trial,) = _next(desk, worker)
    _pass(desk, trial)
    _work(desk, worker, 200, is_out=False)
    assert {desk.state(job_id) for job_id in ids} == {State.COMPLETED}


def _next(desk: Desk, worker: Registration) -> list[Claim]:
    """Wait for the next calls."""
    for _ in range(200):
        desk.clock.now += 1
        if sent := _sent(desk, worker):
            return sent
    return []


def test_an_operator_opens(desk: Desk) -> None:
    """`gate open` ends the waiting at once, and the silence of before counts no more."""
    worker = desk.worker(slots=8, key="k")
    desk.enter(*(new_job() for _ in range(20)))
    for claim in _sent(desk, worker):
        _fail(desk, claim)
    desk.ledger.steer_gate("k", GateOrder.OPEN)
    assert "silence" not in _gate(desk)
    assert len(_sent(desk, worker)) == 8


# The same question, asked by several jobs ---------------------------------------------------------


def _asks(desk: Desk, worker: Registration, key: str, *, calls: int) -> list[str]:
    """Let jobs that ask the same call in vain, one after the other; returns who called."""
    called: list[str] = []
    for _ in range(calls):
        desk.clock.now += 70
        desk.ledger.renew(worker)
        for hint in desk.hints():
            claim = desk.claim(hint.id, worker)
            if desk.ledger.admit(claim, cache_key=key, reserve=900).verdict is Verdict.GO:
                called.append(claim.id)
                _fail(desk, claim)
    return called


def test_a_question_is_asked_three_times_at_most(desk: Desk) -> None:
    """Calls of unknown billing are counted for the question: its other jobs wait, unpaid."""
    worker = desk.worker(slots=8, key="k")
    ids = desk.enter(*(new_job() for _ in range(6)))
    called = _asks(desk, worker, "question", calls=20)
    assert len(called) == 3
    assert desk.money()["unknown_calls"] == 3
    assert {desk.redis.hget(JOB + job_id, "reason") for job_id in ids} == {b"billing_unknown"}
    (other,) = desk.enter(new_job())
    assert _asks(desk, worker, "another", calls=3) == [other] * 3


def test_those_that_wait_go_on_when_it_is_known(desk: Desk) -> None:
    """When one of the calls turns out unpaid, or its answer comes, the others go on by that."""
    worker = desk.worker(slots=8, key="k")
    ids = desk.enter(*(new_job() for _ in range(6)))
    _asks(desk, worker, "question", calls=20)
    first = min(unknown_calls(desk.redis), key=lambda call: call.entry)
    assert desk.ledger.settle_unknown([first], paid=False) == ["settled"]
    desk.clock.now += 70
    desk.ledger.steer_gate("k", GateOrder.OPEN)
    desk.ledger.renew(worker)
    hints = desk.hints()
    (claim, *others) = (desk.claim(hint.id, worker) for hint in hints)
    assert desk.ledger.admit(claim, cache_key="question").verdict is Verdict.GO
    desk.ledger.finish(claim, paid(completed(claim.id, cache_key="question")))
    for other in others:
        admission = desk.ledger.admit(other, cache_key="question")
        assert admission.verdict is Verdict.ANSWER
        desk.ledger.finish(other, unpaid(completed(other.id)))
    done = [desk.state(job_id) for job_id in ids].count(State.COMPLETED)
    assert done >= 3


def test_somebody_decides_to_ask_again(desk: Desk) -> None:
    """A job that is resumed calls once more, however often it and its question did before."""
    worker = desk.worker(slots=8, key="k")
    (job,) = desk.enter(new_job())
    assert _asks(desk, worker, "question", calls=20) == [job] * 3
    assert desk.ledger.resume([job, "nobody"]) == ["resumed", "missing"]
    desk.ledger.steer_gate("k", GateOrder.OPEN)
    desk.ledger.renew(worker)
    (hint,) = desk.hints()
    claim = desk.claim(hint.id, worker)
    assert claim.unknown_calls == 1
    assert desk.ledger.admit(claim, cache_key="question", reserve=900).verdict is Verdict.GO
    desk.ledger.finish(claim, unclear(outcome_of("parked billing_unknown", claim.id)))
    assert desk.money()["unknown_calls"] == 4
    assert desk.ledger.resume([job]) == ["resumed"]
    assert desk.state(job) is State.QUEUED
    assert desk.ledger.resume([job]) == ["queued"]
