"""What an operator says of calls of unknown billing, and what comes of it."""

from __future__ import annotations

from decimal import Decimal

import pytest

from monitoring.exporter.snapshot import read_fleet
from tests.support.ledger import LedgerDriver, completed, new_job, outcome_of, paid, unclear, unpaid
from visionq.ledger import BudgetScope, Claim, Period, Verdict
from visionq.ledger.spending import Settled, settled_in_month, unknown_calls
from visionq.ledger.views import job_views, spend
from visionq.names import JOB
from visionq.pricing.money import day_of, rubles

TENANT = BudgetScope.tenant("default")
TODAY = BudgetScope.tenant("default", Period.DAY)
LOST = "parked billing_unknown"


def lose(driver: LedgerDriver, kind: str = LOST, batch: str | None = None) -> Claim:
    """A call for which 900 were reserved, and of which nothing was heard."""
    claim = driver.begin(new_job(batch_id=batch))
    driver.ledger.admit(claim, reserve=900)
    driver.ledger.finish(claim, unclear(outcome_of(kind, claim.id)))
    return claim


def say(driver: LedgerDriver, *, paid: bool, cost: int | None = None) -> list[Settled]:
    price = None if cost is None else rubles(cost)
    return driver.ledger.settle_unknown(unknown_calls(driver.redis), paid=paid, cost_rub=price)


def settled(driver: LedgerDriver) -> set[int]:
    """Return the sum that each place for paid money notes; one, if they agree."""
    today = day_of(driver.clock.now, "Europe/Moscow")
    books = [driver.ledger.book(scope).settled_rub for scope in (TENANT, TODAY)]
    total = spend(driver.redis, today)
    counted = sum(read_fleet(driver.ledger).counters.of("spent", 2).values())
    told = [*books, total.settled_rub, total.today_rub, settled_in_month(driver.redis, today)]
    return {int(one * 10**9) for one in told} | {counted}


def test_paid_at_worst(driver: LedgerDriver) -> None:
    """A call that was paid moves from unknown to paid in every book and count; its job stays."""
    claim = lose(driver)
    assert say(driver, paid=True) == [Settled.SETTLED]
    assert driver.money() == {"settled": 900}
    assert settled(driver) == {900}
    assert unknown_calls(driver.redis) == []
    (view,) = job_views(driver.redis, [claim.id])
    assert view is not None
    assert (view.state, view.reason, view.cost_rub, view.unknown_calls) == (
        "parked",
        "billing_unknown",
        rubles(900),
        0,
    )


def test_paid_at_a_price(driver: LedgerDriver) -> None:
    """An operator who read the cost in the provider's log can enter it."""
    lose(driver)
    say(driver, paid=True, cost=640)
    assert settled(driver) == {640}


def test_unpaid_frees_the_budget_and_the_job(driver: LedgerDriver) -> None:
    """If nothing was paid the job asks again, and so does one that the budget had parked."""
    driver.ledger.set_budget(TENANT, rubles(1000))
    claim = lose(driver)
    other = driver.begin()
    assert driver.ledger.admit(other, reserve=900).reason == "budget_exhausted"
    assert say(driver, paid=False) == [Settled.SETTLED]
    assert driver.money() == {}
    assert {hint.id for hint in driver.hints()} == {claim.id, other.id}


def test_said_twice(driver: LedgerDriver) -> None:
    """Settling again changes nothing."""
    lose(driver)
    calls = unknown_calls(driver.redis)
    driver.ledger.settle_unknown(calls, paid=True)
    assert driver.ledger.settle_unknown(calls, paid=True) == [Settled.GONE]
    assert driver.ledger.settle_unknown(calls, paid=False) == [Settled.GONE]
    assert settled(driver) == {900}


@pytest.mark.parametrize("cost", [700, 1000])
@pytest.mark.parametrize("was_paid", [True, False])
def test_late_answer_counts_once(driver: LedgerDriver, cost: int, *, was_paid: bool) -> None:
    """An answer that comes after all is paid once, at its real cost, and completes its job."""
    claim = lose(driver)
    say(driver, paid=was_paid)
    for _ in range(2):
        driver.ledger.finish(claim, paid(completed(claim.id, "late"), cost))
    assert driver.money() == {"settled": cost}
    assert driver.ledger.book(TODAY).settled_rub == rubles(cost)
    if cost > 900:
        assert settled(driver) == {cost}
    assert [hint.id for hint in driver.hints()] == [claim.id]
    again = driver.claim(claim.id, driver.worker())
    admission = driver.ledger.admit(again, reserve=900)
    assert admission.verdict is Verdict.ANSWER
    assert '"late"' in (admission.answer or "")


def test_refused_late(driver: LedgerDriver) -> None:
    """A call that was reported to be paid, and turns out refused, gives its money back."""
    claim = lose(driver)
    say(driver, paid=True)
    driver.ledger.finish(claim, unpaid(outcome_of("waiting 3", claim.id)))
    assert driver.money() == {}
    assert [hint.id for hint in driver.hints()] == [claim.id]


def test_lost_for_good_late(driver: LedgerDriver) -> None:
    """A worker that says after the ruling that it knows nothing makes no job ask again."""
    claim = driver.begin()
    driver.ledger.admit(claim, reserve=900)
    driver.lapse(claim)
    worker = driver.worker()
    driver.hints()
    again = driver.claim(claim.id, worker)
    driver.ledger.finish(again, unpaid(outcome_of(LOST, claim.id)))
    assert say(driver, paid=True) == [Settled.SETTLED]
    driver.ledger.finish(claim, unclear(outcome_of(LOST, claim.id)))
    assert driver.money() == {"settled": 900}
    assert driver.state(claim.id) == "parked"


def test_job_at_work(driver: LedgerDriver) -> None:
    """While its job may be asking once more, nobody can say that the first call was paid."""
    claim = lose(driver, "retrying 20")
    assert say(driver, paid=True) == [Settled.AT_WORK]
    assert driver.money() == {"unknown": 900, "unknown_calls": 1}
    assert say(driver, paid=False) == [Settled.SETTLED]
    assert driver.money() == {}
    assert driver.state(claim.id) == "waiting"


def test_expired_job(driver: LedgerDriver) -> None:
    """The money of a job of which nothing else is left can be settled."""
    claim = lose(driver, batch="b1")
    driver.redis.delete(JOB + claim.id)
    assert say(driver, paid=True) == [Settled.SETTLED]
    assert settled(driver) == {900}
    assert driver.ledger.book(BudgetScope.batch("b1")).settled_rub == rubles(900)
    assert driver.ledger.book(BudgetScope.batch("b1")).unknown_rub == Decimal(0)


def test_day_of_the_call(driver: LedgerDriver) -> None:
    """A call stays in the books of the day on which it was sent, whenever someone speaks of it."""
    lose(driver)
    driver.clock.now += 86400
    say(driver, paid=True)
    assert driver.ledger.book(TODAY).settled_rub == 0
    assert driver.ledger.book(TENANT).settled_rub == rubles(900)
