"""`visionq jobs replay` and `jobs picture`: what can be done about a job that failed."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from visionq.blobs import open_blobs
from visionq.cli.filters import Id, filter_options, job_filter
from visionq.cli.shared import (
    EXIT_FAILED,
    EXIT_OK,
    error_document,
    errors_as_json,
    json_option,
    open_ledger,
    print_error,
    print_json,
)
from visionq.contract import State
from visionq.errors import JobFailed, VisionqError
from visionq.ledger.replay import most_cost, replay
from visionq.ledger.search import find_jobs
from visionq.ledger.views import job_document, job_documents, job_views
from visionq.pricing.money import rubles
from visionq.pricing.prices import load_prices
from visionq.pricing.vision import load_rules
from visionq.sdk.results import not_found
from visionq.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from decimal import Decimal

    from redis import Redis

    from visionq.contract import JobView
    from visionq.settings import Settings

_PAGE = 500


@dataclass(frozen=True)
class ReplayPlan:
    """What is about to be replayed, and what it may cost."""

    job_ids: tuple[str, ...]
    #: What the failed jobs have cost, and the most that their replays can.
    cost_rub: Decimal
    most_rub: Decimal
    #: Jobs whose model has no known price, and which are not in that sum.
    unpriced: int

    def to_public(self) -> dict[str, Any]:
        """Return what `--json` prints."""
        return {
            "jobs": len(self.job_ids),
            "cost_rub": str(self.cost_rub),
            "most_rub": str(self.most_rub),
            "unpriced": self.unpriced,
        }

    def text(self) -> str:
        """Return what people read."""
        known = f"{len(self.job_ids)} jobs, at most {self.most_rub} ₽"
        without = f"; {self.unpriced} of them have no known price" if self.unpriced else ""
        return f"{known} (they have cost {self.cost_rub} ₽ so far){without}"


@click.command("replay")
@click.argument("job_ids", type=Id(), metavar="[ID]...", nargs=-1)
@click.option("--failed", is_flag=True, help="Every failed job that the other options leave.")
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
    """Ask again what failed: new jobs that name the old ones. Tells the price first.

    With --json and without --yes it tells the price alone.
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


@click.command("picture")
@click.argument("job_id", type=Id(), metavar="ID")
@click.argument("number", type=click.IntRange(1), default=1)
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="File.")
def picture_command(*, job_id: str, number: int, output: Path | None) -> None:
    """Save a picture of a job as submitted; it may be malformed."""
    with open_ledger() as ledger:
        document = job_document(ledger.redis, job_id)
        if document is None:
            raise not_found(job_id)
        if number > len(document.images):
            raise click.UsageError(f"the job has {len(document.images)} pictures")
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
        raise click.UsageError("a picture is nothing for a terminal: give --output FILE")
    else:
        sys.stdout.buffer.write(content)
