"""Budgets and books: what a tenant or a batch may spend, and what it has spent.

Pure functions as in `calls`; `Ledger` and `AsyncLedger` make the calls.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, Literal

from visionq.ledger.scripts import Call
from visionq.pricing.money import day_of, nano_rubles, rubles

if TYPE_CHECKING:
    from collections.abc import Sequence

    from visionq.ledger.options import LedgerOptions

#: Rubles. Nano-rubles up to 2^53 are counted exactly; nobody spends nine million on pictures.
MOST: Final = Decimal(9_000_000)


class Period(StrEnum):
    """The period of a budget; days and months start by the configured time zone."""

    TOTAL = "total"
    DAY = "day"
    MONTH = "month"


@dataclass(frozen=True, slots=True, order=True)
class BudgetScope:
    """Whose spending, in which period; a batch has one budget in total."""

    kind: Literal["tenant", "batch"]
    name: str
    period: Period = Period.TOTAL

    @classmethod
    def tenant(cls, name: str, period: Period = Period.TOTAL) -> BudgetScope:
        """Return the scope of a tenant's spending, in total or by period."""
        return cls("tenant", name, period)

    @classmethod
    def batch(cls, batch_id: str) -> BudgetScope:
        """Return the scope of a batch's spending."""
        return cls("batch", batch_id)

    @property
    def key(self) -> str:
        """The scope's name in the ledger, without its period."""
        return f"{self.kind}:{self.name}"


@dataclass(frozen=True, slots=True)
class Book:
    """What the jobs of a scope have reserved and cost, in the current period."""

    scope: BudgetScope
    reserved_rub: Decimal
    settled_rub: Decimal
    #: The most that calls of unknown billing may have cost: they count as if they had.
    unknown_rub: Decimal
    saved_rub: Decimal
    unknown_calls: int
    limit_rub: Decimal | None

    @property
    def left_rub(self) -> Decimal | None:
        """Return the rubles left; None without a budget, negative if overrun."""
        if self.limit_rub is None:
            return None
        return self.limit_rub - self.settled_rub - self.unknown_rub - self.reserved_rub


def set_budget(scope: BudgetScope, limit_rub: Decimal | None, options: LedgerOptions) -> Call[None]:
    """Set a budget; None removes it.

    Raises:
        ValueError: the limit is not an amount of rubles, or a batch has no such period.
    """
    if scope.kind == "batch" and scope.period is not Period.TOTAL:
        raise ValueError(f"batch {scope.name}: its budget is one for its whole time")
    if limit_rub is not None and not (limit_rub.is_finite() and 0 <= limit_rub <= MOST):
        raise ValueError(f"{scope.key}: a budget is from 0 to {MOST:,} rubles, not {limit_rub}")
    limit = "" if limit_rub is None else nano_rubles(limit_rub)
    arguments = ("set", scope.key, scope.period.value, limit, options.result_ttl)
    return Call("budget", arguments, lambda _: None)


def book(scope: BudgetScope, options: LedgerOptions, now: float) -> Call[Book]:
    """Read one book."""
    arguments = ("book", scope.key, scope.period.value, day_of(now, options.time_zone))
    return Call("budget", arguments, lambda reply: _book(scope, reply))


def budgets(options: LedgerOptions, now: float, most: int | None = None) -> Call[tuple[Book, ...]]:
    """Read the books of all scopes with a budget, or of `most`, tenants first."""

    def read(replies: list[list[Any]]) -> tuple[Book, ...]:
        books = (_book(_scope(key, period), values) for key, period, values in replies)
        return tuple(sorted(books, key=lambda one: one.scope))

    arguments = ("list", day_of(now, options.time_zone), "" if most is None else most)
    return Call("budget", arguments, read)


def _scope(key: bytes, period: bytes) -> BudgetScope:
    kind, _, name = key.decode().partition(":")
    return BudgetScope("batch" if kind == "batch" else "tenant", name, Period(period.decode()))


def _book(scope: BudgetScope, values: Sequence[bytes | None]) -> Book:
    reserved, settled, unknown, saved, calls, limit = (
        None if value is None else int(value) for value in values
    )
    return Book(
        scope,
        reserved_rub=rubles(reserved or 0),
        settled_rub=rubles(settled or 0),
        unknown_rub=rubles(unknown or 0),
        saved_rub=rubles(saved or 0),
        unknown_calls=calls or 0,
        limit_rub=None if limit is None else rubles(limit),
    )
