"""Budgets by the clients: the rules and the books of `visionq budget`."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from visionq import AsyncClient, Client
from visionq.ledger import Period
from visionq.settings import Settings

WRONG: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"total": 1}, ValueError, "name either tenant or batch"),
    ({"tenant": "a", "batch": "b", "total": 1}, ValueError, "name either tenant or batch"),
    ({"tenant": "a"}, ValueError, "say how many rubles: total, day or month"),
    ({"tenant": "no such", "day": 1}, ValueError, "tenant: 'no such' is not a tenant's name"),
    ({"tenant": 5, "day": 1}, ValueError, "tenant: 5 is not a tenant's name"),
    ({"batch": "b*", "total": 1}, ValueError, "batch: .* is not a batch's name"),
    ({"batch": "b", "day": 1}, ValueError, "a batch has one budget: total"),
    ({"tenant": "a", "day": 1.5}, TypeError, "day: give rubles as Decimal, .* not float"),
    ({"tenant": "a", "day": True}, TypeError, "day: .* not bool"),
    ({"tenant": "a", "day": "much"}, ValueError, "day: str 'much' is not an amount"),
    ({"tenant": "a", "day": "NaN"}, ValueError, "from 0 to"),
    ({"tenant": "a", "day": -1}, ValueError, "from 0 to"),
    ({"tenant": "a", "day": 10_000_000}, ValueError, "from 0 to"),
]


def test_set_read_and_clear(redis_url: str) -> None:
    """A budget that is set comes back with what is left, and goes again, all or by period."""
    with Client(Settings(), redis_url) as client:
        day, month = client.set_budget(tenant="search", day=500, month="9000.50")
        assert day.scope.period is Period.DAY
        assert day.limit_rub == day.left_rub == 500
        assert month.limit_rub == Decimal("9000.5")
        (batch,) = client.set_budget(batch="catalogue-7", total=Decimal(1200))
        assert batch.left_rub == 1200
        assert {book.scope.key for book in client.budgets()} == {
            "tenant:search",
            "batch:catalogue-7",
        }
        client.clear_budget(tenant="search", day=True)
        assert [book.scope.period for book in client.budgets() if book.scope.kind == "tenant"] == [
            Period.MONTH
        ]
        client.clear_budget(tenant="search")
        client.clear_budget(batch="catalogue-7")
        assert client.budgets() == ()


async def test_set_read_and_clear_for_asyncio(redis_url: str) -> None:
    """The same with `await`."""
    async with AsyncClient(Settings(), redis_url) as client:
        (book,) = await client.set_budget(tenant="search", day=500)
        assert book.scope.period is Period.DAY
        assert book.left_rub == 500
        assert await client.budgets() == (book,)
        await client.clear_budget(tenant="search")
        assert await client.budgets() == ()


@pytest.mark.parametrize(("arguments", "error", "message"), WRONG)
async def test_what_is_refused(
    redis_url: str, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    """A wrong budget is refused by both clients, and nothing is set."""
    with Client(Settings(), redis_url) as client:
        with pytest.raises(error, match=message):
            client.set_budget(**arguments)
        assert client.budgets() == ()
    async with AsyncClient(Settings(), redis_url) as native:
        with pytest.raises(error, match=message):
            await native.set_budget(**arguments)
