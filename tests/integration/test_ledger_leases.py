"""Workers that die, and Redis that hangs: jobs run again, and only when they must."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from tests.support.ledger import LedgerDriver, completed, moment, new_job, outcome_of, paid, unpaid
from visionq.contract import State
from visionq.ledger import ClaimRefusal, LedgerOptions, Verdict, ledger_options
from visionq.ledger.views import job_views
from visionq.settings import Settings

if TYPE_CHECKING:
    from redis import Redis


@pytest.fixture
def driver(any_redis: Redis) -> LedgerDriver:
    return LedgerDriver(any_redis)


def _beat(driver: LedgerDriver, seconds: float, leases: list[tuple[str, str]]) -> frozenset[str]:
    lost: frozenset[str] = frozenset()
    for _ in range(int(seconds)):
        driver.clock.now += 1
        lost |= driver.ledger.renew(driver.registration(), leases)
        driver.hints()
    return lost


def test_dead_worker_job_runs_again(driver: LedgerDriver) -> None:
    """A silent worker's job is queued again when its lease lapses, not before, and is hinted."""
    claim = driver.begin()
    driver.pass_time(9)
    assert driver.state(claim.id) is State.IN_PROGRESS
    driver.worker("w2")
    assert driver.pass_time(3) == [claim.id]
    second = driver.claim(claim.id, driver.worker("w2"))
    assert (second.lapses, second.attempts, second.interrupted) == (1, 0, False)


def test_lapsed_job_goes_first(driver: LedgerDriver) -> None:
    """A job that lost its worker goes to the head of its lane."""
    claim = driver.begin(worker=driver.worker(slots=1))
    driver.enter(new_job(), new_job())
    driver.lapse(claim)
    driver.worker("w2", slots=1)
    assert [hint.id for hint in driver.hints()] == [claim.id]


def test_renewed_lease_holds(driver: LedgerDriver) -> None:
    """As long as it is renewed a lease holds; once lost, the worker learns it."""
    claim = driver.begin()
    assert _beat(driver, 60, [(claim.id, claim.token)]) == frozenset()
    assert driver.state(claim.id) is State.IN_PROGRESS
    driver.pass_time(11)
    assert _beat(driver, 1, [(claim.id, claim.token)]) == {claim.id}


def test_old_token_is_worth_nothing(driver: LedgerDriver) -> None:
    """Once its job is another's, a worker can neither call nor write, and the job does not move."""
    late = driver.begin()
    driver.lapse(late)
    worker = driver.worker("w2")
    driver.hints()
    holder = driver.claim(late.id, worker)
    assert driver.ledger.admit(late).verdict is Verdict.REFUSED
    for kind in ("completed", "failed", "waiting 0", "parked billing_unknown"):
        assert not driver.ledger.finish(late, unpaid(outcome_of(kind, late.id)))
        assert driver.state(late.id) is State.IN_PROGRESS
    assert driver.ledger.admit(holder).verdict is Verdict.GO


def test_pause_of_redis_costs_no_lease(driver: LedgerDriver) -> None:
    """After a silence of all dispatchers leases get a new term before any of them lapses."""
    claim = driver.begin()
    driver.clock.now += 30
    driver.hints()
    assert driver.state(claim.id) is State.IN_PROGRESS
    driver.pass_time(9)
    assert driver.ledger.renew(driver.registration(), [(claim.id, claim.token)]) == frozenset()
    driver.pass_time(9)
    assert driver.state(claim.id) is State.IN_PROGRESS


def test_pause_of_redis_keeps_workers(driver: LedgerDriver) -> None:
    """Nor does such a silence unregister those who could not renew."""
    driver.worker(slots=3)
    driver.hints()
    driver.clock.now += 30
    driver.enter(new_job())
    assert len(driver.hints()) == 1


def test_dead_stays_dead_after_pause(driver: LedgerDriver) -> None:
    """A worker that died during the silence loses its job one term after it."""
    claim = driver.begin()
    driver.clock.now += 30
    driver.hints()
    driver.pass_time(12)
    assert driver.state(claim.id) is State.QUEUED


def test_gap_is_longer_than_a_tick() -> None:
    """However short the lease, the ticks of a calm stack, a second apart, are no silence."""
    assert ledger_options(Settings(lease=5)).gap >= 2
    assert ledger_options(Settings(lease=10)).gap == 4


