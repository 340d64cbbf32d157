"""`visionq budget`: what tenants and batches may spend."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import click
from pydantic import TypeAdapter, ValidationError

from visionq.commands.amounts import Amount, plain
from visionq.commands.shared import errors_as_json, find_redis_url, json_option, print_json
from visionq.contract.base import TenantName
from visionq.errors import InvalidJob
from visionq.ledger import Book, BudgetScope, Ledger, Period, ledger_options
from visionq.redis_connection import as_queue_unavailable, connect
from visionq.settings import load_settings
from visionq.submission import check_batch_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from decimal import Decimal


_TENANT_NAME: Final[TypeAdapter[str]] = TypeAdapter(TenantName)

_tenant = click.option("--tenant", metavar="T", help="The tenant, by its name.")
_batch = click.option("--batch", metavar="ID", help="The batch, by its id.")


@click.group()
def budget() -> None:
    """Set, show or clear what a tenant or a batch may spend.

    No call goes out that could overrun a budget. Jobs that do not fit wait or are parked, and go on
    by themselves when the budget is raised, or with the next day or month.
    """


@budget.command("set")
@_tenant
@_batch
@click.option("--total", type=Amount(), help="Rubles for all time, of a tenant or a batch.")
@click.option("--day", type=Amount(), help="Rubles for each day, of a tenant.")
@click.option("--month", type=Amount(), help="Rubles for each month, of a tenant.")
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
    """Set budgets in rubles; those not named stay as they are."""
    limits = {Period.TOTAL: total, Period.DAY: day, Period.MONTH: month}
    given = {period: limit for period, limit in limits.items() if limit is not None}
    if not given:
        raise click.UsageError("say how much: --total, --day or --month RUB")
    if batch is not None:
        _check_batch(batch)
    _change(tenant, batch, given, as_json=as_json)


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
    """Remove the budgets of a tenant or a batch: it may spend without bound."""
    named = {Period.TOTAL: total, Period.DAY: day, Period.MONTH: month}
    periods = [period for period in Period if named[period]] or list(Period)
    if batch is not None:
        periods = [Period.TOTAL]
    _change(tenant, batch, dict.fromkeys(periods), as_json=as_json)


@budget.command()
@json_option
def show(*, as_json: bool) -> None:
    """Show every budget, what is used of it and what is left."""
    with errors_as_json(as_json), as_queue_unavailable(), _ledger() as ledger:
        _print(ledger.budgets(), as_json=as_json)


def scope_of(tenant: str | None, batch: str | None, period: Period) -> BudgetScope:
    """Return the scope that the options name; exactly one of them has to be given."""
    if (tenant is None) == (batch is None):
        raise click.UsageError("name either --tenant or --batch")
    if tenant is not None:
        return BudgetScope.tenant(_tenant_name(tenant), period)
    if period is not Period.TOTAL:
        raise click.UsageError("a batch has one budget: --total")
    return BudgetScope.batch(batch or "")


def _tenant_name(name: str) -> str:
    try:
        return _TENANT_NAME.validate_python(name)
    except ValidationError:
        raise click.UsageError(
            f"--tenant: {name!r} can be no tenant: 1 to 64 letters, digits, dots, dashes and _"
        ) from None


def _check_batch(name: str) -> None:
    try:
        check_batch_name(name, "--batch")
    except InvalidJob as error:
        raise click.UsageError(error.message) from None


def _change(
    tenant: str | None,
    batch: str | None,
    limits: Mapping[Period, Decimal | None],
    *,
    as_json: bool,
) -> None:
    scopes = {scope_of(tenant, batch, period): limit for period, limit in limits.items()}
    with errors_as_json(as_json), as_queue_unavailable(), _ledger() as ledger:
        try:
            for scope, limit in scopes.items():
                ledger.set_budget(scope, limit)
        except ValueError as error:
            raise click.UsageError(str(error)) from None
        _print([ledger.book(scope) for scope in scopes], as_json=as_json)


@contextmanager
def _ledger() -> Iterator[Ledger]:
    settings = load_settings()
    with connect(find_redis_url(settings), "visionq-cli") as redis:
        yield Ledger(redis, ledger_options(settings))


def _print(books: Sequence[Book], *, as_json: bool) -> None:
    if as_json:
        print_json([book_document(book) for book in books])
        return
    if not books:
        click.echo("no budget is set")
    for book in books:
        click.echo(line_of(book))


def book_document(book: Book) -> dict[str, Any]:
    """Return a book as JSON has it; amounts are decimal strings, null where there is no budget."""
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
