"""The record of a run as a table: CSV and XLSX for spreadsheets, Parquet for programs."""

from __future__ import annotations

import csv
import os
import re
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

import click

from producer.outputs import check_table, writing
from producer.run.record_index import check_begins_as_record
from producer.run.run_record import to_line
from producer.run.table_columns import Cell, TableColumn, columns_of
from producer.run.workbook import check_workbook, write_workbook
from visionq.cli.shared import with_options
from visionq.errors import RecordFailed, RecordRefused
from visionq.installation import install_command
from visionq.user_files import keep_copy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from arro3.core import RecordBatch


#: With this delimiter numbers have a decimal comma: spreadsheets expect both or neither.
SEMICOLON: Final = ";"
_TAB: Final = {"tab": "\t", "\\t": "\t"}
#: First characters that a spreadsheet takes for a formula.
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
#: Texts that a spreadsheet turns into other numbers, dates or percentages: they look like a number
#: or like a month with a number. Short integers, decimals with a comma (`52,50`: prices must add
#: up) and full dates such as 12.05.2026 keep their meaning and are not listed.
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
    click.option("--csv-delimiter", help="Delimiter of the CSV, or `tab`.  [default: ,]"),
    click.option("--no-bom", is_flag=True, help="Write the CSV without a byte order mark."),
    click.option(
        "--column", "columns", multiple=True,
        help="Column of SOURCE to repeat in OUT; repeat for more.  [default: all]",
    ),
    click.option("--no-columns", is_flag=True, help="Leave out the columns of SOURCE."),
    click.option(
        "--no-technical", is_flag=True, help="Leave out ids, hashes and token counts in a table."
    ),
    click.option(
        "--pictures", type=click.Path(path_type=Path, file_okay=False, exists=True),
        help="Folder of the files, for links in an XLSX.  [default: that of SOURCE]",
    ),
    click.option("--thumbnails", is_flag=True, help="Show the pictures in an XLSX."),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class TableForm:
    """Options of a table."""

    delimiter: str = ","
    #: Whether a CSV begins with a byte order mark.
    bom: bool = True
    #: Whether texts that a spreadsheet would reinterpret are written as formulas that yield them.
    keeps_texts: bool = False
    #: Columns of the source; None: all.
    columns: tuple[str, ...] | None = None
    technical: bool = True
    #: Time zone of moments in tables for people.
    time_zone: str = "Europe/Moscow"
    #: Folder that file names are relative to; None: unknown.
    pictures: Path | None = None
    thumbnails: bool = False

    def csv_cell(self, column: TableColumn, value: Cell) -> str | int | float | None:
        """Return a value as the CSV shows it."""
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
        return harmless(text)

    def _number(self, text: str) -> str:
        return text.replace(".", ",") if self.delimiter == SEMICOLON else text

    def _moment(self, text: str) -> str:
        if self.delimiter != SEMICOLON:
            return text
        moment = datetime.fromisoformat(text).astimezone(ZoneInfo(self.time_zone))
        return f"{moment:%Y-%m-%d %H:%M:%S}"

    def text(self, text: str) -> str:
        """Return a text that no spreadsheet runs or, with `keeps_texts`, reinterprets."""
        if self.keeps_texts and _REINTERPRETED.fullmatch(text):
            quoted = text.replace('"', '""')
            return f'="{quoted}"'
        return harmless(text)


def harmless(text: str) -> str:
    """Put `'` before a text that a spreadsheet would run as a formula.

    Models and file names are not trusted. Numbers in `data` are not text and are left alone.
    """
    return f"'{text}" if text.startswith(_FORMULA) else text


#: The options that `take_table_form` reads.
table_options = with_options(*_OPTIONS)


def take_table_form(
    options: dict[str, Any], time_zone: str, folder: Path | None = None
) -> TableForm:
    """Remove the options from a command's parameters and return them.

    `folder` holds the pictures, unless an option names another.
    """
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
        pictures=options.pop("pictures") or folder,
        thumbnails=options.pop("thumbnails"),
    )


def _delimiter(text: str) -> str:
    found = _TAB.get(text, text)
    if len(found) != 1 or found in '"\r\n=' or found.isalnum():
        raise click.BadParameter("one character, or tab", param_hint="--csv-delimiter")
    return found


#: Suffixes of OUT; tables are made from the JSONL record beside them.
JSONL: Final = ".jsonl"
CSV: Final = ".csv"
PARQUET: Final = ".parquet"
XLSX: Final = ".xlsx"
KINDS: Final = (JSONL, CSV, XLSX, PARQUET)

_PLAIN: Final = TableForm()
_BATCH: Final = 10_000
#: Digits of rubles in Parquet, and those after the point: books are kept in nano-rubles.
_MONEY_DIGITS: Final = (18, 9)


def record_path(out: Path) -> Path:
    """Return the record of OUT: OUT itself, or the JSONL beside a table.

    Raises:
        RecordRefused: the suffix of OUT is unknown.
    """
    if out.suffix.lower() not in KINDS:
        raise RecordRefused(f"{out}: OUT ends in {', '.join(KINDS[:-1])} or {KINDS[-1]}")
    return out if out.suffix.lower() == JSONL else out.with_suffix(JSONL)


