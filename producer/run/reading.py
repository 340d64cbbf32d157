"""Reading what stands in a record."""

from __future__ import annotations

import json
import os
from contextlib import closing, contextmanager
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Final

from producer.run.errors import RecordRefused
from producer.run.index import Index, IndexEntry
from producer.run.selection import mark_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: Lines that are indexed at a time.
_AT_ONCE: Final = 5_000
#: As every row of a record begins.
_BEGINS: Final = b'{"id":'


def read_into(index: Index, path: Path) -> tuple[int, str | None]:
    """Index a record; return where its last whole line ends, and which question it answers.

    Raises:
        RecordRefused: a line of it is no row.
    """
    start, question = 0, None
    entries: list[IndexEntry] = []
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                _check_torn(line, path, number)
                break
            row, entry = _row(line, start, path, number)
            question = question or row["question"]
            entries.append(entry)
            start += len(line)
            if len(entries) >= _AT_ONCE:
                index.add(entries)
                entries = []
    index.add(entries)
    return start, question


def check_begins_as_record(path: Path) -> None:
    """See that a file is empty, or begins as a record does.

    Raises:
        RecordRefused: it is somebody else's.
    """
    with path.open("rb") as file:
        line = file.readline()
    if line.endswith(b"\n"):
        _row(line, 0, path, 1)
    else:
        _check_torn(line, path, 1)


def _check_torn(line: bytes, path: Path, number: int) -> None:
    """See that a last line without an end is what a crash has left of a row."""
    if not line.startswith(_BEGINS[: len(line)]) and line.strip(b"\0"):
        raise RecordRefused(_foreign(path, number))


def entry_of(row: dict[str, Any], start: int, length: int) -> IndexEntry:
    """Return what the index keeps of a row."""
    return IndexEntry(
        id=str(row["id"]),
        number=int(row["row"]),
        start=start,
        length=length,
        code=str(row["error"]["code"]) if row["error"] is not None else "",
        attempt=int(row["attempt"]),
        paid=Decimal(row["cost_rub"]),
        simulated=bool(row.get("simulated")),
        mark=mark_of(inputs) if (inputs := row.get("inputs")) is not None else None,
    )


def _row(line: bytes, start: int, path: Path, number: int) -> tuple[dict[str, Any], IndexEntry]:
    try:
        row = json.loads(line)
        str(row["question"])
        return row, entry_of(row, start, len(line))
    except (ValueError, KeyError, TypeError, InvalidOperation, RecursionError):
        raise RecordRefused(_foreign(path, number)) from None


def _foreign(path: Path, number: int) -> str:
    return f"{path}: line {number} is no row of a run: choose another OUT, or mend the line"


class Rows:
    """The rows of an open file, each once, as often as they are asked for."""

    def __init__(self, descriptor: int, index: Index, *, ordered: bool = False) -> None:
        self._descriptor = descriptor
        self._index = index
        self._ordered = ordered

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for start, length in self._index.in_order(of_source=self._ordered):
            yield json.loads(os.pread(self._descriptor, length, start))


@contextmanager
def open_rows(path: Path, *, ordered: bool = False) -> Iterator[Rows]:
    """Give the rows of a record, also of one that is being written.

    Raises:
        RecordRefused: there is no such file, or a line of it is no row.
    """
    with closing(Index()) as index:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise RecordRefused(f"{path}: can't be read: {error.strerror}") from None
        try:
            read_into(index, path)
            yield Rows(descriptor, index, ordered=ordered)
        finally:
            os.close(descriptor)
