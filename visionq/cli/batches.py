"""`visionq batches`: list, show and cancel batches at the provider."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import click

from visionq.cli.screen import duration, money, print_facts
from visionq.cli.shared import errors_as_json, json_option, open_ledger, print_json
from visionq.contract import Api
from visionq.ledger.provider_batches import (
    VERDICT,
    WINDOW,
    BatchState,
    backlogs,
    done_batches,
    open_batches,
    read_all_support,
    read_batch,
    stop,
)
from visionq.pricing.money import rubles
from visionq.wording import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redis import Redis

    from visionq.contract.result import ProviderBatchView
    from visionq.ledger.provider_batches import BatchRecord

#: States in which the provider was asked for nothing yet.
_BEFORE: Final = (BatchState.PACKING, BatchState.UPLOADING)
#: States after which nothing more is asked.
_AFTER: Final = (BatchState.RETURNING, BatchState.DONE)


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
        waiting, refusals = backlogs(ledger.redis), _refusals(ledger.redis)
    if as_json:
        print_json(
            {
                "batches": [_public(one) for one in (*going, *ended)],
                "waiting": [asdict(one) for one in waiting],
                "refused": refusals,
            }
        )
        return
    for refusal in refusals:
        click.echo(_refused(refusal))
    for one in (*going, *ended):
        click.echo(f"{one.id}  {_state(one)}  {one.model}  {duration(_age(one))}")
        click.echo(f"    {_lines(one)}; {_price(one)}")
    for backlog in waiting:
        kind = f"{backlog.model} ({backlog.api})"
        click.echo(f"waiting for a batch of {kind}: {counted(backlog.jobs, 'job')}")
    if not (going or ended or waiting or refusals):
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
    else:
        _print(found)


@batches.command()
@click.argument("batch")
@json_option
def cancel(*, batch: str, as_json: bool) -> None:
    """Stop BATCH; what it has answered is kept and paid.

    Of a batch that has ended, or should have after its 26 hours, give up what does not come back.
    """
    with errors_as_json(as_json), open_ledger() as ledger:
        found = read_batch(ledger.redis, batch) if ledger.make(stop(batch)) else None
    if found is None:
        raise _unknown(batch)
    if as_json:
        print_json(_public(found))
    else:
        click.echo(f"{batch}: {_what_happens(found)}")


def progress(batches: Sequence[ProviderBatchView], now: datetime) -> str:
    """Return the progress of batches, and the age of the oldest."""
    lines, completed, failed = (
        sum(getattr(one, name) for one in batches) for name in ("lines", "completed", "failed")
    )
    begun = [one.out_at or one.begun_at for one in batches]
    ages = [(now - moment).total_seconds() for moment in begun if moment]
    parts = [_done(lines, completed, failed)]
    if ages:
        parts.append(f"{'' if len(batches) == 1 else 'the oldest '}out for {duration(max(ages))}")
    return ", ".join(parts)


def _done(lines: int, completed: int, failed: int) -> str:
    done = f"{completed + failed:,} of {counted(lines, 'line')} done"
    return f"{done}, {failed:,} failed" if failed else done


def _refusals(redis: Redis) -> list[dict[str, str]]:
    """Return the models without batches, and when one line is tried again."""
    now = datetime.now(UTC).timestamp()
    return [
        {
            "model": model,
            "api": api,
            "reason": known.reason,
            "tried_again": datetime.fromtimestamp(known.since + VERDICT, UTC).isoformat(),
        }
        for (_, model, api), known in sorted(read_all_support(redis).items())
        if api in tuple(Api) and known.refuses(now)
    ]


def _refused(refusal: dict[str, str]) -> str:
    again = _local(datetime.fromisoformat(refusal["tried_again"]).timestamp())
    kind = f"{refusal['model']} ({refusal['api']})"
    return (
        f"the provider takes no batches of {kind}: {refusal['reason']}. Its jobs go online; one"
        f" line is tried again {again}"
    )


def _unknown(batch: str) -> click.BadParameter:
    return click.BadParameter(f"{batch}: no such batch is out; see `visionq batches list`")


def _what_happens(batch: BatchRecord) -> str:
    if batch.state is BatchState.COLLECTING:
        return (
            "it has ended, and its answers are fetched once more; if that fails, its other lines"
            " count as calls of unknown billing"
        )
    if batch.state in _AFTER:
        return "it has ended already"
    if batch.state is BatchState.CANCELLING:
        return (
            "it is being stopped; 26 hours after its creation this gives it up: its lines then"
            " count as calls of unknown billing"
        )
    if batch.state in _BEFORE:
        return "will be stopped within seconds of being made; its jobs wait for the next one"
    return (
        "will be stopped within seconds; what it has answered by then"
        f" (at the last look {batch.completed:,}) is kept and paid, and its other jobs cost"
        " nothing and wait for the next one"
    )


def _public(batch: BatchRecord) -> dict[str, Any]:
    """Return a record as plain values; times are ISO 8601."""
    fields = asdict(batch)
    for name in ("next_look", "looks", "goes_online", "stop", "asked", "key"):
        del fields[name]
    for name in ("reserved", "settled"):
        fields[f"{name}_rub"] = str(rubles(fields.pop(name)))
    fields["stopping"] = bool(batch.stop) or batch.state is BatchState.CANCELLING
    fields["expires"] = batch.created and batch.created + WINDOW
    for name in ("begun", "created", "ended", "expires"):
        moment = fields[name]
        fields[name] = datetime.fromtimestamp(moment, UTC).isoformat() if moment else None
    return fields


def _age(batch: BatchRecord) -> float:
    """Return the seconds since the provider took it, or since it was begun."""
    end = batch.ended or datetime.now(UTC).timestamp()
    return max(0.0, end - (batch.created or batch.begun))


def _state(batch: BatchRecord) -> str:
    if batch.state is BatchState.DONE:
        return f"done ({batch.cause or batch.status or 'nothing was in it'})"
    said = ", ".join(filter(None, (batch.status, "stopping" if batch.stop else "")))
    return f"{batch.state} ({said})" if said else str(batch.state)


def _lines(batch: BatchRecord) -> str:
    return _done(batch.lines, batch.completed, batch.failed)


def _price(batch: BatchRecord) -> str:
    return f"{money(rubles(batch.settled))} ₽ of at most {money(rubles(batch.reserved))} ₽"


def _print(batch: BatchRecord) -> None:
    is_done = batch.state is BatchState.DONE
    rows = {
        "batch": batch.id,
        "state": _state(batch),
        "model": f"{batch.model}, {batch.api}",
        "progress": _lines(batch),
        "price": _price(batch),
        "begun": _local(batch.begun),
        "out since": _local(batch.created),
        "ended" if is_done else "ends by": _local(
            batch.ended if is_done else batch.created and batch.created + WINDOW
        ),
        "age": duration(_age(batch)),
        "file": f"{batch.bytes:,} bytes, {batch.tokens:,} tokens",
        "at provider": ", ".join(filter(None, (batch.batch_id, batch.file_id))),
    }
    print_facts(rows)


def _local(moment: float) -> str:
    if not moment:
        return ""
    return datetime.fromtimestamp(moment, UTC).astimezone().strftime("%Y-%m-%d %H:%M %Z")
