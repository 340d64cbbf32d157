"""Workers that die, and Redis that stands still: jobs run again, and only when they must."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from tests.integration.ledger_kit import Desk, completed, moment, new_job, outcome_of, paid, unpaid
from visionq.contract import State
from visionq.ledger import ClaimRefusal, LedgerOptions, Verdict, ledger_options
from visionq.ledger.views import job_views
from visionq.settings import Settings

if TYPE_CHECKING:
    from redis import Redis


@pytest.fixture
def desk(any_redis: Redis) -> Desk:
    return Desk(any_redis)


def _beat(desk: Desk, seconds: float, leases: list[tuple[str, str]]) -> frozenset[str]:
    lost: frozenset[str] = frozenset()
    for _ in range(int(seconds)):
        desk.clock.now += 1
        lost |= desk.ledger.renew(desk.registration(), leases)
        desk.hints()
    return lost


def test_dead_worker_job_runs_again(desk: Desk) -> None:
    """A silent worker's job is queued again when its lease lapses, not before, and is hinted."""
    claim = desk.begin()
    desk.pass_time(9)
    assert desk.state(claim.id) is State.IN_PROGRESS
    desk.worker("w2")
    assert desk.pass_time(3) == [claim.id]
    second = desk.claim(claim.id, desk.worker("w2"))
    assert (second.lapses, second.attempts, second.interrupted) == (1, 0, False)


def test_lapsed_job_goes_first(desk: Desk) -> None:
    """A job that lost its worker goes to the head of its lane."""
    claim = desk.begin(worker=desk.worker(slots=1))
    desk.enter(new_job(), new_job())
    desk.lapse(claim)
    desk.worker("w2", slots=1)
    assert [hint.id for hint in desk.hints()] == [claim.id]


def test_renewed_lease_holds(desk: Desk) -> None:
    """As long as it is renewed a lease holds; once lost, the worker is told."""
    claim = desk.begin()
    assert _beat(desk, 60, [(claim.id, claim.token)]) == frozenset()
    assert desk.state(claim.id) is State.IN_PROGRESS
    desk.pass_time(11)
    assert _beat(desk, 1, [(claim.id, claim.token)]) == {claim.id}


def test_old_token_is_worth_nothing(desk: Desk) -> None:
    """Once its job is another's, a worker can neither call nor write, and the job does not move."""
    late = desk.begin()
    desk.lapse(late)
    worker = desk.worker("w2")
    desk.hints()
    holder = desk.claim(late.id, worker)
    assert desk.ledger.admit(late).verdict is Verdict.REFUSED
    for kind in ("completed", "failed", "waiting 0", "parked billing_unknown"):
        assert not desk.ledger.finish(late, unpaid(outcome_of(kind, late.id)))
        assert desk.state(late.id) is State.IN_PROGRESS
    assert desk.ledger.admit(holder).verdict is Verdict.GO


def test_pause_of_redis_costs_no_lease(desk: Desk) -> None:
    """After a silence of all dispatchers leases get a new term before any of them lapses."""
    claim = desk.begin()
    desk.clock.now += 30
    desk.hints()
    assert desk.state(claim.id) is State.IN_PROGRESS
    desk.pass_time(9)
    assert desk.ledger.renew(desk.registration(), [(claim.id, claim.token)]) == frozenset()
    desk.pass_time(9)
    assert desk.state(claim.id) is State.IN_PROGRESS


def test_pause_of_redis_keeps_workers(desk: Desk) -> None:
    """Nor does such a silence unregister those who could not renew."""
    desk.worker(slots=3)
    desk.hints()
    desk.clock.now += 30
    desk.enter(new_job())
    assert len(desk.hints()) == 1


def test_dead_stays_dead_after_pause(desk: Desk) -> None:
    """A worker that died during the silence loses its job one term after it."""
    claim = desk.begin()
    desk.clock.now += 30
    desk.hints()
    desk.pass_time(12)
    assert desk.state(claim.id) is State.QUEUED


def test_gap_is_longer_than_a_tick() -> None:
    """However short the lease, the ticks of a calm stack, a second apart, are no silence."""
    assert ledger_options(Settings(lease=5)).gap >= 2
    assert ledger_options(Settings(lease=10)).gap == 4


