"""From the record of a run to a table: CSV for spreadsheets, Parquet for programs."""

from __future__ import annotations

import csv
import os
from contextlib import suppress
from itertools import islice
from typing import IO, TYPE_CHECKING, Any, Final

from producer.outputs import check_table
from producer.run.errors import RecordFailed, RecordRefused
from producer.run.table_form import TableForm
from producer.run.tables import Cell, Column, columns_of
from visionq.extras import install_command
from visionq.output_files import draft_of, keep_copy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from arro3.core import RecordBatch

#: What OUT may end in; the last two are made from the record that stands beside them.
JSONL: Final = ".jsonl"
CSV: Final = ".csv"
PARQUET: Final = ".parquet"
KINDS: Final = (JSONL, CSV, PARQUET)

_PLAIN: Final = TableForm()
_BATCH: Final = 10_000


def record_path(out: Path) -> Path:
    """Return the record that belongs to OUT: itself, or the JSONL beside a table.

    Raises:
        RecordRefused: it ends in nothing that is known.
    """
    if out.suffix.lower() not in KINDS:
        raise RecordRefused(f"{out}: OUT ends in {', '.join(KINDS[:-1])} or {KINDS[-1]}")
    return out if out.suffix.lower() == JSONL else out.with_suffix(JSONL)


def check_kind(out: Path) -> None:
    """See that a table of this kind can be made here; told before anything is paid.

    Raises:
        RecordRefused: what writes it is not installed.
    """
    record_path(out)
    if out.suffix.lower() == PARQUET:
        _arrow()


def export(rows: Iterable[dict[str, Any]], out: Path, form: TableForm = _PLAIN) -> None:
    """Write a table; `rows` is read twice. The table that stood at `out` is replaced at once.

    Raises:
        RecordFailed: it can't be written.
        RecordRefused: its kind is unknown, what writes it is not installed, or what stands there
            is no table of ours.
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
        check_table(out)  # it took a while
        draft.replace(out)
    except OSError as error:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        raise RecordFailed(f"{out}: can't be written: {error.strerror or error}") from None
    except RecordRefused:
        draft.unlink(missing_ok=True)
        raise


def keep_changed(out: Path, record: Path, *, begins: bool = False) -> str | None:
    """Move a table aside that can't be made again of its record; return what to say of it.

    A table is as old as the record that it was made of; what is newer was written by others. Where
    the record `begins`, what the table holds stands nowhere else.
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
        raise RecordFailed(f"{out}: can't be moved aside: {error.strerror}") from None
    why = "is of another record" if begins else "was changed since it was made"
    return f"{out} {why}: it is kept as {kept.name}"


def as_old_as(out: Path, record: Path) -> None:
    """Give a table the age of its record, by which `keep_changed` tells later changes."""
    made = record.stat()
    os.utime(out, ns=(made.st_atime_ns, made.st_mtime_ns))


# CSV ----------------------------------------------------------------------------------------------


def _write_csv(
    rows: Iterable[dict[str, Any]], columns: list[Column], path: Path, form: TableForm
) -> None:
    # Excel takes a file for UTF-8 by the mark at its beginning.
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


def _write_parquet(rows: Iterable[dict[str, Any]], columns: list[Column], path: Path) -> None:
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
        from arro3 import core, io  # noqa: PLC0415  # an extra, and only who wants Parquet needs it
    except ImportError:
        raise RecordRefused(f"Parquet needs an extra: {install_command('parquet')}") from None
    return core, io
