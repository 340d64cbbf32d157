"""`visionq jobs`: list, show, cancel, replay and resume jobs."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import click

from visionq.blobs import open_blobs
from visionq.cli.batches import progress
from visionq.cli.filters import ID, filter_options, job_filter
from visionq.cli.screen import print_facts, print_rows
from visionq.cli.shared import (
    EXIT_FAILED,
    EXIT_OK,
    FILE,
    error_document,
    errors_as_json,
    json_option,
    open_ledger,
    print_error,
    print_json,
)
from visionq.contract import HINTED, TERMINAL, State
from visionq.errors import BillingUnknown, JobFailed, VisionqError
from visionq.ledger.replay import most_cost, replay
from visionq.ledger.search import JobFilter, find_jobs
from visionq.ledger.views import job_document, job_documents, job_views, result_of
from visionq.pricing.money import rubles
from visionq.pricing.prices import load_prices
from visionq.pricing.vision import load_rules
from visionq.sdk.results import not_found
from visionq.settings import load_settings
from visionq.wording import counted

if TYPE_CHECKING:
    from collections.abc import Sequence
    from decimal import Decimal
    from pathlib import Path

    from redis import Redis

    from visionq.contract import JobDocument, JobView
    from visionq.settings import Settings

#: What `resume` says of a job that it has brought back.
_RESUMED: Final = "resumed"


#: What `cancel` finds where there is no job.
_MISSING: Final = "missing"


@click.group()
def jobs() -> None:
    """List, show, cancel and replay jobs."""


@jobs.command("list")
@click.option("--state", type=click.Choice([state.value for state in State]), help="Only these.")
@click.option("--failed", is_flag=True, help="The same as --state failed.")
@filter_options
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="At most.")
@json_option
def list_(*, state: str | None, failed: bool, limit: int, as_json: bool, **options: Any) -> None:  # noqa: ANN401  # the filters
    """List jobs: unfinished ones first, then finished ones, latest first.

    With --failed, jobs that have been replayed are left out.
    """
    if failed and state not in (None, State.FAILED):
        raise click.UsageError(f"--failed and --state {state} exclude each other")
    wanted = State.FAILED if failed else State(state) if state else None
    with errors_as_json(as_json):
        with open_ledger() as ledger:
            found = find_jobs(ledger.redis, job_filter(wanted, options))
            views = list(islice(found, limit))
            more = len(views) == limit and next(found, None) is not None
        if as_json:
            print_json([view.to_public() for view in views])
        elif views:
            _print_list(views)
        else:
            click.echo("no jobs")
        if more:
            click.echo(f"there are more: --limit {2 * limit}", err=True)


@jobs.command()
@click.argument("job_id", type=ID, metavar="ID")
@json_option
def show(*, job_id: str, as_json: bool) -> None:
    """Show one job: its question, state and answer."""
    with errors_as_json(as_json):
        with open_ledger() as ledger:
            (view,) = job_views(ledger.redis, [job_id])
            document = job_document(ledger.redis, job_id)
            status, result = result_of(ledger.redis, job_id) or ("", None)
        if view is None or document is None:
            raise not_found(job_id)
        answer = result if status == "SUCCESS" else None
        if as_json:
            print_json({**view.to_public(), "document": document.to_public(), "result": answer})
        else:
            _print_job(view, document, answer)


@jobs.command()
@click.argument("job_ids", type=ID, metavar="ID...", nargs=-1, required=True)
@json_option
def cancel(*, job_ids: tuple[str, ...], as_json: bool) -> int:
    """Cancel jobs in any state; ended ones don't change."""
    with errors_as_json(as_json), open_ledger() as ledger:
        states = ledger.cancel(job_ids)
    found = list(zip(job_ids, states, strict=True))
    if as_json:
        print_json([_cancelled(job_id, before) for job_id, before in found])
    for job_id, before in () if as_json else found:
        if before == _MISSING:
            print_error(not_found(job_id))
        else:
            ended = f"had already ended: {before}"
            click.echo(f"{job_id} {ended if before in TERMINAL else 'cancelled'}")
    return EXIT_FAILED if _MISSING in states else EXIT_OK


def _cancelled(job_id: str, before: str) -> dict[str, Any]:
    is_known = before != _MISSING
    return {
        "id": job_id,
        "cancelled": is_known and before not in TERMINAL,
        "before": State.QUEUED.value if before == HINTED else before,
        "error": None if is_known else error_document(not_found(job_id))["error"],
    }


