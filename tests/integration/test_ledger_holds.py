"""Lanes that are held, and jobs that no worker can read yet: kept back, and never forgotten."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from tests.integration.ledger_kit import (
    Desk,
    completed,
    moment,
    new_job,
    newer,
    outcome_of,
    paid,
    unpaid,
)
from visionq.contract import State
from visionq.ledger import Claim, ClaimRefusal, LedgerOptions, RefusalReason, Verdict
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
def desk(redis: Redis) -> Desk:
    return Desk(redis, LedgerOptions(slots_per_hint_ahead=0))


def _hold(desk: Desk, **fields: str) -> Claim:
    """Let a refusal of the model hold it."""
    claim = desk.begin(new_job("refused", **fields), desk.worker(slots=4))
    _refuse(desk, claim)
    return claim


def _refuse(desk: Desk, claim: Claim) -> None:
    assert desk.ledger.admit(claim, reserve=9).verdict is Verdict.GO
    assert desk.ledger.finish(claim, unpaid(outcome_of(f"held {SCOPE}", claim.id)))


def _live(desk: Desk, seconds: int) -> list[str]:
    hinted: list[str] = []
    for _ in range(seconds):
        desk.clock.now += 1
        desk.worker(slots=4)
        hinted += [hint.id for hint in desk.hints()]
    return hinted


def test_held_model_leaves_others_alone(desk: Desk) -> None:
    """While a model is held its lanes rest, those of others go on, and nothing is burned."""
    _hold(desk)
    desk.enter(new_job(), new_job("other", model="m2"))
    assert set(_live(desk, 30)) == {"other"}
    assert desk.redis.hget(JOB + "refused", "attempts") == b"0"
    assert desk.redis.hgetall(HOLDS) == {SCOPE.encode(): b"access_denied"}


def test_hold_ends(desk: Desk) -> None:
    """After its time one job tries a held model, from the head of its lanes; then others go on."""
    _hold(desk)
    desk.enter(new_job("second"), new_job("third"))
    assert _live(desk, 61) == ["refused"]
    trial = desk.claim("refused", desk.registration())
    assert desk.ledger.admit(trial, reserve=9).verdict is Verdict.GO
    desk.clock.now += 1
    assert desk.ledger.finish(trial, paid(completed(trial.id)))
    assert _live(desk, 2) == ["second", "third"]
    assert not desk.redis.exists(HOLDS, HELD_LANES + SCOPE)


def test_refused_again_is_held_again(desk: Desk) -> None:
    """A model that stays forbidden parks no job alone, whatever passes at other models."""
    claim = _hold(desk)
    for round_ in range(3):
        desk.enter(new_job(f"other{round_}", model="m2"))
        (hint,) = desk.hints()
        other = desk.claim(hint.id, desk.registration())
        desk.ledger.admit(other, reserve=9)
        desk.clock.now += 1
        desk.ledger.finish(other, paid(completed(other.id)))
        assert _live(desk, 60) == [claim.id]
        _refuse(desk, desk.claim(claim.id, desk.registration()))
        assert desk.redis.hget(JOB + claim.id, "state") == b"queued"
        assert desk.redis.hexists(HOLDS, SCOPE)


def test_hold_stops_what_is_on_its_way(desk: Desk) -> None:
    """What is hinted or in hand when the model is held goes back, and calls nothing."""
    worker = desk.worker(slots=3)
    desk.enter(new_job("a"), new_job("b"), new_job("c"))
    first, second, third = desk.hints()
    a, b = desk.claim(first.id, worker), desk.claim(second.id, worker)
    _refuse(desk, a)
    admission = desk.ledger.admit(b)
    assert (admission.verdict, admission.reason) == (Verdict.PARK, "access_denied")
    assert desk.ledger.claim(third.id, "t", worker) == ClaimRefusal(
        State.QUEUED, RefusalReason.HELD
    )
    assert desk.hints() == ()
    assert _live(desk, 61) == ["c"]


def test_two_scopes_hold_one_lane(desk: Desk) -> None:
    """A lane held by its model and its tenant is served when neither holds it any more."""
    _hold(desk)
    desk.redis.hset(HOLDS, "tenant:default", "paused")
    assert _live(desk, 70) == []
    desk.redis.zadd(HOLD_ENDS, {"tenant:default": 1})
    assert _live(desk, 1) == ["refused"]


def test_hold_for_good_gets_no_end(desk: Desk) -> None:
    """What somebody holds until they act, no refusal shortens."""
    claim = desk.begin(worker=desk.worker(slots=4))
    assert desk.ledger.admit(claim).verdict is Verdict.GO
    desk.redis.hset(HOLDS, SCOPE, "paused")
    desk.ledger.finish(claim, unpaid(outcome_of(f"held {SCOPE}", claim.id)))
    assert _live(desk, 70) == []
    assert desk.redis.hgetall(HOLDS) == {SCOPE.encode(): b"paused"}


def test_emptied_lane_comes_back_held(desk: Desk) -> None:
    """A held lane that was emptied and filled again is held as before, once in its ring later."""
    claim = _hold(desk)
    assert _live(desk, 1) == []
    desk.ledger.cancel([claim.id])
    desk.enter(new_job("new"))
    assert _live(desk, 1) == []
    assert _live(desk, 60) == ["new"]
    desk.enter(new_job("newer"), new_job("newest"))
    ring = desk.redis.lrange(f"{LANE_RING}visionq.interactive:default", 0, -1)
    assert len(ring) == len(set(ring)) == 1


def test_deadline_in_a_held_lane(desk: Desk) -> None:
    """A deadline passes in a held lane too."""
    _hold(desk)
    desk.enter(new_job("late", deadline=moment(desk.clock.now + 5)))
    desk.clock.now += 6
    assert desk.ledger.dispatch().expired == ("late",)
    assert desk.ledger.expire(["late"]) == ["queued"]
    assert desk.state("late") is State.FAILED


def test_many_lanes_come_back_in_portions(desk: Desk) -> None:
    """However many tenants have work for a held model, no script puts all of it back at once."""
    _hold(desk, tenant="t0")
    desk.enter(*(new_job(tenant=f"t{number}") for number in range(1, 1_000)))
    while desk.redis.zcard(HELD_LANES + SCOPE) < desk.redis.hlen(LANE_SIZES):
        desk.clock.now += 1
        desk.worker(slots=4)
        desk.hints()
    lanes = desk.redis.zcard(HELD_LANES + SCOPE)
    assert lanes >= 1_000
    desk.redis.zadd(HOLD_ENDS, {SCOPE: 1})
    while left := desk.redis.zcard(HELD_LANES + SCOPE):
        desk.redis.delete("visionq:wake")
        desk.worker(slots=1)
        desk.hints()
        assert left - desk.redis.zcard(HELD_LANES + SCOPE) <= 200
        assert desk.redis.llen("visionq:wake") == 1
    assert not desk.redis.exists(HOLDS, HOLD_ENDS)


def test_holds_that_end_together_share_a_script(desk: Desk) -> None:
    """However many models are let go at once, no script puts all of their lanes back."""
    models = [f"m{number}" for number in range(5)]
    desk.enter(*(new_job(tenant=f"t{n}", model=model) for n in range(150) for model in models))
    for model in models:
        lanes = {f"{QUEUE_INTERACTIVE}:t{n}:{model}": n for n in range(150)}
        desk.redis.hset(HOLDS, f"model:{model}", "told")
        desk.redis.zadd(HOLD_ENDS, {f"model:{model}": 1})
        desk.redis.zadd(f"{HELD_LANES}model:{model}", lanes)
    looks = 0
    while desk.redis.exists(HOLDS):
        desk.redis.delete("visionq:wake")
        desk.hints()
        looks += 1
        assert desk.redis.llen("visionq:wake") == 1
    assert looks == 3


# Documents newer than a worker ------------------------------------------------------------------


def test_newer_job_waits_for_a_newer_worker(desk: Desk) -> None:
    """A worker that can't read a job parks it, and the first that can takes it up."""
    old = desk.worker(slots=4)
    desk.enter(newer(new_job("newer")), new_job("plain"))
    hinted = [hint.id for hint in desk.hints()]
    assert desk.ledger.claim("newer", "t", old) == ClaimRefusal(State.PARKED, RefusalReason.TOO_NEW)
    assert isinstance(desk.ledger.claim("plain", "u", old), Claim)
    assert hinted == ["newer", "plain"]
    assert desk.state("newer") is State.PARKED
    assert "newer" not in _live(desk, 30)
    new = desk.worker("w2", slots=4, schema_version=2)
    assert "newer" in [hint.id for hint in desk.hints()]
    assert desk.claim("newer", new).id == "newer"
    assert not desk.redis.exists(TOO_NEW)


