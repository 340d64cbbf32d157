"""`visionq gate`: show, close and open the circuit breaker in front of the provider."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from visionq.cli.shared import errors_as_json, json_option, open_ledger, print_json
from visionq.ledger import GateOrder
from visionq.ledger.gates import Gate, read_gate

_key_option = click.option("--key", help="Id of one key, from `gate show`.  [default: all]")


@click.group()
def gate() -> None:
    """Show, close or open the gate that stops all calls to the provider."""


@gate.command()
@json_option
def show(*, as_json: bool) -> None:
    """Show the state of the gate, and why."""
    with errors_as_json(as_json), open_ledger() as ledger:
        _print(read_gate(ledger.redis), as_json=as_json)


@gate.command()
@_key_option
@json_option
def close(*, key: str | None, as_json: bool) -> None:
    """Stop all calls until the gate is opened. Calls in flight end as usual."""
    _steer(GateOrder.CLOSE, key, as_json=as_json)


@gate.command("open")
@_key_option
@json_option
def open_(*, key: str | None, as_json: bool) -> None:
    """Open the gate: calls resume at once."""
    _steer(GateOrder.OPEN, key, as_json=as_json)


def _steer(order: GateOrder, key: str | None, *, as_json: bool) -> None:
    with errors_as_json(as_json), open_ledger() as ledger:
        known = [gate.key for gate in read_gate(ledger.redis).keys]
        if key is not None and key not in known:
            raise click.BadParameter(f"{key}: no worker holds it; known: {', '.join(known)}")
        for one in [key] if key is not None else known:
            ledger.steer_gate(one, order)
        if not known:
            click.echo("no worker is registered, so there is no gate", err=True)
        _print(read_gate(ledger.redis), as_json=as_json)


def _print(gate: Gate, *, as_json: bool) -> None:
    if as_json:
        print_json(gate.to_public())
        return
    click.echo(_line(gate.state, gate.reason, gate.since))
    if len(gate.keys) > 1:
        for one in gate.keys:
            click.echo(f"  key {one.key}: {_line(one.state, one.reason, one.since)}")
    for scope, reason in sorted(gate.held.items()):
        click.echo(f"  held: {scope} ({reason})")


def _line(state: str, reason: str | None, since: datetime | None) -> str:
    why = f" ({reason})" if reason else ""
    when = ""
    if since is not None:
        when = f", for {round((datetime.now(UTC) - since).total_seconds())} s"
    return f"{state}{why}{when}"
