"""Lanes that are held, and jobs that no worker can read yet: kept back, and never forgotten."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING

import pytest

from tests.support.ledger import (
    LedgerDriver,
    completed,
    moment,
    new_job,
    newer,
    outcome_of,
    paid,
    unpaid,
)
from visionq.contract import State
from visionq.errors import InvalidJob
from visionq.ledger import Claim, ClaimRefusal, LedgerOptions, RefusalReason, Verdict
from visionq.ledger.views import job_document, job_documents
from visionq.names import (
    HELD_LANES,
    HOLD_ENDS,
    HOLDS,
    JOB,
    LANE_RING,
    LANE_SIZES,
    QUEUE_INTERACTIVE,
    TOO_NEW,
)

if TYPE_CHECKING:
    from redis import Redis

SCOPE = "model:m1"


@pytest.fixture
def driver(redis: Redis) -> LedgerDriver:
    return LedgerDriver(redis, LedgerOptions(slots_per_hint_ahead=0))


def _hold(driver: LedgerDriver, **fields: str) -> Claim:
    """Let a refusal of the model hold it."""
    claim = driver.begin(new_job("refused", **fields), driver.worker(slots=4))
    _refuse(driver, claim)
    return claim


def _refuse(driver: LedgerDriver, claim: Claim) -> None:
    assert driver.ledger.admit(claim, reserve=9).verdict is Verdict.GO
    assert driver.ledger.finish(claim, unpaid(outcome_of(f"held {SCOPE}", claim.id)))


def test_held_model_leaves_others_alone(driver: LedgerDriver) -> None:
    """While a model is held its lanes rest, those of others go on, and nothing is burned."""
    _hold(driver)
    driver.enter(new_job(), new_job("other", model="m2"))
    assert set(driver.live(30, slots=4)) == {"other"}
    assert driver.redis.hget(JOB + "refused", "attempts") == b"0"
    assert driver.redis.hgetall(HOLDS) == {SCOPE.encode(): b"access_denied"}


def test_hold_ends(driver: LedgerDriver) -> None:
    """After its time one job tries a held model, from the head of its lanes; then others go on."""
    _hold(driver)
    driver.enter(new_job("second"), new_job("third"))
    assert driver.live(61, slots=4) == ["refused"]
    trial = driver.claim("refused", driver.registration())
    assert driver.ledger.admit(trial, reserve=9).verdict is Verdict.GO
    driver.clock.now += 1
    assert driver.ledger.finish(trial, paid(completed(trial.id)))
    assert driver.live(2, slots=4) == ["second", "third"]
    assert not driver.redis.exists(HOLDS, HELD_LANES + SCOPE)


def test_refused_again_is_held_again(driver: LedgerDriver) -> None:
    """A model that stays forbidden parks no job alone, regardless of successes at other models."""
    claim = _hold(driver)
    for round_ in range(3):
        driver.enter(new_job(f"other{round_}", model="m2"))
        (hint,) = driver.hints()
        other = driver.claim(hint.id, driver.registration())
        driver.ledger.admit(other, reserve=9)
        driver.clock.now += 1
        driver.ledger.finish(other, paid(completed(other.id)))
        assert driver.live(60, slots=4) == [claim.id]
        _refuse(driver, driver.claim(claim.id, driver.registration()))
        assert driver.redis.hget(JOB + claim.id, "state") == b"queued"
        assert driver.redis.hexists(HOLDS, SCOPE)


def test_hold_stops_what_is_on_its_way(driver: LedgerDriver) -> None:
    """A job that is hinted or claimed when the model is held goes back, and calls nothing."""
    worker = driver.worker(slots=3)
    driver.enter(new_job("a"), new_job("b"), new_job("c"))
    first, second, third = driver.hints()
    a, b = driver.claim(first.id, worker), driver.claim(second.id, worker)
    _refuse(driver, a)
    admission = driver.ledger.admit(b)
    assert (admission.verdict, admission.reason) == (Verdict.PARK, "access_denied")
    assert driver.ledger.claim(third.id, "t", worker) == ClaimRefusal(
        State.QUEUED, RefusalReason.HELD
    )
    assert driver.hints() == ()
    assert driver.live(61, slots=4) == ["c"]


def test_two_scopes_hold_one_lane(driver: LedgerDriver) -> None:
    """A lane held by its model and its tenant is served when neither holds it any more."""
    _hold(driver)
    driver.redis.hset(HOLDS, "tenant:default", "paused")
    assert driver.live(70, slots=4) == []
    driver.redis.zadd(HOLD_ENDS, {"tenant:default": 1})
    assert driver.live(1, slots=4) == ["refused"]


def test_hold_for_good_gets_no_end(driver: LedgerDriver) -> None:
    """No refusal shortens a hold that an operator set until further notice."""
    claim = driver.begin(worker=driver.worker(slots=4))
    assert driver.ledger.admit(claim).verdict is Verdict.GO
    driver.redis.hset(HOLDS, SCOPE, "paused")
    driver.ledger.finish(claim, unpaid(outcome_of(f"held {SCOPE}", claim.id)))
    assert driver.live(70, slots=4) == []
    assert driver.redis.hgetall(HOLDS) == {SCOPE.encode(): b"paused"}


def test_emptied_lane_comes_back_held(driver: LedgerDriver) -> None:
    """A held lane that was emptied and filled again is held as before, once in its ring later."""
    claim = _hold(driver)
    assert driver.live(1, slots=4) == []
    driver.ledger.cancel([claim.id])
    driver.enter(new_job("new"))
    assert driver.live(1, slots=4) == []
    assert driver.live(60, slots=4) == ["new"]
    driver.enter(new_job("newer"), new_job("newest"))
    ring = driver.redis.lrange(f"{LANE_RING}visionq.interactive:default", 0, -1)
    assert len(ring) == len(set(ring)) == 1


def test_deadline_in_a_held_lane(driver: LedgerDriver) -> None:
    """A deadline passes in a held lane too."""
    _hold(driver)
    driver.enter(new_job("late", deadline=moment(driver.clock.now + 5)))
    driver.clock.now += 6
    assert driver.ledger.dispatch().expired == ("late",)
    assert driver.ledger.expire(["late"]) == ["queued"]
    assert driver.state("late") is State.FAILED


def test_many_lanes_come_back_in_portions(driver: LedgerDriver) -> None:
    """However many tenants have work for a held model, no script puts all of it back at once."""
    _hold(driver, tenant="t0")
    driver.enter(*(new_job(tenant=f"t{number}") for number in range(1, 1_000)))
    while driver.redis.zcard(HELD_LANES + SCOPE) < driver.redis.hlen(LANE_SIZES):
        driver.clock.now += 1
        driver.worker(slots=4)
        driver.hints()
    lanes = driver.redis.zcard(HELD_LANES + SCOPE)
    assert lanes >= 1_000
    driver.redis.zadd(HOLD_ENDS, {SCOPE: 1})
    while left := driver.redis.zcard(HELD_LANES + SCOPE):
        driver.redis.delete("visionq:wake")
        driver.worker(slots=1)
        driver.hints()
        assert left - driver.redis.zcard(HELD_LANES + SCOPE) <= 200
        assert driver.redis.llen("visionq:wake") == 1
    assert not driver.redis.exists(HOLDS, HOLD_ENDS)


def test_holds_that_end_together_share_a_script(driver: LedgerDriver) -> None:
    """However many models are let go at once, no script puts all of their lanes back."""
    models = [f"m{number}" for number in range(5)]
    driver.enter(*(new_job(tenant=f"t{n}", model=model) for n in range(150) for model in models))
    for model in models:
        lanes = {f"{QUEUE_INTERACTIVE}:t{n}:{model}": n for n in range(150)}
        driver.redis.hset(HOLDS, f"model:{model}", "told")
        driver.redis.zadd(HOLD_ENDS, {f"model:{model}": 1})
        driver.redis.zadd(f"{HELD_LANES}model:{model}", lanes)
    looks = 0
    while driver.redis.exists(HOLDS):
        driver.redis.delete("visionq:wake")
        driver.hints()
        looks += 1
        assert driver.redis.llen("visionq:wake") == 1
    assert looks == 3


# Documents newer than a worker ------------------------------------------------------------------


def test_newer_job_waits_for_a_newer_worker(driver: LedgerDriver) -> None:
    """A worker that can't read a job parks it, and the first that can takes it up."""
    old = driver.worker(slots=4)
    driver.enter(newer(new_job("newer")), new_job("plain"))
    hinted = [hint.id for hint in driver.hints()]
    assert driver.ledger.claim("newer", "t", old) == ClaimRefusal(
        State.PARKED, RefusalReason.TOO_NEW
    )
    assert isinstance(driver.ledger.claim("plain", "u", old), Claim)
    assert hinted == ["newer", "plain"]
    assert driver.state("newer") is State.PARKED
    assert "newer" not in driver.live(30, slots=4)
    new = driver.worker("w2", slots=4, schema_version=2)
    assert "newer" in [hint.id for hint in driver.hints()]
    assert driver.claim("newer", new).id == "newer"
    assert not driver.redis.exists(TOO_NEW)