@jobs.command()
@click.argument("job_ids", type=ID, metavar="[ID...]", nargs=-1)
@click.option("--all", "every", is_flag=True, help="All that are parked as billing_unknown.")
@click.option("--tenant", help="With --all: only those of this tenant.")
@click.option("--batch", help="With --all: only those of this batch.")
@json_option
def resume(
    *, job_ids: tuple[str, ...], every: bool, tenant: str | None, batch: str | None, as_json: bool
) -> int:
    """Let jobs of unknown billing call again, which may be charged twice.

    What is parked as billing_unknown has made as many calls by itself as it may. The money of those
    calls stays in `visionq spend` until it is known.
    """
    if every == bool(job_ids) or ((tenant or batch) and not every):
        raise click.UsageError("give the ids of jobs, or --all with or without a filter")
    with errors_as_json(as_json), open_ledger() as ledger:
        if every:
            wanted = JobFilter(State.PARKED, BillingUnknown.code, tenant, batch)
            found = find_jobs(ledger.redis, wanted)
            job_ids = tuple(view.id for view in found)
        states = dict(zip(job_ids, ledger.resume(job_ids), strict=True))
    if as_json:
        print_json([{"id": job_id, "state": state} for job_id, state in states.items()])
    else:
        for job_id, state in states.items():
            said = state if state == _RESUMED else f"not resumed: {state}"
            click.echo(f"{job_id} {said}")
    return EXIT_OK if all(state == _RESUMED for state in states.values()) else EXIT_FAILED


def _print_list(views: list[JobView]) -> None:
    # Fits 80 columns where states and models are short; `jobs show` has the rest.
    print_rows(
        ("ID", "STATE", "MODEL", "COST ₽"),
        [(view.id, _state(view), view.model, view.to_public()["cost_rub"]) for view in views],
    )


def _print_job(view: JobView, document: JobDocument, answer: dict[str, Any] | None) -> None:
    rows = {
        "id": view.id,
        "state": _state(view),
        "error": view.error.message if view.error else "",
        "picture": view.error.image or "" if view.error else "",
        "comes back": _local(view.due_at),
        "waits in": _in_batch(view),
        "model": f"{view.model}, {document.api.value}, detail {document.detail.value}",
        "asked before": "\n".join(
            f"{step.model}: {step.reason}, {step.to_public()['cost_rub']} ₽" for step in view.steps
        ),
        "tenant": f"{view.tenant}, {view.priority}",
        "pictures": ", ".join(
            image.label(position) for position, image in enumerate(document.images)
        ),
        "batch": view.batch_id or "",
        "replay of": document.replay_of or "",
        "replayed by": view.replayed_by or "",
        "submitted": _local(view.submitted_at),
        "finished": _local(view.finished_at),
        "attempts": str(view.attempts),
        "cost": f"{view.to_public()['cost_rub']} ₽",
        "prompt": document.prompt,
        "answer": answer["text"] if answer else "",
    }
    print_facts(rows)


def _in_batch(view: JobView) -> str:
    batch = view.provider_batch
    return f"{batch.id}: {progress([batch], datetime.now(UTC))}" if batch else ""


def _state(view: JobView) -> str:
    return f"{view.state.value} ({view.reason})" if view.reason else view.state.value


def _local(moment: datetime | None) -> str:
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S") if moment else ""


_PAGE = 500


@dataclass(frozen=True)
class ReplayPlan:
    """A pending replay: its jobs and their price."""

    job_ids: tuple[str, ...]
    #: What the failed jobs have cost, and the most that their replays can.
    cost_rub: Decimal
    most_rub: Decimal
    #: Jobs whose model has no known price, and which are not in that sum.
    unpriced: int

    def to_public(self) -> dict[str, Any]:
        """Return the output of `--json`."""
        return {
            "jobs": len(self.job_ids),
            "cost_rub": str(self.cost_rub),
            "most_rub": str(self.most_rub),
            "unpriced": self.unpriced,
        }

    def text(self) -> str:
        """Return the text for a terminal."""
        known = f"{counted(len(self.job_ids), 'job')}, at most {self.most_rub} ₽"
        without = f"; {self.unpriced} of them have no known price" if self.unpriced else ""
        return f"{known} (they have cost {self.cost_rub} ₽ so far){without}"