def test_claim_can_be_repeated(desk: Desk) -> None:
    """The same token claims again, after a lost reply, and takes no second slot."""
    first = desk.begin()
    again = desk.claim(first.id, desk.registration(), first.token)
    assert again == first
    assert desk.redis.hvals("visionq:pool-busy") == [b"1"]


def test_interruption_is_told_until_dealt_with(desk: Desk) -> None:
    """Who claims after a lost call is told of it, even if the first to be told died of it."""
    first = desk.begin()
    assert desk.ledger.admit(first, reserve=900).verdict is Verdict.GO
    desk.lapse(first)
    worker = desk.worker("w2")
    desk.hints()
    second = desk.claim(first.id, worker)
    assert second.interrupted
    assert desk.claim(first.id, worker, second.token).interrupted, "the first reply was lost"
    desk.lapse(second)
    worker = desk.worker("w3")
    desk.hints()
    third = desk.claim(first.id, worker)
    assert third.interrupted, "the second worker died before it could act on it"
    desk.ledger.finish(third, unpaid(outcome_of("waiting 0", first.id)))
    desk.hints()
    fourth = desk.claim(first.id, worker)
    assert not fourth.interrupted
    assert fourth.unknown_calls == 1


def test_deadline_in_the_lane(desk: Desk) -> None:
    """A queued job whose deadline passes is named by dispatch and fails by expire, unpaid."""
    deadline = moment(desk.clock.now + 60)
    (job_id,) = desk.enter(new_job(deadline=deadline))
    desk.pass_time(58)
    assert desk.ledger.dispatch().expired == ()
    desk.clock.now += 3
    assert desk.ledger.dispatch().expired == (job_id,)
    assert desk.ledger.dispatch().expired == (), "who was told may do it"
    desk.clock.now += desk.options.lease
    assert desk.ledger.dispatch().expired == (job_id,), "and if not, the next"
    assert desk.ledger.expire([job_id]) == ["queued"]
    (view,) = job_views(desk.redis, [job_id])
    assert view is not None
    assert (view.state, view.reason) == (State.FAILED, "deadline_exceeded")


def test_expire_spares_what_is_under_way(desk: Desk) -> None:
    """Expire ends only what is still queued."""
    claim = desk.begin(new_job(deadline=moment(desk.clock.now + 5)))
    assert desk.ledger.expire([claim.id]) == ["in_progress"]
    assert desk.state(claim.id) is State.IN_PROGRESS


def test_deadline_before_the_call(desk: Desk) -> None:
    """A deadline that passed since the claim forbids the call."""
    claim = desk.begin(new_job(deadline=moment(desk.clock.now + 5)))
    desk.clock.now += 5
    assert desk.ledger.admit(claim, reserve=5).verdict is Verdict.EXPIRED
    assert desk.money() == {}


def test_lease_as_told(any_redis: Redis) -> None:
    """The lease is the options' own."""
    desk = Desk(any_redis, LedgerOptions(lease=30, gap=12))
    claim = desk.begin()
    desk.pass_time(29)
    assert desk.state(claim.id) is State.IN_PROGRESS
    desk.pass_time(2)
    assert desk.state(claim.id) is State.QUEUED


def test_waiting_comes_back(desk: Desk) -> None:
    """A waiting job is due when it said; only the waits that count burn an attempt."""
    claim = desk.begin()
    desk.ledger.finish(claim, unpaid(outcome_of("retrying 8", claim.id)))
    (view,) = job_views(desk.redis, [claim.id])
    assert view is not None
    assert (view.state, view.reason, view.attempts) == (
        State.WAITING,
        "provider_unavailable",
        1,
    )
    assert view.due_at == moment(desk.clock.now) + timedelta(seconds=8)
    desk.worker()
    assert desk.pass_time(7.9) == []
    desk.worker()
    assert desk.pass_time(0.2) == [claim.id]
    second = desk.claim(claim.id, desk.worker())
    assert second.attempts == 1


def test_finish_can_be_repeated(desk: Desk) -> None:
    """A repeated finish says again that it is done, and counts nothing twice."""
    claim = desk.begin()
    desk.ledger.admit(claim, reserve=900)
    for _ in range(2):
        assert desk.ledger.finish(claim, paid(completed(claim.id), cost=500))
    assert desk.money() == {"settled": 500}
    assert desk.redis.hget("visionq:counts", "completed") == b"1"
    assert desk.ledger.claim(claim.id, "t", desk.registration()) == ClaimRefusal(State.COMPLETED)
