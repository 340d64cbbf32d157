"""Budgets with real workers: what they stop, and what is on the books after a kill."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from tests.support.fleet import jobs
from tests.support.waiting import until
from visionq.ledger import BudgetScope, Ledger

if TYPE_CHECKING:
    from tests.support.fleet import Fleet

pytestmark = pytest.mark.timeout(180)


def test_a_batch_stops_at_its_budget_and_goes_on(fleet: Fleet) -> None:
    """Many jobs over a small budget: it is never overrun, the rest parks, and a raise ends all."""
    ledger = Ledger(fleet.redis)
    scope = BudgetScope.batch("run-1")
    ledger.set_budget(scope, Decimal("0.1"))
    list(fleet.client.submit_many(jobs(300, batch_id="run-1", max_output_tokens=64)))

    def is_over() -> bool:
        counts = fleet.counts()
        return set(counts) == {"completed", "parked"} and sum(counts.values()) == 300

    until(is_over, 90, lambda: f"{fleet.counts()}, {ledger.book(scope)}")
    book = ledger.book(scope)
    bill = Decimal(fleet.simulator.bill()["rub"])
    assert Decimal(0) < bill == book.settled_rub <= Decimal("0.1")
    assert (book.reserved_rub, book.unknown_calls) == (Decimal(0), 0)
    ledger.set_budget(scope, None)
    fleet.wait_for_counts(60, completed=300)
    assert fleet.simulator.bill()["billed"] == 300


def test_a_killed_call_is_in_the_books_as_unknown(fleet: Fleet) -> None:
    """SIGKILL while a call is out, under `hold`: one call, parked, and its money in *unknown*."""
    ledger = Ledger(fleet.redis)
    scope = BudgetScope.tenant("default")
    ledger.set_budget(scope, Decimal(100))
    fleet.simulator.configure(latency_s=5)
    (job,) = fleet.client.submit_many(jobs(1, on_unknown_billing="hold"))
    until(lambda: fleet.simulator.bill()["calls"] == 1, 20, "the call to be out")
    until(lambda: fleet.client.get(job).worker is not None, 5, "its worker to be known")
    for worker in fleet.workers:
        worker.kill()
        worker.wait()
    fleet.start_workers(1)
    fleet.wait_for_counts(60, parked=1)
    assert fleet.client.get(job).reason == "billing_unknown"
    assert fleet.simulator.bill()["calls"] == 1
    book = ledger.book(scope)
    assert (book.reserved_rub, book.settled_rub, book.unknown_calls) == (Decimal(0), Decimal(0), 1)
    assert book.unknown_rub >= Decimal(fleet.simulator.bill()["rub"])
    assert book.left_rub == Decimal(100) - book.unknown_rub
