"""How a table is to look: its columns, and how a CSV says numbers, moments and texts."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar
from zoneinfo import ZoneInfo

import click

if TYPE_CHECKING:
    from collections.abc import Callable

    from producer.run.tables import Cell, Column

Command = TypeVar("Command", bound="Callable[..., Any]")

#: With it numbers have a decimal comma: a spreadsheet that expects the one expects the other.
SEMICOLON: Final = ";"
_TAB: Final = {"tab": "\t", "\\t": "\t"}
#: What a spreadsheet takes for the beginning of a formula.
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
#: Texts of which a spreadsheet makes other numbers, dates or shares: they begin as a number does
#: and hold nothing but what those hold, or they are a month with a number. Short whole numbers,
#: those with a decimal comma (`52,50` too: a column of prices must add up), and whole dates
#: such as 12.05.2026 stay what they are.
_REINTERPRETED: Final = re.compile(
    r"(?!(?:0|[1-9]\d{0,10})(?:,\d{1,4})?$)"
    r"(?!(?:0[1-9]|[12]\d|3[01])\.(?:0[1-9]|1[0-2])\.(?:19|20)\d\d$)"
    r"(?:\s*+[-+(]?[$€£₽]?\s*+\.?\d[\d\s.,:/\\+()%eE-]*+(?:[€₽%]|[ap]m?)?\s*+"
    r"|\s*+(?:\d{1,4}[\s./-]*+)?(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec"
    r"|янв|фев|мар|апр|май|мая|июн|июл|авг|сен|окт|ноя|дек)[^\W\d_]*+[\s./-]*+\d{0,4}\s*+"
    r"|true|false|истина|ложь)",
    re.IGNORECASE,
)

_OPTIONS: Final = (
    click.option(
        "--excel",
        is_flag=True,
        help="A CSV for a Russian Excel: `;`, decimal comma, and texts that stay texts.",
    ),
    click.option("--csv-delimiter", help="Of a CSV that is written; or tab.  [default: ,]"),
    click.option("--no-bom", is_flag=True, help="Leave the UTF-8 mark out of a CSV."),
    click.option(
        "--column", "columns", multiple=True,
        help="Column of SOURCE that OUT has too; again for more.  [default: all]",
    ),
    click.option("--no-columns", is_flag=True, help="Leave the columns of SOURCE out."),
    click.option(
        "--no-technical", is_flag=True, help="Leave ids, hashes and token counts out of a table."
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class TableForm:
    """What can be wished of a table."""

    delimiter: str = ","
    #: Whether a CSV begins with the mark of UTF-8.
    bom: bool = True
    #: Whether texts that a spreadsheet would reinterpret are given as formulas that yield them.
    keeps_texts: bool = False
    #: Columns of the source; None: all.
    columns: tuple[str, ...] | None = None
    technical: bool = True
    #: In which moments are told, where numbers have a decimal comma.
    time_zone: str = "Europe/Moscow"

    def csv_cell(self, column: Column, value: Cell) -> str | int | float | None:
        """Return a value as it stands in a CSV."""
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, str) and column.is_money:
            return self._number(value)
        if isinstance(value, str) and column.is_moment:
            return self._moment(value)
        if isinstance(value, str):
            return self.text(value)
        return self._number(str(value)) if isinstance(value, float) else value

    def name(self, text: str) -> str:
        """Return the name of a column."""
        return _harmless(text)

    def _number(self, text: str) -> str:
        return text.replace(".", ",") if self.delimiter == SEMICOLON else text

    def _moment(self, text: str) -> str:
        if self.delimiter != SEMICOLON:
            return text
        moment = datetime.fromisoformat(text).astimezone(ZoneInfo(self.time_zone))
        return f"{moment:%Y-%m-%d %H:%M:%S}"

    def text(self, text: str) -> str:
        """Return a text that no spreadsheet runs, or, where that is wished, reinterprets."""
        if self.keeps_texts and _REINTERPRETED.fullmatch(text):
            quoted = text.replace('"', '""')
            return f'="{quoted}"'
        return _harmless(text)


def _harmless(text: str) -> str:
    """Keep a spreadsheet from running what a model, or a file's name, has said: a `'` goes before.

    Numbers of `data` are no text and stay as they are.
    """
    return f"'{text}" if text.startswith(_FORMULA) else text


def table_options(command: Command) -> Command:
    """Give a command the options that `take_table_form` takes."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def take_table_form(options: dict[str, Any], time_zone: str) -> TableForm:
    """Take them out of a command's parameters."""
    excel, delimiter = options.pop("excel"), options.pop("csv_delimiter")
    columns, none = options.pop("columns"), options.pop("no_columns")
    if columns and none:
        raise click.UsageError("either --column or --no-columns")
    return TableForm(
        delimiter=_delimiter(delimiter or (SEMICOLON if excel else ",")),
        bom=not options.pop("no_bom"),
        keeps_texts=excel,
        columns=columns if columns or none else None,
        technical=not options.pop("no_technical"),
        time_zone=time_zone,
    )


def _delimiter(text: str) -> str:
    found = _TAB.get(text, text)
    if len(found) != 1 or found in '"\r\n=' or found.isalnum():
        raise click.BadParameter("one character, or tab", param_hint="--csv-delimiter")
    return found