def test_old_and_new_workers_share(desk: Desk) -> None:
    """Beside old workers, who take hints for newer jobs too, the new ones get through them all."""
    ids = desk.enter(*(newer(new_job()) for _ in range(40)))
    turn = itertools.count()
    for _ in range(60):
        desk.clock.now += 1
        workers = [desk.worker("old", 4), desk.worker("new", 4, schema_version=2)]
        for hint in desk.hints():
            number = next(turn)
            claim = desk.ledger.claim(hint.id, f"t{number}", workers[number % 2])
            if isinstance(claim, Claim):
                desk.ledger.admit(claim, reserve=9)
                desk.ledger.finish(claim, paid(completed(claim.id)))
    assert {desk.state(job_id) for job_id in ids} == {State.COMPLETED}


def test_cancelled_newer_job_is_forgotten(desk: Desk) -> None:
    """A newer job that was cancelled leaves nothing behind for a newer worker to find."""
    old = desk.worker(slots=4)
    desk.enter(newer(new_job("newer")))
    desk.hints()
    desk.ledger.claim("newer", "t", old)
    assert desk.ledger.cancel(["newer"]) == ["parked"]
    assert not desk.redis.exists(TOO_NEW)
    desk.worker("w2", schema_version=2)
    assert desk.hints() == ()