def test_claim_can_be_repeated(driver: LedgerDriver) -> None:
    """The same token claims again, after a lost reply, and takes no second slot."""
    first = driver.begin()
    again = driver.claim(first.id, driver.registration(), first.token)
    assert again == first
    assert driver.redis.hvals("visionq:pool-busy") == [b"1"]


def test_interruption_is_told_until_dealt_with(driver: LedgerDriver) -> None:
    """The claim after a lost call learns of it, even if the first claim to learn died."""
    first = driver.begin()
    assert driver.ledger.admit(first, reserve=900).verdict is Verdict.GO
    driver.lapse(first)
    worker = driver.worker("w2")
    driver.hints()
    second = driver.claim(first.id, worker)
    assert second.interrupted
    assert driver.claim(first.id, worker, second.token).interrupted, "the first reply was lost"
    driver.lapse(second)
    worker = driver.worker("w3")
    driver.hints()
    third = driver.claim(first.id, worker)
    assert third.interrupted, "the second worker died before it could act on it"
    driver.ledger.finish(third, unpaid(outcome_of("waiting 0", first.id)))
    driver.hints()
    fourth = driver.claim(first.id, worker)
    assert not fourth.interrupted
    assert fourth.unknown_calls == 1


def test_deadline_in_the_lane(driver: LedgerDriver) -> None:
    """A queued job whose deadline passes is named by dispatch and fails by expire, unpaid."""
    deadline = moment(driver.clock.now + 60)
    (job_id,) = driver.enter(new_job(deadline=deadline))
    driver.pass_time(58)
    assert driver.ledger.dispatch().expired == ()
    driver.clock.now += 3
    assert driver.ledger.dispatch().expired == (job_id,)
    assert driver.ledger.dispatch().expired == (), "its finder may do it"
    driver.clock.now += driver.options.lease
    assert driver.ledger.dispatch().expired == (job_id,), "and if not, the next"
    assert driver.ledger.expire([job_id]) == ["queued"]
    (view,) = job_views(driver.redis, [job_id])
    assert view is not None
    assert (view.state, view.reason) == (State.FAILED, "deadline_exceeded")


def test_expire_spares_what_is_under_way(driver: LedgerDriver) -> None:
    """Expire ends only what is still queued."""
    claim = driver.begin(new_job(deadline=moment(driver.clock.now + 5)))
    assert driver.ledger.expire([claim.id]) == ["in_progress"]
    assert driver.state(claim.id) is State.IN_PROGRESS


def test_deadline_before_the_call(driver: LedgerDriver) -> None:
    """A deadline that passed since the claim forbids the call."""
    claim = driver.begin(new_job(deadline=moment(driver.clock.now + 5)))
    driver.clock.now += 5
    assert driver.ledger.admit(claim, reserve=5).verdict is Verdict.EXPIRED
    assert driver.money() == {}


def test_lease_as_told(any_redis: Redis) -> None:
    """The lease is the options' own."""
    driver = LedgerDriver(any_redis, LedgerOptions(lease=30, gap=12))
    claim = driver.begin()
    driver.pass_time(29)
    assert driver.state(claim.id) is State.IN_PROGRESS
    driver.pass_time(2)
    assert driver.state(claim.id) is State.QUEUED


def test_waiting_comes_back(driver: LedgerDriver) -> None:
    """A waiting job is due when it said; only the waits that count burn an attempt."""
    claim = driver.begin()
    driver.ledger.finish(claim, unpaid(outcome_of("retrying 8", claim.id)))
    (view,) = job_views(driver.redis, [claim.id])
    assert view is not None
    assert (view.state, view.reason, view.attempts) == (
        State.WAITING,
        "provider_unavailable",
        1,
    )
    assert view.due_at == moment(driver.clock.now) + timedelta(seconds=8)
    driver.worker()
    assert driver.pass_time(7.9) == []
    driver.worker()
    assert driver.pass_time(0.2) == [claim.id]
    second = driver.claim(claim.id, driver.worker())
    assert second.attempts == 1


def test_finish_can_be_repeated(driver: LedgerDriver) -> None:
    """A repeated finish says again that it is done, and counts nothing twice."""
    claim = driver.begin()
    driver.ledger.admit(claim, reserve=900)
    for _ in range(2):
        assert driver.ledger.finish(claim, paid(completed(claim.id), cost=500))
    assert driver.money() == {"settled": 500}
    assert driver.redis.hget("visionq:counts", "completed") == b"1"
    assert driver.ledger.claim(claim.id, "t", driver.registration()) == ClaimRefusal(
        State.COMPLETED
    )
