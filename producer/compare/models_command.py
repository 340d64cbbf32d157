"""`visionq models`: show which models are asked, move jobs to another, and take that back."""

from __future__ import annotations

import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from pydantic import ValidationError

from producer.job_options import job_options, prompt_options, take_question
from producer.run.run_progress import Terminal
from producer.sources.opening import source_options, take_source_options
from visionq.cli.filters import POSITIVE_AMOUNT
from visionq.cli.shared import FILE, errors_as_json, find_redis_url, json_option, print_json
from visionq.contract.limits import MODEL_NAME
from visionq.errors import InvalidJob
from visionq.model_migrations import Migration, MigrationEntry, read_changes, read_migrations, undo
from visionq.pricing.prices import load_prices
from visionq.redis_connection import as_queue_unavailable, connect
from visionq.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from decimal import Decimal

    from producer.compare.migrating import SourceToAsk
    from visionq.model_migrations import ModelMigrations
    from visionq.settings import Settings

#: Changes on a screen; JSON has all that are kept.
_MOST_LINES = 20


def _model(_context: click.Context, _parameter: click.Parameter, name: str | None) -> str | None:
    try:
        return None if name is None else MODEL_NAME.validate_python(name)
    except ValidationError:
        raise click.BadParameter(f"{name!r} is not the name of a model") from None


@click.group()
def models() -> None:
    """Show which models are asked, and move jobs from one to another.

    A migration holds for every producer and gateway of this ledger within seconds, also where
    their VISIONQ_DEFAULT_MODEL names another.
    """


@models.command()
@json_option
def show(*, as_json: bool) -> None:
    """Show the default model, the migrations in force, and what was changed."""
    with errors_as_json(as_json):
        settings = load_settings()
        with connect(find_redis_url(settings), "visionq-cli") as redis, as_queue_unavailable():
            migrations, changes = read_migrations(redis), read_changes(redis)
    asked = migrations.model_of(None, None, settings.default_model)
    if as_json:
        print_json(
            {
                "configured": settings.default_model,
                "asked": asked,
                "migrations": [one.to_public() for one in migrations.latest_first],
                "changes": [one.to_public() for one in changes],
            }
        )
        return
    click.echo(
        f"jobs without a model ask {asked} (VISIONQ_DEFAULT_MODEL: {settings.default_model})"
    )
    for one in migrations.latest_first:
        click.echo(f"{one.source} → {one.target}: {one.whom}, since {_when(one.at)} by {one.by}")
    for change in changes[:_MOST_LINES]:
        click.echo(f"  {_line(change)}")


@models.command()
@click.argument("from_model", metavar="FROM", callback=_model)
@click.argument("to_model", metavar="TO", callback=_model)
@click.argument("source", required=False)
@prompt_options("The question about SOURCE; {column} is replaced by the row's value.")
@click.option("--sample", type=click.IntRange(0), help="Questions to compare.  [default: 50]")
@click.option("--seed", type=int, default=0, show_default=True, help="Another one, others drawn.")
@click.option("--named", is_flag=True, help="Move jobs that name FROM themselves as well.")
@click.option("-o", "--out", type=FILE, help="FILE.jsonl.  [default: migrate-FROM-TO.jsonl]")
@click.option("--max-rub", type=POSITIVE_AMOUNT, help="Most rubles that comparing may cost.")
@click.option("--yes", is_flag=True, help="Compare and migrate without asking.")
@job_options
@source_options
@json_option
def migrate(
    *,
    from_model: str,
    to_model: str,
    source: str | None,
    sample: int | None,
    seed: int,
    named: bool,
    out: Path | None,
    max_rub: Decimal | None,
    yes: bool,
    as_json: bool,
    **options: Any,  # noqa: ANN401  # options of source and job, each checked by its reader
) -> int:
    """Compare two models over your own questions, and move jobs from FROM to TO.

    The questions are drawn from jobs that FROM has answered and whose pictures are still there; or
    SOURCE is asked about, with the options of `visionq compare`. With --tenant only that tenant's.
    """
    from producer.compare.comparison_plan import ComparisonOptions  # noqa: PLC0415  # not for --help
    from producer.compare.migrating import migrate_model, who  # noqa: PLC0415  # likewise

    with errors_as_json(as_json):
        settings, to_ask = load_settings(), _source(source, sample, options)
        _check_prices((from_model, to_model), settings)
        name = re.sub(r"[^\w.-]", "-", f"migrate-{from_model}-{to_model}.jsonl")
        with connect(find_redis_url(settings), "visionq-cli") as redis, as_queue_unavailable():
            tenant = options["tenant"]
            if not named:
                _check_default(from_model, tenant, read_migrations(redis), settings)
            try:
                new = Migration(
                    source=from_model,
                    target=to_model,
                    tenant=tenant,
                    named=named,
                    at=datetime.now(UTC),
                    by=who(),
                )
            except ValidationError:
                raise click.UsageError(
                    f"--tenant: {tenant!r} is not the name of a tenant"
                ) from None
            try:
                return migrate_model(
                    new,
                    to_ask,
                    ComparisonOptions(
                        out=out or Path(name), sample=sample, seed=seed, max_rub=max_rub
                    ),
                    redis,
                    settings=settings,
                    terminal=Terminal(yes=yes, as_json=as_json),
                )
            except InvalidJob as error:
                raise click.UsageError(error.message) from None


