"""Shared options that select jobs, messages and tenants."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Final

import click
from pydantic import TypeAdapter, ValidationError

from visionq.cli.shared import Parsed, with_options
from visionq.contract.base import TenantName
from visionq.ledger.search import JobFilter

if TYPE_CHECKING:
    from visionq.contract import State

DEFAULT_TENANT: Final = "default"
_AGO: Final = re.compile(r"(\d+)([smhd])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def _moment(text: str) -> datetime:
    """Read `2h`, `3d`: so long ago; or a date, in local time."""
    if ago := _AGO.fullmatch(text):
        return datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    try:
        return datetime.fromisoformat(text).astimezone()
    except ValueError:
        raise ValueError(f"{text!r} is neither a date like 2026-11-30T12:00 nor like 2h") from None


def _amount(text: str) -> Decimal:
    """Read rubles: `1500`, `0.5`. A comma may be that of thousands, and is refused."""
    try:
        amount = Decimal(text)
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite():
        raise ValueError(f"{text!r} is not an amount of rubles, such as 1500 or 0.5")
    return amount


def _positive_amount(text: str) -> Decimal:
    """Read rubles above 0; a decimal comma is allowed."""
    if (amount := _amount(text.replace(",", "."))) <= 0:
        raise ValueError(f"{text} is not more than 0")
    return amount


def _id(text: str) -> str:
    """Read an id, which is text, while arguments may be any bytes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{text!a} is not an id: it is not UTF-8") from None
    return text


MOMENT: Final = Parsed("when", _moment)
AMOUNT: Final = Parsed("RUB", _amount)
POSITIVE_AMOUNT: Final = Parsed("RUBLES", _positive_amount)
ID: Final = Parsed("id", _id)


def take_tenant(_: click.Context, __: click.Parameter, value: str) -> str:
    """Check the name of a tenant."""
    try:
        return TypeAdapter(TenantName).validate_python(value)
    except ValidationError:
        raise click.BadParameter("letters, digits, `.`, `_` and `-`, at most 64") from None


tenant_option = click.option(
    "--tenant", default=DEFAULT_TENANT, show_default=True, callback=take_tenant
)


#: The options that `job_filter` reads.
filter_options = with_options(
    click.option("--code", help="Only those with this error, or reason to wait."),
    click.option("--tenant", help="Only those of this tenant."),
    click.option("--batch", help="Only those of this batch."),
    click.option("--since", type=MOMENT, help="Ended, else submitted, since then: 2h, 2026-11-30."),
    click.option("--until", type=MOMENT, help="Ended, else submitted, before then."),
)


def job_filter(state: State | None, options: dict[str, Any]) -> JobFilter:
    """Return the filter that the options describe."""
    return JobFilter(state=state, **options)
