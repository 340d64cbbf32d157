"""`visionq prices`: show, check and update the price table."""

from __future__ import annotations

import datetime as dt
import sys
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from visionq.cli.doctor.findings import Finding, Level
from visionq.cli.doctor.fleet_checks import usage_findings
from visionq.cli.doctor.table_checks import table_findings
from visionq.cli.record import read_record
from visionq.cli.screen import people_console, plain, print_rows
from visionq.cli.shared import FILE, errors_as_json, find_redis_url, json_option, print_json
from visionq.contract.base import Document, Rubles
from visionq.errors import ConfigurationError, InvalidSource
from visionq.pricing.price_page import MOST_BYTES, PricePage, read_price_page
from visionq.pricing.prices import load_prices
from visionq.redis_connection import as_queue_unavailable, connect
from visionq.settings import load_settings
from visionq.user_files import is_same, keep_copy, replacing
from visionq.wording import counted

if TYPE_CHECKING:
    from rich.table import Table

    from visionq.pricing.price_update import Update
    from visionq.pricing.prices import Price, PriceTable
    from visionq.settings import Settings

_HOW: Final = (
    "To enter the provider's own: copy https://proxyapi.ru/pricing/list into a file,"
    " visionq prices update FILE, then VISIONQ_PRICES_FILE=prices.toml for workers and commands."
)


_MARKS: Final = {Level.OK: "✓", Level.WARNING: "!", Level.PROBLEM: "✗", Level.NOT_KNOWN: "?"}


class LongPromptView(Document):
    """The factors by which a long prompt is dearer."""

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


@prices.command()
@click.option("--toml", is_flag=True, help="Print the table as a TOML file to edit.")
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
    """Return findings of a running stack; none without one."""
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
        batch_input_rub=price.input * (price.batch_factor or table.batch_factor),
        batch_output_rub=price.output * (price.batch_factor or table.batch_factor),
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


_STDIN: Final = "-"


_DEFAULT_OUT: Final = Path("prices.toml")


@prices.command()
@click.argument("page", metavar="FILE")
@click.option(
    "-o",
    "--out",
    type=FILE,
    help="Where to write it.  [default: VISIONQ_PRICES_FILE, prices.toml]",
)
@click.option("--confirmed", is_flag=True, help="Mark the list's prices as confirmed.")
@json_option
def update(*, page: str, out: Path | None, confirmed: bool, as_json: bool) -> None:
    """Update the table from the provider's price list, as text or HTML.

    FILE: what you copied or saved of https://proxyapi.ru/pricing/list; - for stdin. Shows what
    changes, and writes a table for VISIONQ_PRICES_FILE; any other page changes nothing.
    """
    from visionq.pricing.price_update import as_toml, updated  # noqa: PLC0415  # its writer: for this alone

    with errors_as_json(as_json):
        settings = load_settings()
        target = out or settings.prices_file or _DEFAULT_OUT
        content, name = _read(page)
        _check_target(target, page)
        found = read_price_page(content, name)
        base = settings.prices_file or (target if target.exists() else None)
        today = dt.datetime.now(dt.UTC).date()
        made = updated(load_prices(base), found, name, today=today, confirmed=confirmed)
        kept = _write(target, as_toml(made.table))
        if as_json:
            print_json(_document(made, found, base, target, kept))
            return
    _print_changes(made, found, base, confirmed=confirmed)
    if kept is not None:
        click.echo(f"the previous table is {kept} now")
    click.echo(f"written: {target}. For workers and commands: VISIONQ_PRICES_FILE={target}")


def _read(page: str) -> tuple[bytes, str]:
    """Return the page's bytes, one beyond the limit at most, and its name in errors."""
    if page == _STDIN:
        return sys.stdin.buffer.read(MOST_BYTES + 1), "stdin"
    try:
        with Path(page).open("rb") as file:
            return file.read(MOST_BYTES + 1), page
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InvalidSource(f"{page}: can't be read: {reason}") from None


def _check_target(target: Path, page: str) -> None:
    """Refuse to write over a file that this command did not write.

    Raises:
        ConfigurationError: it is such a file, the page itself among them, or can't be looked at.
    """
    from visionq.pricing.price_update import MARK  # noqa: PLC0415  # as above

    if page != _STDIN and is_same(Path(page), target):
        raise ConfigurationError(f"{target}: this is the price list itself: choose another -o")
    try:
        if not target.exists():
            return
        with target.open("rb") as file:
            is_ours = MARK.encode() in file.readline()
    except OSError as error:
        raise ConfigurationError(f"{target}: can't be read: {error.strerror}") from None
    if not is_ours:
        raise ConfigurationError(
            f"{target}: `visionq prices update` did not write this file and leaves it alone: choose"
            " another with -o"
        )


def _write(target: Path, text: str) -> Path | None:
    """Write the table atomically; return where the previous one is kept.

    Raises:
        ConfigurationError: it can't be written.
    """
    try:
        with replacing(target) as draft:
            draft.write_text(text, encoding="utf-8")
            load_prices(draft)  # what is written can be read
            kept = keep_copy(target) if target.exists() else None
    except OSError as error:
        raise ConfigurationError(f"{target}: can't be written: {error.strerror}") from None
    return kept


def _document(
    made: Update, page: PricePage, base: Path | None, target: Path, kept: Path | None
) -> dict[str, object]:
    return {
        "compared_with": str(base) if base else "built in",
        "written": str(target),
        "kept": str(kept) if kept else None,
        "changes": [
            {
                "model": one.model,
                "field": one.field,
                "old_rub": plain(one.old),
                "new_rub": plain(one.new),
                "in_proportion": one.in_proportion,
            }
            for one in made.changes
        ],
        "new_models": list(made.new_models),
        "unchanged": list(made.unchanged),
        "absent": list(made.absent),
        "passed_over": list(page.passed_over),
    }


def _print_changes(made: Update, page: PricePage, base: Path | None, *, confirmed: bool) -> None:
    table = str(base) if base else "the built-in table"
    click.echo(f"{counted(len(page.prices), 'price')} on the page, compared with {table}:")
    if made.changes:
        rows = [
            (
                one.model,
                one.field,
                plain(one.old) or "none",
                plain(one.new) or "",
                "in proportion to input" if one.in_proportion else "",
            )
            for one in made.changes
        ]
        print_rows(("MODEL", "FIELD", "OLD ₽", "NEW ₽", ""), rows)
    for words, models in (
        ("new", made.new_models),
        ("as before", made.unchanged),
        ("not on the page, kept as they are", made.absent),
        ("on the page without prices of input and output", page.passed_over),
    ):
        if models:
            click.echo(f"{words}: {', '.join(models)}")
    if not confirmed and (made.changes or made.new_models):
        click.echo("unconfirmed until you set `confirmed = true` in a row, or give --confirmed")
