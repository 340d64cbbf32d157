"""`visionq budget waste`: stop a tenant whose paid answers fail."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from visionq.cli.screen import plain
from visionq.cli.shared import Parsed, errors_as_json, json_option, open_ledger, print_json
from visionq.ledger.tenant_waste import clear_max_waste, read_waste, release_waste, set_max_waste
from visionq.sdk.budget_arguments import tenant_name
from visionq.wording import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis import Redis

    from visionq.ledger.tenant_waste import TenantWaste

_tenant = click.option(
    "--tenant",
    type=Parsed("tenant", tenant_name),
    metavar="T",
    required=True,
    help="The tenant, by its name.",
)


@click.group()
def waste() -> None:
    """Stop a tenant of whose last paid answers too many fail.

    The last 50 paid answers count, from 20 on. Jobs of a stopped tenant are parked, and nothing of
    it is sent until you release it.
    """


@waste.command("set")
@_tenant
@click.option(
    "--max-waste",
    type=click.FloatRange(0, 100),
    required=True,
    metavar="PERCENT",
    help="Stop the tenant if more of its last paid answers fail.",
)
@json_option
def set_(*, tenant: str, max_waste: float, as_json: bool) -> None:
    """Set the share of failures above which a tenant is stopped."""
    try:
        call = set_max_waste(tenant, max_waste)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    with errors_as_json(as_json), open_ledger() as ledger:
        ledger.make(call)
        _print(ledger.redis, as_json=as_json)


@waste.command()
@_tenant
@json_option
def release(*, tenant: str, as_json: bool) -> None:
    """Let a stopped tenant go on, and count its answers from zero."""
    with errors_as_json(as_json), open_ledger() as ledger:
        if not ledger.make(release_waste(tenant)):
            click.echo(f"tenant {tenant} was not stopped", err=True)
        _print(ledger.redis, as_json=as_json)


@waste.command()
@_tenant
@json_option
def clear(*, tenant: str, as_json: bool) -> None:
    """Forget the share of a tenant, and let it go on if it was stopped."""
    with errors_as_json(as_json), open_ledger() as ledger:
        ledger.make(clear_max_waste(tenant))
        _print(ledger.redis, as_json=as_json)


@waste.command()
@json_option
def show(*, as_json: bool) -> None:
    """Show each such tenant, whether it is stopped, and what failed."""
    with errors_as_json(as_json), open_ledger() as ledger:
        _print(ledger.redis, as_json=as_json)


def _print(redis: Redis, *, as_json: bool) -> None:
    found = read_waste(redis)
    if as_json:
        print_json([one.to_public() for one in found])
        return
    if not found:
        click.echo("no tenant is stopped for waste: no share is set")
    for one in found:
        state = "stopped" if one.stopped else "at work"
        click.echo(f"tenant {one.tenant}: {state}, at most {one.max_waste_percent:g} % may fail")
        for line in waste_lines(one):
            click.echo(f"  {line}")
        if one.stopped:
            click.echo(f"  to go on: {release_command(one.tenant)}")


def waste_lines(one: TenantWaste) -> Iterator[str]:
    """Yield what failed, by code, and a few examples."""
    codes = ", ".join(f"{code} {count}" for code, count in one.codes.items())
    yield (
        f"of the last {counted(one.answers, 'paid answer')} {one.failed} failed"
        + (f" ({codes}), {plain(one.wasted_rub)} ₽ for nothing" if codes else "")
    )
    for example in one.examples:
        yield f"{example.id}: {example.code}, {plain(example.cost_rub)} ₽"


def release_command(tenant: str) -> str:
    """Return the command that lets a stopped tenant go on."""
    return f"visionq budget waste release --tenant {tenant}"
