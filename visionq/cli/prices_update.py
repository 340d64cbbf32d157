"""`visionq prices update`: the price table, brought up to date by a list that was copied."""

from __future__ import annotations

import datetime as dt
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from visionq.cli.screen import plain, print_rows
from visionq.cli.shared import errors_as_json, json_option, print_json
from visionq.errors import ConfigurationError, InvalidSource
from visionq.pricing.price_page import MOST_BYTES, PricePage, read_price_page
from visionq.pricing.prices import load_prices
from visionq.settings import load_settings
from visionq.user_files import draft_of, is_same, keep_copy

if TYPE_CHECKING:
    from visionq.pricing.price_update import Update

_STDIN: Final = "-"
_DEFAULT_OUT: Final = Path("prices.toml")
_file = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.argument("page", metavar="FILE")
@click.option(
    "-o",
    "--out",
    type=_file,
    help="Where to write it.  [default: VISIONQ_PRICES_FILE, prices.toml]",
)
@click.option("--confirmed", is_flag=True, help="Say that the list's prices hold: no estimates.")
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
    _print(made, found, base, confirmed=confirmed)
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
    draft = draft_of(target)
    try:
        draft.write_text(text, encoding="utf-8")
        try:
            load_prices(draft)  # what is written can be read
            kept = keep_copy(target) if target.exists() else None
            draft.replace(target)
        finally:
            draft.unlink(missing_ok=True)
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


def _print(made: Update, page: PricePage, base: Path | None, *, confirmed: bool) -> None:
    table = str(base) if base else "the built-in table"
    click.echo(f"{len(page.prices)} prices on the page, compared with {table}:")
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
