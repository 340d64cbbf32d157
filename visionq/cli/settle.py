"""`visionq spend settle`: say what was found out about calls of unknown billing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from visionq.cli.filters import Id
from visionq.cli.screen import Amount, plain
from visionq.cli.shared import (
    EXIT_FAILED,
    EXIT_OK,
    errors_as_json,
    json_option,
    open_ledger,
    print_json,
)
from visionq.ledger.spending import Settled, UnknownCall, unknown_calls

if TYPE_CHECKING:
    from decimal import Decimal

    from redis import Redis

_SAID = {
    Settled.SETTLED: "settled",
    Settled.AT_WORK: "left: its job is still worked on; say it again when the job rests",
    Settled.GONE: "left: its billing is known by now",
}


@click.command()
@click.argument("job_ids", type=Id(), metavar="[JOB]...", nargs=-1)
@click.option("--tenant", metavar="T", help="All such calls of this tenant.")
@click.option("--batch", metavar="ID", help="All such calls of this batch.")
@click.option(
    "--as",
    "said",
    type=click.Choice(["paid", "unpaid"]),
    required=True,
    help="What ProxyAPI's log says of them.",
)
@click.option(
    "--rub", type=Amount(), help="What each of them cost; without it the most that it can have."
)
@json_option
def settle(
    *,
    job_ids: tuple[str, ...],
    tenant: str | None,
    batch: str | None,
    said: str,
    rub: Decimal | None,
    as_json: bool,
) -> int:
    """Say whether calls of unknown billing were paid, as the provider's own log has it.

    Their rubles leave what is unknown: they become paid, or free for the budgets again. A job that
    is parked for such a call goes on if nothing was paid; if it was, decide whether to ask again.
    Should the answer still come, its real cost replaces this decision.
    """
    is_paid = said == "paid"
    if sum(map(bool, (job_ids, tenant, batch))) != 1:
        raise click.UsageError("name jobs, or --tenant, or --batch")
    if rub is not None and not is_paid:
        raise click.UsageError("--rub goes with --as paid")
    if rub is not None and not (rub.is_finite() and rub >= 0):
        raise click.UsageError(f"--rub: {rub} is no amount that was paid")
    with errors_as_json(as_json), open_ledger() as ledger:
        calls = _calls(ledger.redis, job_ids, tenant, batch)
        found = ledger.settle_unknown(calls, paid=is_paid, cost_rub=rub)
    done = list(zip(calls, found, strict=True))
    known = sorted(set(job_ids) - {call.job_id for call in calls})
    if as_json:
        print_json(
            [_document(call, what) for call, what in done] + [_nothing(id_) for id_ in known]
        )
    else:
        _print(done, known)
    return EXIT_FAILED if known or Settled.AT_WORK in found else EXIT_OK


def _calls(
    redis: Redis, job_ids: tuple[str, ...], tenant: str | None, batch: str | None
) -> list[UnknownCall]:
    scope = f"tenant:{tenant}" if tenant else f"batch:{batch}" if batch else None
    calls = unknown_calls(redis, scope, most=None)
    return [call for call in calls if call.job_id in job_ids] if job_ids else calls


def _document(call: UnknownCall, what: Settled) -> dict[str, Any]:
    return {
        "job": call.job_id,
        "tenant": call.tenant,
        "batch": call.batch_id,
        "worst_case_rub": plain(call.worst_case_rub),
        "outcome": what.value,
    }


def _nothing(job_id: str) -> dict[str, Any]:
    return dict.fromkeys(("tenant", "batch", "worst_case_rub")) | {
        "job": job_id,
        "outcome": Settled.GONE.value,
    }


def _print(done: list[tuple[UnknownCall, Settled]], known: list[str]) -> None:
    for call, what in done:
        click.echo(f"{call.job_id}  up to {plain(call.worst_case_rub)} ₽  {_SAID[what]}")
    for job_id in known:
        click.echo(f"{job_id}  has no call of unknown billing", err=True)
    if not done and not known:
        click.echo("no calls of unknown billing")
