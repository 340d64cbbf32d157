"""What an operator says of calls of unknown billing, and what comes of it."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from monitoring.exporter.reading import read_fleet
from tests.integration.ledger_kit import Desk, completed, new_job, outcome_of, paid, unclear, unpaid
from visionq.ledger import BudgetScope, Claim, Period, Verdict
from visionq.ledger.spending import Settled, settled_in_month, unknown_calls
from visionq.ledger.views import job_views, spend
from visionq.names import JOB
from visionq.pricing.money import day_of, rubles

if TYPE_CHECKING:
    from redis import Redis

TENANT = BudgetScope.tenant("default")
TODAY = BudgetScope.tenant("default", Period.DAY)
LOST = "parked billing_unknown"


@pytest.fixture
def desk(redis: Redis) -> Desk:
    return Desk(redis)


def lose(desk: Desk, kind: str = LOST, batch: str | None = None) -> Claim:
    """A call for which 900 were reserved, and of which nothing was heard."""
    claim = desk.begin(new_job(batch_id=batch))
    desk.ledger.admit(claim, reserve=900)
    desk.ledger.finish(claim, unclear(outcome_of(kind, claim.id)))
    return claim


def say(desk: Desk, *, paid: bool, cost: int | None = None) -> list[Settled]:
    price = None if cost is None else rubles(cost)
    return desk.ledger.settle_unknown(unknown_calls(desk.redis), paid=paid, cost_rub=price)


def settled(desk: Desk) -> set[int]:
    """What each of the places has where paid money is noted; one, if they agree."""
    today = day_of(desk.clock.now, "Europe/Moscow")
    books = [desk.ledger.book(scope).settled_rub for scope in (TENANT, TODAY)]
    total = spend(desk.redis, today)
    counted = sum(read_fleet(desk.ledger).counters.of("spent", 2).values())
    told = [*books, total.settled_rub, total.today_rub, settled_in_month(desk.redis, today)]
    return {int(one * 10**9) for one in told} | {counted}


def test_paid_at_worst(desk: Desk) -> None:
    """A call that was paid moves from unknown to paid in every book and count; its job stays."""
    claim = lose(desk)
    assert say(desk, paid=True) == [Settled.SETTLED]
    assert desk.money() == {"settled": 900}
    assert settled(desk) == {900}
    assert unknown_calls(desk.redis) == []
    (view,) = job_views(desk.redis, [claim.id])
    assert view is not None
    assert (view.state, view.reason, view.cost_rub, view.unknown_calls) == (
        "parked",
        "billing_unknown",
        rubles(900),
        0,
    )


def test_paid_at_a_price(desk: Desk) -> None:
    """Who has read in the provider's log what it cost says so."""
    lose(desk)
    say(desk, paid=True, cost=640)
    assert settled(desk) == {640}


def test_unpaid_frees_the_budget_and_the_job(desk: Desk) -> None:
    """Where nothing was paid the job asks again, and so does one that the budget had parked."""
    desk.ledger.set_budget(TENANT, rubles(1000))
    claim = lose(desk)
    other = desk.begin()
    assert desk.ledger.admit(other, reserve=900).reason == "budget_exhausted"
    assert say(desk, paid=False) == [Settled.SETTLED]
    assert desk.money() == {}
    assert {hint.id for hint in desk.hints()} == {claim.id, other.id}


def test_said_twice(desk: Desk) -> None:
    """What is said again changes nothing."""
    lose(desk)
    calls = unknown_calls(desk.redis)
    desk.ledger.settle_unknown(calls, paid=True)
    assert desk.ledger.settle_unknown(calls, paid=True) == [Settled.GONE]
    assert desk.ledger.settle_unknown(calls, paid=False) == [Settled.GONE]
    assert settled(desk) == {900}


@pytest.mark.parametrize("cost", [700, 1000])
@pytest.mark.parametrize("was_paid", [True, False])
def test_late_answer_counts_once(desk: Desk, cost: int, *, was_paid: bool) -> None:
    """An answer that comes after all is paid once, at its real cost, and completes its job."""
    claim = lose(desk)
    say(desk, paid=was_paid)
    for _ in range(2):
        desk.ledger.finish(claim, paid(completed(claim.id, "late"), cost))
    assert desk.money() == {"settled": cost}
    assert desk.ledger.book(TODAY).settled_rub == rubles(cost)
    if cost > 900:
        assert settled(desk) == {cost}
    assert [hint.id for hint in desk.hints()] == [claim.id]
    again = desk.claim(claim.id, desk.worker())
    admission = desk.ledger.admit(again, reserve=900)
    assert admission.verdict is Verdict.ANSWER
    assert '"late"' in (admission.answer or "")


def test_refused_late(desk: Desk) -> None:
    """A call that was said to be paid, and turns out refused, gives its money back."""
    claim = lose(desk)
    say(desk, paid=True)
    desk.ledger.finish(claim, unpaid(outcome_of("waiting 3", claim.id)))
    assert desk.money() == {}
    assert [hint.id for hint in desk.hints()] == [claim.id]


def test_lost_for_good_late(desk: Desk) -> None:
    """A worker that says after the ruling that it knows nothing makes no job ask again."""
    claim = desk.begin()
    desk.ledger.admit(claim, reserve=900)
    desk.lapse(claim)
    worker = desk.worker()
    desk.hints()
    again = desk.claim(claim.id, worker)
    desk.ledger.finish(again, unpaid(outcome_of(LOST, claim.id)))
    assert say(desk, paid=True) == [Settled.SETTLED]
    desk.ledger.finish(claim, unclear(outcome_of(LOST, claim.id)))
    assert desk.money() == {"settled": 900}
    assert desk.state(claim.id) == "parked"


def test_job_at_work(desk: Desk) -> None:
    """While its job may be asking once more, nobody can say that the first call was paid."""
    claim = lose(desk, "retrying 20")
    assert say(desk, paid=True) == [Settled.AT_WORK]
    assert desk.money() == {"unknown": 900, "unknown_calls": 1}
    assert say(desk, paid=False) == [Settled.SETTLED]
    assert desk.money() == {}
    assert desk.state(claim.id) == "waiting"


def test_expired_job(desk: Desk) -> None:
    """The money of a job of which nothing else is left can be settled."""
    claim = lose(desk, batch="b1")
    desk.redis.delete(JOB + claim.id)
    assert say(desk, paid=True) == [Settled.SETTLED]
    assert settled(desk) == {900}
    assert desk.ledger.book(BudgetScope.batch("b1")).settled_rub == rubles(900)
    assert desk.ledger.book(BudgetScope.batch("b1")).unknown_rub == Decimal(0)


def test_day_of_the_call(desk: Desk) -> None:
    """A call stays in the books of the day on which it was sent, whenever somebody speaks of it."""
    lose(desk)
    desk.clock.now += 86400
    say(desk, paid=True)
    assert desk.ledger.book(TODAY).settled_rub == 0
    assert desk.ledger.book(TENANT).settled_rub == rubles(900)
