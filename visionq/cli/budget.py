"""`visionq budget`: set, show and clear budgets of tenants and batches."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import click

from visionq.cli.budget_waste import waste
from visionq.cli.filters import AMOUNT
from visionq.cli.screen import plain
from visionq.cli.shared import errors_as_json, json_option, open_ledger, print_json
from visionq.ledger import Book, BudgetScope, Period
from visionq.sdk import budget_arguments as budgets

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from decimal import Decimal

#: Before the names of options.
_DASHES: Final = "--"

_tenant = click.option("--tenant", metavar="T", help="The tenant, by its name.")
_batch = click.option("--batch", metavar="ID", help="The batch, by its id.")


@click.group()
def budget() -> None:
    """Set, show or clear the budgets of a tenant or a batch.

    No call goes out that could overrun a budget. Jobs that do not fit wait or are parked, and go on
    by themselves when the budget is raised, or with the next day or month.
    """


budget.add_command(waste)


@budget.command("set")
@_tenant
@_batch
@click.option("--total", type=AMOUNT, help="Rubles for all time, of a tenant or a batch.")
@click.option("--day", type=AMOUNT, help="Rubles for each day, of a tenant.")
@click.option("--month", type=AMOUNT, help="Rubles for each month, of a tenant.")
@json_option
def set_(
    *,
    tenant: str | None,
    batch: str | None,
    total: Decimal | None,
    day: Decimal | None,
    month: Decimal | None,
    as_json: bool,
) -> None:
    """Set budgets in rubles; omitted ones don't change."""
    limits = {Period.TOTAL: total, Period.DAY: day, Period.MONTH: month}
    with _usage_errors():
        scopes = budgets.limits_of(tenant, batch, limits, _DASHES)
    _change(scopes, as_json=as_json)


@budget.command()
@_tenant
@_batch
@click.option("--total", is_flag=True, help="Only the budget for all time.")
@click.option("--day", is_flag=True, help="Only that of a day.")
@click.option("--month", is_flag=True, help="Only that of a month.")
@json_option
def clear(
    *, tenant: str | None, batch: str | None, total: bool, day: bool, month: bool, as_json: bool
) -> None:
    """Remove the budgets of a tenant or a batch, so that spending is unlimited."""
    named = {Period.TOTAL: total, Period.DAY: day, Period.MONTH: month}
    with _usage_errors():
        scopes = budgets.cleared(tenant, batch, named, _DASHES)
    _change(dict.fromkeys(scopes), as_json=as_json)


@budget.command()
@json_option
def show(*, as_json: bool) -> None:
    """Show every budget, and how much of it is used and left."""
    with errors_as_json(as_json), open_ledger() as ledger:
        _print(ledger.budgets(), as_json=as_json)


def scope_of(tenant: str | None, batch: str | None, period: Period) -> BudgetScope:
    """Return the scope that the options name; exactly one of them has to be given."""
    with _usage_errors():
        return budgets.scope_of(tenant, batch, period, _DASHES)


@contextmanager
def _usage_errors() -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def _change(limits: Mapping[BudgetScope, Decimal | None], *, as_json: bool) -> None:
    with errors_as_json(as_json), open_ledger() as ledger:
        with _usage_errors():
            for scope, limit in limits.items():
                ledger.set_budget(scope, limit)
        _print([ledger.book(scope) for scope in limits], as_json=as_json)


def _print(books: Sequence[Book], *, as_json: bool) -> None:
    if as_json:
        print_json([book_document(book) for book in books])
        return
    if not books:
        click.echo("no budget is set")
    for book in books:
        click.echo(line_of(book))


def book_document(book: Book) -> dict[str, Any]:
    """Return a book as JSON: amounts are decimal strings, null without a budget."""
    return {
        "scope": book.scope.key,
        "period": book.scope.period.value,
        "limit_rub": plain(book.limit_rub),
        "left_rub": plain(book.left_rub),
        "reserved_rub": plain(book.reserved_rub),
        "settled_rub": plain(book.settled_rub),
        "unknown_rub": plain(book.unknown_rub),
        "saved_rub": plain(book.saved_rub),
        "unknown_calls": book.unknown_calls,
    }


def line_of(book: Book) -> str:
    """Return a book on one line."""
    used = f"{plain(book.settled_rub)} ₽ paid, {plain(book.reserved_rub)} ₽ reserved"
    if book.unknown_calls:
        used += f", up to {plain(book.unknown_rub)} ₽ of unknown billing (counted as paid)"
    if book.limit_rub is None:
        return f"{book.scope.key} {book.scope.period}: no budget; {used}"
    return (
        f"{book.scope.key} {book.scope.period}: {plain(book.left_rub)} ₽ left of"
        f" {plain(book.limit_rub)} ₽; {used}"
    )
