"""Whose job is next, how many hints are out, and what becomes of hints that get lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.ledger import BULK, INTERACTIVE, LedgerDriver, completed, new_job, paid
from visionq.contract import State
from visionq.ledger import ClaimRefusal, LedgerOptions, Verdict
from visionq.names import HOLD_ENDS, QUEUE_BULK, QUEUE_INTERACTIVE, WAKE

if TYPE_CHECKING:
    from redis import Redis

    from visionq.ledger import Claim, Hint

ELSEWHERE = LedgerOptions(broker_is_here=False)


@pytest.fixture
def driver(any_redis: Redis) -> LedgerDriver:
    return LedgerDriver(any_redis)


def _serve(driver: LedgerDriver, slots: int, rounds: int) -> list[Hint]:
    """Let one worker do what it is given, and return it in that order."""
    worker = driver.worker(slots=slots)
    served: list[Hint] = []
    for _ in range(rounds):
        for hint in driver.hints():
            claim = driver.claim(hint.id, worker)
            assert driver.ledger.finish(claim, paid(completed(claim.id)))
            served.append(hint)
    return served


def test_tenants_take_turns(driver: LedgerDriver) -> None:
    """A tenant with 5,000 queued jobs does not keep another from its turn."""
    driver.enter(*(new_job(tenant="many") for _ in range(5_000)))
    driver.enter(*(new_job(tenant="few") for _ in range(3)))
    served = [hint.tenant for hint in _serve(driver, slots=2, rounds=4)]
    assert served[:6] == ["many", "few"] * 3


def test_models_of_a_tenant_take_turns(driver: LedgerDriver) -> None:
    """Within one tenant the lanes of its models take turns too."""
    driver.enter(*(new_job(model="m1") for _ in range(50)))
    driver.enter(new_job(model="m2"))
    assert "m2" in [hint.model for hint in _serve(driver, slots=1, rounds=2)]


def test_interactive_goes_first(driver: LedgerDriver) -> None:
    """Nine interactive jobs, then one of the bulk that waits, and so on."""
    driver.enter(*(new_job(priority="bulk") for _ in range(40)))
    driver.enter(*(new_job(priority="interactive") for _ in range(40)))
    served = [hint.queue for hint in _serve(driver, slots=1, rounds=30)]
    assert served == ([QUEUE_INTERACTIVE] * 9 + [QUEUE_BULK]) * 3


def test_first_in_first_out(driver: LedgerDriver) -> None:
    """Jobs of one lane run in the order in which they came."""
    ids = driver.enter(*(new_job() for _ in range(9)))
    assert [hint.id for hint in _serve(driver, slots=2, rounds=6)] == ids


def test_no_more_hints_than_slots(driver: LedgerDriver) -> None:
    """As many hints are out as there are free slots, and one more for each eight slots."""
    driver.enter(*(new_job() for _ in range(100)))
    worker = driver.worker(slots=16)
    first = driver.hints()
    assert len(first) == 18
    assert driver.hints() == ()
    for hint in first[:16]:
        driver.claim(hint.id, worker)
    assert driver.hints() == (), "two hints are ahead already"


def test_a_tenant_leaves_slots_to_others(driver: LedgerDriver) -> None:
    """Jobs that are not sent yet never hold all slots, once there are two tenants."""
    worker = driver.worker(slots=16)
    driver.enter(new_job(tenant="small"), *(new_job(tenant="slow") for _ in range(100)))
    (small, *slow) = sorted(driver.hints(), key=lambda hint: hint.tenant != "small")
    assert [hint.tenant for hint in slow] == ["slow"] * 12, "three for each of the four left"
    assert driver.ledger.finish(driver.claim(small.id, worker), paid(completed(small.id)))
    claims = [driver.claim(hint.id, worker) for hint in (*slow, *driver.hints())]
    driver.enter(*(new_job(tenant="small") for _ in range(3)))
    assert [hint.tenant for hint in driver.hints()] == ["small"] * 3
    for claim in claims:
        assert driver.ledger.admit(claim, reserve=0).verdict is Verdict.GO
    assert "slow" in {hint.tenant for hint in driver.hints()}, "calls that are out hold none back"


def test_no_worker_no_hint(driver: LedgerDriver) -> None:
    """Without a worker that serves the queue, a job stays in its lane."""
    driver.enter(new_job(priority="interactive"))
    assert driver.hints() == ()
    driver.worker(queues=BULK)
    assert driver.hints() == ()
    driver.worker(queues=INTERACTIVE, name="w2")
    assert len(driver.hints()) == 1


def test_leave_takes_slots_along(driver: LedgerDriver) -> None:
    """A worker that took its leave, and one that fell silent, is given nothing more."""
    driver.worker("leaves")
    driver.worker("leaves", slots=0)
    driver.worker("falls silent")
    driver.pass_time(driver.options.lease + 1)
    driver.enter(new_job())
    assert driver.hints() == ()


def test_dead_pool_holds_nobody_up(driver: LedgerDriver) -> None:
    """Slots held by dead workers of other queues take none from the living."""
    dead = driver.worker("dead", slots=8, queues=BULK)
    driver.enter(*(new_job(priority="bulk") for _ in range(8)))
    for hint in driver.hints():
        driver.claim(hint.id, dead)
    driver.worker("dead", slots=0, queues=BULK)
    driver.worker("alive", slots=2)
    driver.enter(new_job(priority="bulk"), new_job(priority="bulk"))
    assert len(driver.hints()) == 2


def test_other_queues_other_pool(driver: LedgerDriver) -> None:
    """The slots of a worker that serves other queues than before count there, and only there."""
    driver.worker(slots=8)
    driver.worker(slots=8, queues=BULK)
    driver.worker(slots=0, queues=BULK)
    slots = driver.redis.hgetall("visionq:pool-slots")
    assert set(slots.values()) == {b"0"}


def test_lost_hint_is_sent_again(any_redis: Redis) -> None:
    """A hint that nobody claims is sent again after 5, 10, 20, 40, 60, 60 … seconds."""
    driver = LedgerDriver(any_redis, ELSEWHERE)
    driver.worker()
    driver.enter(new_job())
    sent: list[float] = []
    start = driver.clock.now
    for second in range(200):
        driver.clock.now = start + second
        driver.worker()
        sent += [float(second)] * len(driver.hints())
    assert sent == [0, 5, 15, 35, 75, 135, 195]


def test_waiting_messages_are_not_doubled(driver: LedgerDriver) -> None:
    """While the broker holds as many messages as hints are out, none is sent again."""
    driver.worker()
    driver.enter(new_job(), new_job())
    for hint in driver.hints():
        driver.redis.lpush(hint.queue, hint.id)
    for _ in range(60):
        driver.clock.now += 1
        driver.worker()
        assert driver.hints() == ()
    driver.redis.rpop(QUEUE_INTERACTIVE)
    again = []
    for _ in range(10):
        driver.clock.now += 1
        driver.worker()
        again += [hint.id for hint in driver.hints()]
    assert len(again) >= 1


def test_no_worker_no_second_hint(any_redis: Redis) -> None:
    """While no worker is registered no hint is sent again, however long it takes."""
    driver = LedgerDriver(any_redis, ELSEWHERE)
    driver.worker()
    driver.enter(new_job())
    assert len(driver.hints()) == 1
    driver.worker(slots=0)
    assert driver.pass_time(600) == []
    driver.worker()
    assert len(driver.pass_time(6)) == 1


def test_stale_hint_is_refused(driver: LedgerDriver) -> None:
    """A second message for the same job finds it in other hands, ended, or unknown."""
    claim = driver.begin()
    worker = driver.worker("w2")
    assert driver.ledger.claim(claim.id, "other", worker) == ClaimRefusal(State.IN_PROGRESS)
    driver.ledger.finish(claim, paid(completed(claim.id)))
    assert driver.ledger.claim(claim.id, "other", worker) == ClaimRefusal(State.COMPLETED)
    assert driver.ledger.claim("nobody", "other", worker) == ClaimRefusal(None)


def test_rest(driver: LedgerDriver) -> None:
    """A tick within its rest after the last look does nothing, and does not count as a look."""
    driver.worker()
    driver.ledger.dispatch()
    driver.enter(new_job())
    driver.clock.now += 0.5
    assert driver.ledger.dispatch(rest=0.9).hints == ()
    driver.clock.now += 0.5
    assert len(driver.ledger.dispatch(rest=0.9).hints) == 1


def test_wakes_dispatcher(driver: LedgerDriver) -> None:
    """A freed slot or new work wakes one dispatcher, with never more than one message."""
    claim = driver.begin()
    driver.redis.delete(WAKE)
    driver.enter(new_job(), new_job())
    driver.enter(new_job())
    assert driver.redis.llen(WAKE) == 1
    driver.redis.delete(WAKE)
    driver.ledger.finish(claim, paid(completed(claim.id)))
    assert driver.redis.llen(WAKE) == 1
    driver.redis.delete(WAKE)
    driver.worker("another")
    assert driver.redis.llen(WAKE) == 1


def test_looks_again_at_once_when_much_is_due(driver: LedgerDriver) -> None:
    """With more due than one look may touch, the next look does not wait for a tick."""
    claims = []
    worker = driver.worker(slots=20)
    driver.enter(*(new_job() for _ in range(10)))
    claims = [driver.claim(hint.id, worker) for hint in driver.hints()]
    assert len(claims) == 10
    driver.clock.now += 3
    driver.ledger.dispatch()
    driver.worker(slots=0)
    driver.pass_time(6)
    driver.clock.now += 3
    driver.redis.delete(WAKE)
    driver.ledger.dispatch(limit=4)
    assert driver.redis.llen(WAKE) == 1


def test_an_end_wakes_the_dispatcher_where_few_hints_lie_ahead(driver: LedgerDriver) -> None:
    """While enough hints lie ahead a free place takes one, unless another queue waits for it."""
    worker = driver.worker(slots=32)
    driver.enter(*(new_job(priority="bulk") for _ in range(50)))
    ids = [hint.id for hint in driver.hints()]
    assert len(ids) == 32 + 4
    claims = [driver.claim(job_id, worker) for job_id in ids[:32]]

    assert not _end_wakes(driver, claims[0])
    claims += [driver.claim(job_id, worker) for job_id in ids[32:34]]
    assert _end_wakes(driver, claims[1])
    driver.hints()
    assert not _end_wakes(driver, claims[2])
    driver.enter(new_job(priority="interactive"))
    assert _end_wakes(driver, claims[3])


def test_an_end_wakes_nobody_where_nothing_waits(driver: LedgerDriver) -> None:
    """Without a job in a lane, a hold or an event, the end of a job costs no look."""
    worker = driver.worker(slots=8)
    driver.enter(new_job(), new_job())
    claims = [driver.claim(hint.id, worker) for hint in driver.hints()]
    assert not _end_wakes(driver, claims[0])
    driver.redis.zadd(HOLD_ENDS, {"model:another": driver.clock.now * 1000 + 60_000})
    assert _end_wakes(driver, claims[1])


def _end_wakes(driver: LedgerDriver, claim: Claim) -> bool:
    driver.redis.delete(WAKE)
    assert driver.ledger.admit(claim).verdict is Verdict.GO
    assert driver.ledger.finish(claim, paid(completed(claim.id)))
    return bool(driver.redis.llen(WAKE))
