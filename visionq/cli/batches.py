"""`visionq batches`: list, show and cancel batches at the provider."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from visionq.cli.shared import errors_as_json, json_option, open_ledger, print_json
from visionq.ledger.provider_batches import (
    BatchState,
    backlogs,
    done_batches,
    open_batches,
    read_batch,
    stop,
)
from visionq.pricing.money import rubles
from visionq.wording import counted

if TYPE_CHECKING:
    from visionq.ledger.provider_batches import BatchRecord


@click.group()
def batches() -> None:
    """Show batches at the provider, or stop one."""


@batches.command("list")
@click.option(
    "--done", type=click.IntRange(0, 1000), default=5, help="Number of ended batches to show."
)
@json_option
def list_(*, done: int, as_json: bool) -> None:
    """List batches, and jobs that wait for the next one."""
    with errors_as_json(as_json), open_ledger() as ledger:
        going, ended = open_batches(ledger.redis), done_batches(ledger.redis, done) if done else ()
        waiting = backlogs(ledger.redis)
    if as_json:
        print_json(
            {
                "batches": [_public(one) for one in (*going, *ended)],
                "waiting": [asdict(one) for one in waiting],
            }
        )
        return
    for one in (*going, *ended):
        click.echo(_line(one))
    for backlog in waiting:
        kind = f"{backlog.model} ({backlog.api})"
        click.echo(f"waiting for a batch of {kind}: {counted(backlog.jobs, 'job')}")
    if not (going or ended or waiting):
        click.echo("no batch is out, and no job waits for one")


@batches.command()
@click.argument("batch")
@json_option
def show(*, batch: str, as_json: bool) -> None:
    """Show all that is known of BATCH."""
    with errors_as_json(as_json), open_ledger() as ledger:
        found = read_batch(ledger.redis, batch)
    if found is None:
        raise _unknown(batch)
    if as_json:
        print_json(_public(found))
        return
    for name, value in _public(found).items():
        if value not in ("", None, 0):
            click.echo(f"{name}: {value}")


@batches.command()
@click.argument("batch")
@json_option
def cancel(*, batch: str, as_json: bool) -> None:
    """Stop BATCH. Its answers are kept; its other jobs wait for the next one."""
    with errors_as_json(as_json), open_ledger() as ledger:
        if not ledger.make(stop(batch)):
            raise _unknown(batch)
        found = read_batch(ledger.redis, batch)
    if as_json:
        print_json(_public(found) if found else {})
    else:
        click.echo(f"{batch}: will be stopped within seconds")


def _unknown(batch: str) -> click.BadParameter:
    return click.BadParameter(f"{batch}: no such batch is out; see `visionq batches list`")


def _public(batch: BatchRecord) -> dict[str, Any]:
    """Return a record as plain values; times are ISO 8601."""
    fields = asdict(batch)
    for name in ("next_look", "looks", "goes_online", "stop", "asked", "key"):
        del fields[name]
    fields["reserved_rub"] = str(rubles(fields.pop("reserved")))
    fields["stopping"] = bool(batch.stop)
    for name in ("begun", "created", "ended"):
        moment = fields[name]
        fields[name] = datetime.fromtimestamp(moment, UTC).isoformat() if moment else None
    return fields


def _line(batch: BatchRecord) -> str:
    answered = f"{batch.completed + batch.failed:,} of {counted(batch.lines, 'line')}"
    if batch.state is BatchState.DONE:
        end = batch.cause or batch.status or "nothing was in it"
        return f"{batch.id}  done ({end})  {batch.model}  {answered}"
    minutes = max(0, round((datetime.now(UTC).timestamp() - batch.begun) / 60))
    state = f"{batch.state}, {batch.status}" if batch.status else str(batch.state)
    stopping = "  stopping" if batch.stop else ""
    return f"{batch.id}  {state}  {batch.model}  {answered}  for {minutes:,} min{stopping}"