def check_kind(out: Path, form: TableForm = _PLAIN) -> None:
    """Check, before anything is paid, that this kind of table can be written.

    Raises:
        RecordRefused: an extra is not installed, or the kind has no thumbnails.
    """
    record_path(out)
    if out.suffix.lower() == PARQUET:
        _arrow()
    if out.suffix.lower() == XLSX:
        check_workbook(thumbnails=form.thumbnails)
    elif form.thumbnails:
        raise RecordRefused(f"{out}: only an XLSX shows pictures: leave out --thumbnails")


def export(rows: Iterable[dict[str, Any]], out: Path, form: TableForm = _PLAIN) -> None:
    """Write a table, replacing an earlier one atomically; `rows` is read twice.

    Raises:
        RecordFailed: it can't be written.
        RecordRefused: its kind is unknown, an extra is not installed, or visionq did not write the
            file at `out`.
    """
    check_kind(out, form)
    check_is_ours(out)
    if out.suffix.lower() == JSONL:
        _replace(out, lambda file: _write_record(rows, file))
        return
    columns = columns_of(rows, form.columns, technical=form.technical)
    write = _WRITERS[out.suffix.lower()]
    _replace(out, lambda file: write(rows, columns, file, form))


def check_is_ours(out: Path) -> None:
    """Check that visionq wrote the file at `out`, if there is one.

    Raises:
        RecordRefused: it did not, or the file can't be read.
    """
    if out.suffix.lower() == JSONL and out.is_file():
        check_begins_as_record(out)
    else:
        check_table(out)


def _replace(out: Path, write: Callable[[Path], None]) -> None:
    with writing(out) as draft:
        write(draft)
        check_is_ours(out)  # again: writing took a while


def keep_changed(out: Path, record: Path, *, begins: bool = False) -> str | None:
    """Move a table away that its record can't restore; return a message about it.

    A table has the time of its record; a newer one was changed by someone. If the record `begins`,
    the rows of the table are nowhere else.
    """
    try:
        known = out.stat()
        if not known.st_size:
            return None
        if not begins and known.st_mtime_ns <= record.stat().st_mtime_ns:
            return None
        kept = keep_copy(out)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RecordFailed(f"{out}: can't be renamed: {error.strerror}") from None
    why = "is of another record" if begins else "was changed since it was made"
    return f"{out} {why}: it is kept as {kept.name}"


def as_old_as(out: Path, record: Path) -> None:
    """Give a table the time of its record, so that `keep_changed` notices later changes."""
    made = record.stat()
    os.utime(out, ns=(made.st_atime_ns, made.st_mtime_ns))


# CSV ----------------------------------------------------------------------------------------------


def _write_csv(
    rows: Iterable[dict[str, Any]], columns: list[TableColumn], path: Path, form: TableForm
) -> None:
    # Excel recognises UTF-8 by the byte order mark.
    encoding = "utf-8-sig" if form.bom else "utf-8"
    with path.open("x", encoding=encoding, errors="backslashreplace", newline="") as file:
        writer = csv.writer(file, delimiter=form.delimiter)
        writer.writerow([form.name(column.name) for column in columns])
        for row in rows:
            writer.writerow([form.csv_cell(column, column.cell(row)) for column in columns])
        _make_durable(file)


def _make_durable(file: IO[Any]) -> None:
    file.flush()
    os.fsync(file.fileno())


def _write_record(rows: Iterable[dict[str, Any]], path: Path) -> None:
    with path.open("xb") as file:
        file.writelines(map(to_line, rows))
        _make_durable(file)


# Parquet ------------------------------------------------------------------------------------------


def _write_parquet(
    rows: Iterable[dict[str, Any]], columns: list[TableColumn], path: Path, form: TableForm
) -> None:
    del form  # programs read it
    core, io = _arrow()
    types = {str: core.DataType.utf8, int: core.DataType.int64, bool: core.DataType.bool}
    types[float] = core.DataType.float64
    money = core.DataType.decimal128(*_MONEY_DIGITS)
    kinds = [money if one.is_money else types[one.kind]() for one in columns]
    fields = [core.Field(one.name, kind) for one, kind in zip(columns, kinds, strict=True)]
    schema = core.Schema(fields)

    def batches() -> Iterator[RecordBatch]:
        each = iter(rows)
        while few := list(islice(each, _BATCH)):
            arrays = [
                # Of text, since no array is made of `Decimal` directly.
                core.Array(cells, type=core.DataType.utf8()).cast(kind)
                if kind is money
                else core.Array(cells, type=kind)
                for one, kind in zip(columns, kinds, strict=True)
                for cells in [[_parquet_cell(one.cell(row)) for row in few]]
            ]
            yield core.RecordBatch.from_arrays(arrays, schema=schema)

    reader = core.RecordBatchReader.from_batches(schema, batches())
    with path.open("xb") as file:
        io.write_parquet(reader, file, compression="zstd(3)", max_row_group_size=_BATCH)
        _make_durable(file)


def _parquet_cell(cell: Cell) -> Cell:
    return cell.encode("utf-8", "backslashreplace").decode() if isinstance(cell, str) else cell


def _arrow() -> tuple[Any, Any]:
    try:
        from arro3 import core, io  # noqa: PLC0415  # an extra that only Parquet needs
    except ImportError:
        raise RecordRefused(f"Parquet needs an extra: {install_command('parquet')}") from None
    return core, io


_WRITERS: Final = {CSV: _write_csv, XLSX: write_workbook, PARQUET: _write_parquet}