@models.command("undo")
@click.argument("from_model", metavar="[FROM]", required=False, callback=_model)
@click.option("--tenant", help="Of this tenant.")
@json_option
def undo_(*, from_model: str | None, tenant: str | None, as_json: bool) -> None:
    """Take a migration back: that of FROM, or the latest."""
    from producer.compare.migrating import who  # noqa: PLC0415  # not for --help

    with errors_as_json(as_json):
        settings = load_settings()
        with connect(find_redis_url(settings), "visionq-cli") as redis, as_queue_unavailable():
            found = [
                one
                for one in read_migrations(redis).latest_first
                if from_model in (None, one.source)
                and (one.tenant == tenant or (tenant is None and from_model is None))
            ]
            if not found:
                what = f"{from_model} is not" if from_model else "no model is"
                whose = f" for tenant {tenant}" if tenant else ""
                raise click.UsageError(f"{what} migrated{whose}: see `visionq models show`")
            change = MigrationEntry(undone=True, migration=found[0], at=datetime.now(UTC), by=who())
            undo(redis, found[0], change)
    if as_json:
        print_json(change.to_public())
    else:
        click.echo(_line(change))


def _source(
    source: str | None, sample: int | None, options: Mapping[str, Any]
) -> SourceToAsk | None:
    """Return SOURCE with its question; without one no option of it may be given."""
    from producer.compare.migrating import SourceToAsk  # noqa: PLC0415  # not for --help

    rest = dict(options)
    if rest["model"] is not None:
        raise click.UsageError("--model: FROM and TO are the models")
    described = take_source_options(rest)
    asked = take_question(rest)
    if source is None:
        ours = {"tenant"}
        given = [name for name, value in asked.items() if value is not None and name not in ours]
        if given:
            option = given[0].replace("_", "-")
            raise click.UsageError(f"--{option} is about a SOURCE, and none is given")
        return None
    if sample == 0:
        raise click.UsageError("--sample 0 compares nothing: leave SOURCE out")
    return SourceToAsk(source, described, asked, sys.stdin.buffer)


def _check_prices(named: Sequence[str], settings: Settings) -> None:
    prices = load_prices(settings.prices_file)
    for model in named:
        if prices.for_model(model) is None:
            raise click.UsageError(
                f"no price is known for {model}: check its name, or enter its price in a file of"
                " your own (VISIONQ_PRICES_FILE)"
            )


def _check_default(
    model: str, tenant: str | None, migrations: ModelMigrations, settings: Settings
) -> None:
    default = migrations.model_of(None, tenant, settings.default_model)
    if model != default:
        raise click.UsageError(
            f"jobs without a model ask {default} (VISIONQ_DEFAULT_MODEL), not {model}: add --named"
            f" to move the jobs that name {model}"
        )


def _when(moment: datetime) -> str:
    return f"{moment.astimezone():%Y-%m-%d %H:%M}"


def _line(change: MigrationEntry) -> str:
    one = change.migration
    what = "undone" if change.undone else "migrated"
    return f"{_when(change.at)} {what}: {one.source} → {one.target}, {one.whom}, by {change.by}"