def test_old_and_new_workers_share(driver: LedgerDriver) -> None:
    """Beside old workers, who take hints for newer jobs too, the new ones get through them all."""
    ids = driver.enter(*(newer(new_job()) for _ in range(40)))
    turn = itertools.count()
    for _ in range(60):
        driver.clock.now += 1
        workers = [driver.worker("old", 4), driver.worker("new", 4, schema_version=2)]
        for hint in driver.hints():
            number = next(turn)
            claim = driver.ledger.claim(hint.id, f"t{number}", workers[number % 2])
            if isinstance(claim, Claim):
                driver.ledger.admit(claim, reserve=9)
                driver.ledger.finish(claim, paid(completed(claim.id)))
    assert {driver.state(job_id) for job_id in ids} == {State.COMPLETED}


def test_fields_of_a_newer_worker_are_passed_over(driver: LedgerDriver) -> None:
    """An answer that a newer worker kept for repair is repaired, with fields not known here."""
    claim = driver.begin(new_job(), driver.worker())
    driver.ledger.admit(claim, reserve=9)
    driver.ledger.finish(claim, paid(outcome_of("mending", claim.id, "almost")))
    kept = json.loads(driver.redis.hget(JOB + claim.id, "faulty") or b"null")
    driver.redis.hset(JOB + claim.id, "faulty", json.dumps({**kept, "added_later": 1}))
    (hint,) = driver.hints()
    again = driver.claim(hint.id, driver.worker())
    assert again.faulty is not None
    assert again.faulty.text == "almost"


def test_a_newer_job_is_shown_but_not_replayed(driver: LedgerDriver) -> None:
    """Its fields that are not known here do not hide it, and are not lost in a copy."""
    (job_id,) = driver.enter(new_job("newer"))
    document = json.loads(driver.redis.hget(JOB + job_id, "document") or b"")
    driver.redis.hset(JOB + job_id, "document", json.dumps({**document, "added_later": 1}))
    shown = job_document(driver.redis, job_id)
    assert shown is not None
    assert shown.prompt == document["prompt"]
    with pytest.raises(InvalidJob, match=r"newer: added_later: .*; if a newer release submitted"):
        job_documents(driver.redis, [job_id])


def test_cancelled_newer_job_is_forgotten(driver: LedgerDriver) -> None:
    """A newer job that was cancelled leaves nothing behind for a newer worker to find."""
    old = driver.worker(slots=4)
    driver.enter(newer(new_job("newer")))
    driver.hints()
    driver.ledger.claim("newer", "t", old)
    assert driver.ledger.cancel(["newer"]) == ["parked"]
    assert not driver.redis.exists(TOO_NEW)
    driver.worker("w2", schema_version=2)
    assert driver.hints() == ()
