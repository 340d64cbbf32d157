"""The record of a run as a table: CSV for spreadsheets, Parquet for programs."""

from __future__ import annotations

import csv
import json
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import IO, TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

import click

from producer.outputs import check_table
from producer.run.run_record import COLUMNS, TECHNICAL, TOKENS
from visionq.cli.shared import with_options
from visionq.errors import RecordFailed, RecordRefused
from visionq.installation import install_command
from visionq.user_files import draft_of, keep_copy

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator
    from pathlib import Path

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
    #: Time zone of moments in tables with a decimal comma.
    time_zone: str = "Europe/Moscow"

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
        return _harmless(text)

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
        return _harmless(text)


def _harmless(text: str) -> str:
    """Put `'` before a text that a spreadsheet would run as a formula.

    Models and file names are not trusted. Numbers in `data` are not text and are left alone.
    """
    return f"'{text}" if text.startswith(_FORMULA) else text


#: The options that `take_table_form` reads.
table_options = with_options(*_OPTIONS)


def take_table_form(options: dict[str, Any], time_zone: str) -> TableForm:
    """Remove the options from a command's parameters and return them."""
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


#: Prefix of columns for fields of `data`.
DATA: Final = "data."
#: Prefix of columns of the source whose names OUT uses itself.
SOURCE: Final = "source."
#: Most columns: more fields are for programs, not for people.
_MOST_FIELDS: Final = 1_000
_LARGEST: Final = 2**63
#: Columns of OUT that are not text.
_KINDS: Final[dict[str, type]] = {
    **dict.fromkeys(("cached", "cost_is_estimate", "simulated"), bool),
    **dict.fromkeys(("row", "attempt", *TOKENS), int),
    "latency_s": float,
}

Cell = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class TableColumn:
    """One column, whose values are all of one `kind`."""

    name: str
    kind: type
    #: The column of the source, or the field of `data`, with its values.
    of_source: str | None = None
    of_data: str | None = None

    @property
    def is_money(self) -> bool:
        """Whether its values are rubles as decimal strings."""
        return self.name == "cost_rub"

    @property
    def is_moment(self) -> bool:
        """Whether its values are moments."""
        return self.name == "finished_at"

    def cell(self, row: dict[str, Any]) -> Cell:
        """Return the value of a row in this column."""
        if self.of_source is not None:
            value = (row.get("columns") or {}).get(self.of_source)
        elif self.of_data is not None:
            data = row["data"]
            value = data.get(self.of_data) if isinstance(data, dict) else None
        elif self.name in ("error_code", "error_message"):
            value = (row["error"] or {}).get(self.name.removeprefix("error_"))
        else:
            value = row.get(self.name)
        return self._as_cell(value)

    def _as_cell(self, value: Any) -> Cell:  # noqa: ANN401  # any JSON value
        if value is None:
            return None
        if self.kind is not str:
            cell: Cell = self.kind(value)
            return cell
        if self.name in ("pictures", "warnings"):
            return "; ".join(value)
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def columns_of(
    rows: Iterable[dict[str, Any]],
    wanted: Collection[str] | None = None,
    *,
    technical: bool = True,
) -> list[TableColumn]:
    """Return the columns of a table: of every row, of the source, and of `data`.

    Fields with values of several kinds become text, nested values JSON. `wanted` selects columns
    of the source; None: all.

    Raises:
        RecordRefused: there are too many fields for a table.
    """
    fields: dict[str, set[type]] = {}
    source: dict[str, bool] = {}
    plain = False
    for row in rows:
        data = row["data"]
        if isinstance(data, dict):
            for name, value in data.items():
                fields.setdefault(name, set()).add(_kind_of(value))
        else:
            plain = plain or data is not None
        for name, text in (row.get("columns") or {}).items():
            # Whether it always equals our column of that name is known only at the end.
            source[name] = source.get(name, False) or text != str(row.get(name, ""))
        if len(fields) + len(source) > _MOST_FIELDS:
            raise RecordRefused(f"there are more than {_MOST_FIELDS:,} fields: take the JSONL")
    kept = [name for name in COLUMNS if technical or name not in TECHNICAL]
    own = {
        column.name
        for name in COLUMNS
        if name != "columns"
        for column in _columns(name, fields, plain=plain)
    }
    repeated = [
        TableColumn(f"{SOURCE}{name}" if name in own else name, str, of_source=name)
        for name, differs in source.items()
        if (wanted is None or name in wanted) and (differs or name not in own)
    ]
    return [
        column
        for name in kept
        for column in (repeated if name == "columns" else _columns(name, fields, plain=plain))
    ]