@jobs.command("replay")
@click.argument("job_ids", type=ID, metavar="[ID]...", nargs=-1)
@click.option("--failed", is_flag=True, help="All failed jobs that match the other options.")
@filter_options
@click.option("--limit", type=click.IntRange(1), default=10_000, show_default=True, help="At most.")
@click.option("--yes", is_flag=True, help="Don't ask.")
@json_option
def replay_command(
    *,
    job_ids: tuple[str, ...],
    failed: bool,
    limit: int,
    yes: bool,
    as_json: bool,
    **options: Any,  # noqa: ANN401  # the filters
) -> int:
    """Submit failed jobs again, after showing the price.

    Each new job names the old one. With --json and without --yes it only shows the price.
    """
    chosen = failed or any(option is not None for option in options.values())
    if bool(job_ids) is chosen:
        raise click.UsageError("name jobs by their ids, or choose by --failed, --code, --tenant, …")
    with errors_as_json(as_json), open_ledger() as ledger:
        settings = load_settings()
        wanted = find_jobs(ledger.redis, job_filter(State.FAILED, options))
        views = _named(ledger.redis, job_ids) if job_ids else list(islice(wanted, limit))
        plan = _plan(ledger.redis, views, settings)
        if not as_json:
            click.echo(plan.text())
        if as_json and not yes:
            print_json({**plan.to_public(), "replayed": None})
            return EXIT_OK
        if not plan.job_ids or not (yes or click.confirm("Replay them?", err=True)):
            return EXIT_OK
        results = [_told(old, reply, as_json) for old, reply in replay(ledger, plan.job_ids)]
    if as_json:
        print_json({**plan.to_public(), "replayed": results})
    else:
        click.echo(f"{sum(not one['error'] for one in results)} replayed")
    return EXIT_FAILED if any(one["error"] for one in results) else EXIT_OK


def _named(redis: Redis, job_ids: Sequence[str]) -> list[JobView]:
    views = job_views(redis, job_ids)
    for job_id, view in zip(job_ids, views, strict=True):
        if view is None:
            raise not_found(job_id)
        if view.state not in (State.FAILED, State.CANCELLED):
            message = (
                f"{job_id} is {view.state.value}: only what failed or was cancelled is replayed"
            )
            raise JobFailed("not_replayable", message)
    return [view for view in views if view]


def _plan(redis: Redis, views: Sequence[JobView], settings: Settings) -> ReplayPlan:
    prices, rules = load_prices(settings.prices_file), load_rules(settings.vision_file)
    most = unpriced = 0
    ids = tuple(view.id for view in views)
    for start in range(0, len(ids), _PAGE):
        for document in job_documents(redis, ids[start : start + _PAGE]):
            cost = most_cost(document, prices, rules) if document else 0
            most += cost or 0
            unpriced += cost is None
    spent = sum((view.cost_rub for view in views), start=rubles(0))
    return ReplayPlan(ids, spent, rubles(most), unpriced)


def _told(old: str, reply: Any, as_json: bool) -> dict[str, Any]:  # noqa: ANN401  # what `replay` yields; printed or not
    if isinstance(reply, VisionqError):
        if not as_json:
            print_error(reply)
        return {"id": old, "replay": None, **error_document(reply)}
    if not as_json:
        click.echo(f"{old} → {reply.id}" + ("" if reply.created else " (already)"))
    return {"id": old, "replay": reply.id, "created": reply.created, "error": None}


@jobs.command("picture")
@click.argument("job_id", type=ID, metavar="ID")
@click.argument("number", type=click.IntRange(1), default=1)
@click.option("-o", "--output", type=FILE, help="File.")
def picture_command(*, job_id: str, number: int, output: Path | None) -> None:
    """Save a picture of a job as submitted; it may be malformed."""
    with open_ledger() as ledger:
        document = job_document(ledger.redis, job_id)
        if document is None:
            raise not_found(job_id)
        if number > len(document.images):
            raise click.UsageError(f"the job has {counted(len(document.images), 'picture')}")
        image = document.images[number - 1]
        if image.blob is None:
            click.echo(image.url)
            return
        content = open_blobs(load_settings(), ledger.redis).get(image.blob)
    if output is not None:
        try:
            with output.open("xb") as file:
                file.write(content)
        except OSError as error:
            message = f"{output}: {error.strerror}: choose another name"
            raise click.BadParameter(message, param_hint="--output") from None
    elif sys.stdout.isatty():
        raise click.UsageError("a picture can't be shown in a terminal: give --output FILE")
    else:
        sys.stdout.buffer.write(content)
