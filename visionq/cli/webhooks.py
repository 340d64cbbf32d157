"""`visionq webhooks`: addresses, secrets and deliveries of a tenant's events."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import click

from visionq.cli.filters import tenant_option
from visionq.cli.screen import print_rows
from visionq.cli.shared import (
    EXIT_FAILED,
    EXIT_OK,
    errors_as_json,
    json_option,
    open_ledger,
    print_json,
)
from visionq.webhooks import (
    EVENTS,
    Webhook,
    check_address,
    list_webhooks,
    remove_webhook,
    rotate_secret,
    set_webhook,
)

if TYPE_CHECKING:
    from visionq.ledger import Delivery, Ledger

_KEPT_SECRET: Final = "the secret stays as it is; `visionq webhooks rotate` makes another"  # noqa: S105  # no secret


def _address(_: click.Context, __: click.Parameter, value: str) -> str:
    try:
        check_address(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    return value


@click.group()
def webhooks() -> None:
    """Notify an address when a tenant's jobs and batches end; list deliveries."""


@webhooks.command("set")
@click.argument("url", metavar="URL", callback=_address)
@tenant_option
@click.option(
    "--event",
    "events",
    type=click.Choice(EVENTS),
    multiple=True,
    help="Repeat for more.  [default: all]",
)
@json_option
def set_(*, url: str, tenant: str, events: tuple[str, ...], as_json: bool) -> None:
    """Notify this address; its secret is shown only now. Also: enable it again.

    An address that replaces another keeps the secret.
    """
    with errors_as_json(as_json), open_ledger() as ledger:
        webhook, is_new = set_webhook(ledger.redis, tenant, url, events or EVENTS)
    if as_json:
        print_json(_public(webhook, is_enabled=True, show_secret=is_new))
    elif is_new:
        _show_secret(webhook)
    else:
        click.echo(f"{webhook.id} of tenant {tenant} calls {url}; {_KEPT_SECRET}")


@webhooks.command()
@tenant_option
@click.option(
    "--overlap",
    type=click.FloatRange(0, 24 * 30),
    default=24,
    show_default=True,
    help="Hours in which events are signed by the old secret too; 0 revokes it at once.",
)
@json_option
def rotate(*, tenant: str, overlap: float, as_json: bool) -> int:
    """Make a new secret and show it, once."""
    with errors_as_json(as_json), open_ledger() as ledger:
        webhook = rotate_secret(ledger.redis, tenant, timedelta(hours=overlap))
        is_enabled = _is_enabled(ledger, tenant)
    if webhook is None:
        return _no_webhook(tenant, as_json=as_json)
    if as_json:
        print_json(_public(webhook, is_enabled=is_enabled, show_secret=True))
    else:
        _show_secret(webhook)
    return EXIT_OK


@webhooks.command()
@tenant_option
@json_option
def remove(*, tenant: str, as_json: bool) -> int:
    """Stop notifying the tenant's address; delete its secrets and pending deliveries."""
    with errors_as_json(as_json), open_ledger() as ledger:
        removed = remove_webhook(ledger.redis, tenant)
    if not removed:
        return _no_webhook(tenant, as_json=as_json)
    if as_json:
        print_json({"tenant": tenant, "removed": True})
    else:
        click.echo(f"tenant {tenant} has no webhook any more")
    return EXIT_OK


@webhooks.command("list")
@json_option
def list_(*, as_json: bool) -> None:
    """List the webhooks of all tenants, without their secrets."""
    with errors_as_json(as_json), open_ledger() as ledger:
        known = list_webhooks(ledger.redis)
    if as_json:
        print_json([_public(webhook, is_enabled=is_enabled) for webhook, is_enabled in known])
    elif known:
        rows = [
            (one.tenant, "enabled" if is_enabled else "disabled", one.url, _events(one))
            for one, is_enabled in known
        ]
        print_rows(("TENANT", "STATE", "URL", "EVENTS"), rows)
    else:
        click.echo("no webhooks")


@webhooks.command()
@tenant_option
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="At most.")
@json_option
def deliveries(*, tenant: str, limit: int, as_json: bool) -> None:
    """List a tenant's pending deliveries, then the latest."""
    from visionq.ledger.deliveries import latest  # noqa: PLC0415  # other commands do without

    with errors_as_json(as_json), open_ledger() as ledger:
        found = latest(ledger.redis, tenant, limit)
    if as_json:
        print_json([delivery.to_public() for delivery in found])
    elif found:
        for delivery in found:
            click.echo(_line(delivery))
    else:
        click.echo("no deliveries")


@webhooks.command()
@click.argument("delivery_ids", metavar="[ID]...", nargs=-1)
@click.option("--failed", is_flag=True, help="All deliveries of the tenant that were given up.")
@tenant_option
@json_option
def redeliver(*, delivery_ids: tuple[str, ...], failed: bool, tenant: str, as_json: bool) -> int:
    """Send events again, also pending ones, at once, under the same ids."""
    from visionq.ledger.deliveries import failed_of  # noqa: PLC0415  # other commands do without

    if bool(delivery_ids) is failed:
        raise click.UsageError("name deliveries by their ids, or give --failed")
    with errors_as_json(as_json), open_ledger() as ledger:
        if failed:
            delivery_ids = tuple(failed_of(ledger.redis, tenant))
        states = ledger.redeliver(delivery_ids)
    found = dict(zip(delivery_ids, states, strict=True))
    if as_json:
        print_json([{"id": name, "state_before": state} for name, state in found.items()])
    else:
        if not found:
            click.echo(f"tenant {tenant} has no deliveries that were given up")
        for name, state in found.items():
            is_known = state != "missing"
            click.echo(f"{name} {f'was {state}' if is_known else 'is not known'}", err=not is_known)
    return EXIT_FAILED if "missing" in states else EXIT_OK


def _is_enabled(ledger: Ledger, tenant: str) -> bool:
    return any(one.tenant == tenant and enabled for one, enabled in list_webhooks(ledger.redis))


def _no_webhook(tenant: str, *, as_json: bool) -> int:
    if as_json:
        print_json({"tenant": tenant, "webhook": None})
    else:
        message = f"tenant {tenant} has no webhook; `visionq webhooks set --tenant {tenant} URL`"
        click.echo(message, err=True)
    return EXIT_FAILED


def _show_secret(webhook: Webhook) -> None:
    click.echo(webhook.secrets[0].value)
    note = f"{webhook.id} of tenant {webhook.tenant}; keep the secret now, it is not shown again"
    click.echo(note, err=True)


def _public(webhook: Webhook, *, is_enabled: bool, show_secret: bool = False) -> dict[str, Any]:
    shown = {**webhook.to_public(), "enabled": is_enabled}
    del shown["secrets"]
    shown["signing_secrets"] = len(webhook.secrets_at(datetime.now(UTC)))
    return shown | ({"secret": webhook.secrets[0].value} if show_secret else {})


def _events(webhook: Webhook) -> str:
    return "all" if webhook.events == EVENTS else " ".join(webhook.events)


def _line(delivery: Delivery) -> str:
    moment = (delivery.tried_at or delivery.created_at).astimezone().strftime("%m-%d %H:%M:%S")
    said = delivery.fault or delivery.status or ""
    state = f"{delivery.state}({delivery.attempts})"
    parts = (delivery.id, moment, state, delivery.event, delivery.subject, said)
    return "  ".join(map(str, parts)).rstrip()