def _columns(name: str, fields: dict[str, set[type]], *, plain: bool) -> list[TableColumn]:
    if name == "data":
        found = [
            TableColumn(f"{DATA}{field}", _kind(kinds), of_data=field)
            for field, kinds in fields.items()
        ]
        # An answer that is a list or a number has no fields.
        return [TableColumn("data", str), *found] if plain else found
    if name == "error":
        return [TableColumn("error_code", str), TableColumn("error_message", str)]
    return [TableColumn(name, _KINDS.get(name, str))]


def _kind_of(value: object) -> type:
    """Return the kind of a value; an integer beyond 64 bits is text."""
    is_large = isinstance(value, int) and not -_LARGEST <= value < _LARGEST
    return str if is_large else type(value)


def _kind(kinds: set[type]) -> type:
    known = kinds - {type(None)}
    if known == {bool}:
        return bool
    if known == {int}:
        return int
    return float if known and known <= {int, float} else str


#: Suffixes of OUT; tables are made from the JSONL record beside them.
JSONL: Final = ".jsonl"
CSV: Final = ".csv"
PARQUET: Final = ".parquet"
KINDS: Final = (JSONL, CSV, PARQUET)

_PLAIN: Final = TableForm()
_BATCH: Final = 10_000


def record_path(out: Path) -> Path:
    """Return the record of OUT: OUT itself, or the JSONL beside a table.

    Raises:
        RecordRefused: the suffix of OUT is unknown.
    """
    if out.suffix.lower() not in KINDS:
        raise RecordRefused(f"{out}: OUT ends in {', '.join(KINDS[:-1])} or {KINDS[-1]}")
    return out if out.suffix.lower() == JSONL else out.with_suffix(JSONL)


def check_kind(out: Path) -> None:
    """Check, before anything is paid, that this kind of table can be written.

    Raises:
        RecordRefused: an extra is not installed.
    """
    record_path(out)
    if out.suffix.lower() == PARQUET:
        _arrow()


def export(rows: Iterable[dict[str, Any]], out: Path, form: TableForm = _PLAIN) -> None:
    """Write a table, replacing an earlier one atomically; `rows` is read twice.

    Raises:
        RecordFailed: it can't be written.
        RecordRefused: its kind is unknown, an extra is not installed, or visionq did not write the
            file at `out`.
    """
    check_kind(out)
    check_table(out)
    columns = columns_of(rows, form.columns, technical=form.technical)
    if out.suffix.lower() == PARQUET:
        _replace(out, lambda file: _write_parquet(rows, columns, file))
    else:
        _replace(out, lambda file: _write_csv(rows, columns, file, form))


def _replace(out: Path, write: Callable[[Path], None]) -> None:
    draft = draft_of(out)
    try:
        write(draft)
        check_table(out)  # again: writing took a while
        draft.replace(out)
    except OSError as error:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        raise RecordFailed(f"{out}: can't be written: {error.strerror or error}") from None
    except RecordRefused:
        draft.unlink(missing_ok=True)
        raise


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


# Parquet ------------------------------------------------------------------------------------------


def _write_parquet(rows: Iterable[dict[str, Any]], columns: list[TableColumn], path: Path) -> None:
    core, io = _arrow()
    types = {str: core.DataType.utf8, int: core.DataType.int64, bool: core.DataType.bool}
    types[float] = core.DataType.float64
    kinds = [types[one.kind]() for one in columns]
    fields = [core.Field(one.name, kind) for one, kind in zip(columns, kinds, strict=True)]
    schema = core.Schema(fields)

    def batches() -> Iterator[RecordBatch]:
        each = iter(rows)
        while few := list(islice(each, _BATCH)):
            arrays = [
                core.Array([_parquet_cell(one.cell(row)) for row in few], type=kind)
                for one, kind in zip(columns, kinds, strict=True)
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
