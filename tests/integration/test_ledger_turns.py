"""Whose job is next, how many hints are out, and what becomes of hints that get lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.ledger_kit import BULK, INTERACTIVE, Desk, completed, new_job, paid
from visionq.contract import State
from visionq.ledger import ClaimRefusal, LedgerOptions, Verdict
from visionq.names import QUEUE_BULK, QUEUE_INTERACTIVE, WAKE

if TYPE_CHECKING:
    from redis import Redis

    from visionq.ledger import Hint

ELSEWHERE = LedgerOptions(broker_is_here=False)


@pytest.fixture
def desk(any_redis: Redis) -> Desk:
    return Desk(any_redis)


def _serve(desk: Desk, slots: int, rounds: int) -> list[Hint]:
    """Let one worker do what it is given, and return it in that order."""
    worker = desk.worker(slots=slots)
    served: list[Hint] = []
    for _ in range(rounds):
        for hint in desk.hints():
            claim = desk.claim(hint.id, worker)
            assert desk.ledger.finish(claim, paid(completed(claim.id)))
            served.append(hint)
    return served


def test_tenants_take_turns(desk: Desk) -> None:
    """A tenant with 5,000 queued jobs does not keep another from its turn."""
    desk.enter(*(new_job(tenant="many") for _ in range(5_000)))
    desk.enter(*(new_job(tenant="few") for _ in range(3)))
    served = [hint.tenant for hint in _serve(desk, slots=2, rounds=4)]
    assert served[:6] == ["many", "few"] * 3


def test_models_of_a_tenant_take_turns(desk: Desk) -> None:
    """Within one tenant the lanes of its models take turns too."""
    desk.enter(*(new_job(model="m1") for _ in range(50)))
    desk.enter(new_job(model="m2"))
    assert "m2" in [hint.model for hint in _serve(desk, slots=1, rounds=2)]


def test_interactive_goes_first(desk: Desk) -> None:
    """Nine interactive jobs, then one of the bulk that waits, and so on."""
    desk.enter(*(new_job(priority="bulk") for _ in range(40)))
    desk.enter(*(new_job(priority="interactive") for _ in range(40)))
    served = [hint.queue for hint in _serve(desk, slots=1, rounds=30)]
    assert served == ([QUEUE_INTERACTIVE] * 9 + [QUEUE_BULK]) * 3


def test_first_in_first_out(desk: Desk) -> None:
    """Jobs of one lane run in the order in which they came."""
    ids = desk.enter(*(new_job() for _ in range(9)))
    assert [hint.id for hint in _serve(desk, slots=2, rounds=6)] == ids


def test_no_more_hints_than_slots(desk: Desk) -> None:
    """As many hints are out as there are free slots, and one more for each eight slots."""
    desk.enter(*(new_job() for _ in range(100)))
    worker = desk.worker(slots=16)
    first = desk.hints()
    assert len(first) == 18
    assert desk.hints() == ()
    for hint in first[:16]:
        desk.claim(hint.id, worker)
    assert desk.hints() == (), "two hints are ahead already"


def test_a_tenant_leaves_slots_to_others(desk: Desk) -> None:
    """Jobs that are not sent yet never hold all slots, once there are two tenants."""
    worker = desk.worker(slots=16)
    desk.enter(new_job(tenant="small"), *(new_job(tenant="slow") for _ in range(100)))
    (small, *slow) = sorted(desk.hints(), key=lambda hint: hint.tenant != "small")
    assert [hint.tenant for hint in slow] == ["slow"] * 12, "three for each of the four left"
    assert desk.ledger.finish(desk.claim(small.id, worker), paid(completed(small.id)))
    claims = [desk.claim(hint.id, worker) for hint in (*slow, *desk.hints())]
    desk.enter(*(new_job(tenant="small") for _ in range(3)))
    assert [hint.tenant for hint in desk.hints()] == ["small"] * 3
    for claim in claims:
        assert desk.ledger.admit(claim, reserve=0).verdict is Verdict.GO
    assert "slow" in {hint.tenant for hint in desk.hints()}, "calls that are out hold none back"


def test_no_worker_no_hint(desk: Desk) -> None:
    """Without a worker that serves the queue, a job stays in its lane."""
    desk.enter(new_job(priority="interactive"))
    assert desk.hints() == ()
    desk.worker(queues=BULK)
    assert desk.hints() == ()
    desk.worker(queues=INTERACTIVE, name="w2")
    assert len(desk.hints()) == 1


def test_leave_takes_slots_along(desk: Desk) -> None:
    """A worker that took its leave, and one that fell silent, is given nothing more."""
    desk.worker("leaves")
    desk.worker("leaves", slots=0)
    desk.worker("falls silent")
    desk.pass_time(desk.options.lease + 1)
    desk.enter(new_job())
    assert desk.hints() == ()


def test_dead_pool_holds_nobody_up(desk: Desk) -> None:
    """What dead workers of other queues still hold takes no slot from those who live."""
    dead = desk.worker("dead", slots=8, queues=BULK)
    desk.enter(*(new_job(priority="bulk") for _ in range(8)))
    for hint in desk.hints():
        desk.claim(hint.id, dead)
    desk.worker("dead", slots=0, queues=BULK)
    desk.worker("alive", slots=2)
    desk.enter(new_job(priority="bulk"), new_job(priority="bulk"))
    assert len(desk.hints()) == 2


def test_other_queues_other_pool(desk: Desk) -> None:
    """The slots of a worker that serves other queues than before count there, and only there."""
    desk.worker(slots=8)
    desk.worker(slots=8, queues=BULK)
    desk.worker(slots=0, queues=BULK)
    slots = desk.redis.hgetall("visionq:pool-slots")
    assert set(slots.values()) == {b"0"}


def test_lost_hint_is_sent_again(any_redis: Redis) -> None:
    """A hint that nobody claims is sent again after 5, 10, 20, 40, 60, 60 … seconds."""
    desk = Desk(any_redis, ELSEWHERE)
    desk.worker()
    desk.enter(new_job())
    sent: list[float] = []
    start = desk.clock.now
    for second in range(200):
        desk.clock.now = start + second
        desk.worker()
        sent += [float(second)] * len(desk.hints())
    assert sent == [0, 5, 15, 35, 75, 135, 195]


def test_waiting_messages_are_not_doubled(desk: Desk) -> None:
    """While the broker holds as many messages as hints are out, none is sent again."""
    desk.worker()
    desk.enter(new_job(), new_job())
    for hint in desk.hints():
        desk.redis.lpush(hint.queue, hint.id)
    for _ in range(60):
        desk.clock.now += 1
        desk.worker()
        assert desk.hints() == ()
    desk.redis.rpop(QUEUE_INTERACTIVE)
    again = []
    for _ in range(10):
        desk.clock.now += 1
        desk.worker()
        again += [hint.id for hint in desk.hints()]
    assert len(again) >= 1


def test_no_worker_no_second_hint(any_redis: Redis) -> None:
    """While no worker is registered no hint is sent again, however long it takes."""
    desk = Desk(any_redis, ELSEWHERE)
    desk.worker()
    desk.enter(new_job())
    assert len(desk.hints()) == 1
    desk.worker(slots=0)
    assert desk.pass_time(600) == []
    desk.worker()
    assert len(desk.pass_time(6)) == 1


def test_stale_hint_is_refused(desk: Desk) -> None:
    """A second message for the same job finds it in other hands, ended, or unknown."""
    claim = desk.begin()
    worker = desk.worker("w2")
    assert desk.ledger.claim(claim.id, "other", worker) == ClaimRefusal(State.IN_PROGRESS)
    desk.ledger.finish(claim, paid(completed(claim.id)))
    assert desk.ledger.claim(claim.id, "other", worker) == ClaimRefusal(State.COMPLETED)
    assert desk.ledger.claim("nobody", "other", worker) == ClaimRefusal(None)


def test_rest(desk: Desk) -> None:
    """A tick within its rest after the last look does nothing, and does not count as a look."""
    desk.worker()
    desk.ledger.dispatch()
    desk.enter(new_job())
    desk.clock.now += 0.5
    assert desk.ledger.dispatch(rest=0.9).hints == ()
    desk.clock.now += 0.5
    assert len(desk.ledger.dispatch(rest=0.9).hints) == 1


def test_wakes_dispatcher(desk: Desk) -> None:
    """What makes room or brings work wakes one dispatcher, with never more than one message."""
    claim = desk.begin()
    desk.redis.delete(WAKE)
    desk.enter(new_job(), new_job())
    desk.enter(new_job())
    assert desk.redis.llen(WAKE) == 1
    desk.redis.delete(WAKE)
    desk.ledger.finish(claim, paid(completed(claim.id)))
    assert desk.redis.llen(WAKE) == 1
    desk.redis.delete(WAKE)
    desk.worker("another")
    assert desk.redis.llen(WAKE) == 1


def test_looks_again_at_once_when_much_is_due(desk: Desk) -> None:
    """With more due than one look may touch, the next look does not wait for a tick."""
    claims = []
    worker = desk.worker(slots=20)
    desk.enter(*(new_job() for _ in range(10)))
    claims = [desk.claim(hint.id, worker) for hint in desk.hints()]
    assert len(claims) == 10
    desk.clock.now += 3
    desk.ledger.dispatch()
    desk.worker(slots=0)
    desk.pass_time(6)
    desk.clock.now += 3
    desk.redis.delete(WAKE)
    desk.ledger.dispatch(limit=4)
    assert desk.redis.llen(WAKE) == 1
