"""`visionq prices`: what calls cost, where that is known from, and whether a table is right."""

from __future__ import annotations

import datetime as dt
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from visionq.cli.doctor.findings import Finding, Level
from visionq.cli.doctor.fleet_checks import usage_findings
from visionq.cli.doctor.table_checks import table_findings
from visionq.cli.prices_update import update
from visionq.cli.record import read_record
from visionq.cli.screen import people_console
from visionq.cli.shared import errors_as_json, find_redis_url, json_option, print_json
from visionq.contract.base import Document, Rubles
from visionq.pricing.prices import load_prices
from visionq.redis_connection import as_queue_unavailable, connect
from visionq.settings import load_settings

if TYPE_CHECKING:
    from rich.table import Table

    from visionq.pricing.prices import Price, PriceTable
    from visionq.settings import Settings

_HOW: Final = (
    "To enter the provider's own: copy https://proxyapi.ru/pricing/list into a file,"
    " visionq prices update FILE, then VISIONQ_PRICES_FILE=prices.toml for workers and commands."
)
_MARKS: Final = {Level.OK: "✓", Level.WARNING: "!", Level.PROBLEM: "✗", Level.NOT_KNOWN: "?"}


class LongPromptView(Document):
    """How much dearer a long prompt is."""

    above: int
    input: Rubles
    output: Rubles


class PriceView(Document):
    """One row of the table; rubles for a million tokens."""

    model: str
    input_rub: Rubles
    #: Null: priced as any input.
    cached_input_rub: Rubles | None
    #: Input that the provider writes to its cache, and that for 12 hours.
    cache_write_rub: Rubles
    cache_write_12h_rub: Rubles
    output_rub: Rubles
    #: Service tier → what it costs, in these prices; one that is not named has no price.
    service_tiers: dict[str, Rubles]
    #: Above this many tokens of input, input and answer cost this many times as much.
    long_prompt: LongPromptView | None
    #: In the provider's batch lane.
    batch_input_rub: Rubles
    batch_output_rub: Rubles
    source: str
    date: dt.date
    age_days: int
    confirmed: bool


@click.group()
def prices() -> None:
    """Show what calls cost; check and update a table of your own."""


prices.add_command(update)


@prices.command()
@click.option("--toml", is_flag=True, help="Print the table as a file to correct.")
@json_option
def show(*, toml: bool, as_json: bool) -> None:
    """Show all prices, each with its source and its age."""
    with errors_as_json(as_json):
        settings = load_settings()
        table = load_prices(settings.prices_file)
        if toml:
            click.echo(_text(settings.prices_file), nl=False)
            return
        today = dt.datetime.now(dt.UTC).date()
        rows = [_view(price, table, today) for price in table.prices]
        if as_json:
            print_json(
                {
                    "source": _source(settings.prices_file),
                    "batch_factor": str(table.batch_factor),
                    "prices": [row.to_public() for row in rows],
                }
            )
            return
    _print(rows, table, _source(settings.prices_file))


@prices.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
@json_option
def check(*, file: Path | None, as_json: bool) -> None:
    """Check a table, and whether models count tokens as is known of them.

    FILE: your own; else that of VISIONQ_PRICES_FILE, else the built-in one. A table that can't be
    used ends with exit code 2, and the line and field that are wrong.
    """
    with errors_as_json(as_json):
        settings = load_settings()
        if file is not None:
            settings = settings.model_copy(update={"prices_file": file})
        load_prices(settings.prices_file)  # an unusable table is an error
        found = [*table_findings(settings, dt.datetime.now(dt.UTC).date()), *_usage(settings)]
    if as_json:
        print_json(
            {
                "source": _source(settings.prices_file),
                "findings": [one.to_public() for one in found],
            }
        )
        return
    for one in found:
        click.echo(f"{_MARKS[one.level]} {one.message}")
        if one.advice:
            click.echo(f"    {one.advice}")


def _usage(settings: Settings) -> list[Finding]:
    """Return what a running stack has learned; without one there is nothing to say."""
    if settings.redis_url is None and read_record() is None:
        return []
    with connect(find_redis_url(settings), "visionq-cli") as redis, as_queue_unavailable():
        return usage_findings(redis)


def _source(file: Path | None) -> str:
    return str(file) if file is not None else "built in"


def _text(file: Path | None) -> str:
    return (file or files("visionq.data") / "prices.toml").read_text(encoding="utf-8")


def _view(price: Price, table: PriceTable, today: dt.date) -> PriceView:
    return PriceView(
        model=price.model,
        input_rub=price.input,
        cached_input_rub=price.cached_input,
        cache_write_rub=price.written,
        cache_write_12h_rub=price.written_12h,
        output_rub=price.output,
        service_tiers=price.service_tiers,
        long_prompt=price.long_prompt and LongPromptView(**price.long_prompt.model_dump()),
        batch_input_rub=price.input * table.batch_factor,
        batch_output_rub=price.output * table.batch_factor,
        source=price.source,
        date=price.date,
        age_days=(today - price.date).days,
        confirmed=price.confirmed,
    )


def _print(rows: list[PriceView], table: PriceTable, source: str) -> None:
    console = people_console()
    console.print(_drawn(rows, source))
    console.print(
        f"Rubles for a million tokens. The provider's batch lane costs {table.batch_factor} of them"
        " (answers within 24 hours); --json has the factors of service tiers and of long prompts.",
        style="dim",
    )
    console.print(_HOW, style="dim")


def _drawn(rows: list[PriceView], source: str) -> Table:
    from rich.table import Table  # noqa: PLC0415  # for people alone
    from rich.text import Text  # noqa: PLC0415  # likewise

    drawn = Table(box=None, padding=(0, 2), header_style="dim", title=f"Prices ({source})")
    for name in ("model", "in ₽", "cached ₽", "written ₽", "out ₽"):
        drawn.add_column(name, no_wrap=True, justify="left" if name == "model" else "right")
    drawn.add_column("of", no_wrap=True)
    drawn.add_column("source")
    for row in rows:
        shown = row.to_public()
        told = Text(row.source)
        if not row.confirmed:
            told.append("  unconfirmed", style="yellow")
        drawn.add_row(
            row.model, shown["input_rub"], shown["cached_input_rub"] or "",
            shown["cache_write_rub"], shown["output_rub"],
            f"{row.date} ({row.age_days} days)", told,
        )  # fmt: skip
    return drawn
