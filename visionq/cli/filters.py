"""The options by which commands choose jobs, messages and tenants."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import click
from pydantic import TypeAdapter, ValidationError

from visionq.cli.shared import with_options
from visionq.contract.base import TenantName
from visionq.ledger.search import JobFilter

if TYPE_CHECKING:
    from visionq.contract import State

DEFAULT_TENANT: Final = "default"
_AGO: Final = re.compile(r"(\d+)([smhd])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


class Moment(click.ParamType[datetime]):
    """`2h`, `3d`: so long ago; or a date, with or without its time, in local time."""

    name = "when"

    def convert(
        self,
        value: Any,  # noqa: ANN401  # click's signature
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> datetime:
        """Return the moment."""
        if isinstance(value, datetime):
            return value
        if ago := _AGO.fullmatch(value):
            return datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        try:
            return datetime.fromisoformat(value).astimezone()
        except ValueError:
            self.fail(f"{value!r} is neither a date like 2026-11-30T12:00 nor like 2h", param, ctx)


class Id(click.ParamType[str]):
    """An id of a job or a message: text, while arguments may be any bytes."""

    name = "id"

    def convert(
        self,
        value: Any,  # noqa: ANN401  # click's signature
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> str:
        """Return the id."""
        try:
            value.encode()
        except UnicodeEncodeError:
            self.fail(f"{value!a} is not UTF-8, and no id", param, ctx)
        return str(value)


def _tenant(_: click.Context, __: click.Parameter, value: str) -> str:
    try:
        return TypeAdapter(TenantName).validate_python(value)
    except ValidationError:
        raise click.BadParameter("letters, digits, `.`, `_` and `-`, at most 64") from None


tenant_option = click.option(
    "--tenant", default=DEFAULT_TENANT, show_default=True, callback=_tenant
)


#: The options that `job_filter` reads.
filter_options = with_options(
    click.option("--code", help="Only those with this error, or reason to wait."),
    click.option("--tenant", help="Only those of this tenant."),
    click.option("--batch", help="Only those of this batch."),
    click.option(
        "--since", type=Moment(), help="Ended, else submitted, since then: 2h, 2026-11-30."
    ),
    click.option("--until", type=Moment(), help="Ended, else submitted, before then."),
)


def job_filter(state: State | None, options: dict[str, Any]) -> JobFilter:
    """Return what the options ask for."""
    return JobFilter(state=state, **options)
