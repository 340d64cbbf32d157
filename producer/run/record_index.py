"""The lines of a record, read and indexed by row id."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections import Counter
from contextlib import closing, contextmanager
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from producer.run.selection import mark_of
from visionq.errors import RecordRefused

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_SCHEMA: Final = """
CREATE TABLE rows (
    id TEXT PRIMARY KEY, number INTEGER, start INTEGER, length INTEGER,
    code TEXT, attempt INTEGER, paid TEXT, simulated INTEGER, mark INTEGER
) WITHOUT ROWID
"""
_ADD: Final = """
INSERT INTO rows VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET start = excluded.start, length = excluded.length,
    code = excluded.code, attempt = excluded.attempt, paid = excluded.paid,
    simulated = excluded.simulated, mark = excluded.mark
"""


class IndexEntry(NamedTuple):
    """A row's last line in the record, as the index holds it."""

    id: str
    number: int
    start: int
    length: int
    #: Error code; empty if there is an answer.
    code: str
    attempt: int
    #: Rubles, as the record writes them.
    paid_rub: str
    simulated: int = 0
    #: Hash of the row's inputs (`mark_of`); None in records of earlier versions.
    mark: int | None = None

    @property
    def failed(self) -> bool:
        """Whether there is no answer."""
        return bool(self.code)

    @property
    def paid(self) -> Decimal:
        """Rubles that the row has cost."""
        return Decimal(self.paid_rub)


class Index:
    """Lines of a record by row id, for one thread that reads and one that writes.

    It is a temporary SQLite database, so that five million rows need no more memory than fifty
    thousand. The record alone is the truth: the index is made from it at each start.
    """

    def __init__(self) -> None:
        #: Lines in the record; more than rows if some were asked again.
        self.lines = 0
        self._lock = threading.Lock()
        # The empty name: a temporary file that SQLite makes when memory gets short, and removes.
        self._database = sqlite3.connect("", check_same_thread=False, isolation_level=None)
        self._database.execute("PRAGMA cache_size = -4000")
        self._database.execute("PRAGMA journal_mode = OFF")
        self._database.execute("PRAGMA synchronous = OFF")
        self._database.execute(_SCHEMA)

    def close(self) -> None:
        """Remove the database."""
        self._database.close()

    def add(self, entries: Iterable[IndexEntry]) -> None:
        """Add lines; of two with one id the later one counts."""
        added = list(entries)
        with self._lock:
            self._database.execute("BEGIN")
            self._database.executemany(_ADD, added)
            self._database.execute("COMMIT")
            self.lines += len(added)

    def find(self, row_id: str, number: int) -> IndexEntry | None:
        """Return the last line of a row; `number` is its current position in the source."""
        with self._lock:
            found = self._database.execute("SELECT * FROM rows WHERE id = ?", (row_id,)).fetchone()
            if found is not None and found[1] != number:
                self._database.execute("UPDATE rows SET number = ? WHERE id = ?", (number, row_id))
        return IndexEntry(*found) if found else None

    def get(self, row_id: str) -> IndexEntry | None:
        """Return the last line of a row."""
        with self._lock:
            found = self._database.execute("SELECT * FROM rows WHERE id = ?", (row_id,)).fetchone()
        return IndexEntry(*found) if found else None

    def count(self) -> tuple[int, int]:
        """Return the number of rows, and of those that failed."""
        query = "SELECT COUNT(*), COALESCE(SUM(code != ''), 0) FROM rows"
        with self._lock:
            rows, failed = self._database.execute(query).fetchone()
        return rows, failed

    def codes(self) -> Counter[str]:
        """Return error code → rows."""
        query = "SELECT code, COUNT(*) FROM rows WHERE code != '' GROUP BY code"
        with self._lock:
            return Counter(dict(self._database.execute(query).fetchall()))

    def origins(self) -> tuple[int, int]:
        """Return the number of answers of the simulator, and of a model."""
        query = (
            "SELECT COALESCE(SUM(simulated), 0),"
            " COALESCE(SUM(NOT simulated AND code = ''), 0) FROM rows"
        )
        with self._lock:
            simulated, real = self._database.execute(query).fetchone()
        return simulated, real

    def ids(self) -> list[str]:
        """Return the ids of all rows."""
        with self._lock:
            return [row_id for (row_id,) in self._database.execute("SELECT id FROM rows")]

    def paid(self) -> Decimal:
        """Return the rubles paid for all rows."""
        with self._lock:
            return sum(
                (Decimal(paid) for (paid,) in self._database.execute("SELECT paid FROM rows")),
                Decimal(0),
            )

    def paid_failures(self) -> dict[str, Decimal]:
        """Return error code → rubles paid for rows without an answer, where any were."""
        query = "SELECT code, paid FROM rows WHERE code != ''"
        found: dict[str, Decimal] = {}
        with self._lock:
            for code, paid in self._database.execute(query):
                found[code] = found.get(code, Decimal(0)) + Decimal(paid)
        return {code: paid for code, paid in found.items() if paid}

    def in_order(self, *, of_source: bool) -> Iterator[tuple[int, int]]:
        """Yield start and length of each row's last line, sorted as source or record."""
        order = "number, id" if of_source else "start"
        query = f"SELECT start, length FROM rows ORDER BY {order}"  # noqa: S608  # one of the two above
        yield from self._database.execute(query)


#: Lines that are indexed at a time.
_AT_ONCE: Final = 5_000
#: The beginning of every line of a record.
_BEGINS: Final = b'{"id":'


def read_into(index: Index, path: Path) -> tuple[int, str | None]:
    """Index a record; return the end of its last whole line, and its question's fingerprint.

    Raises:
        RecordRefused: a line is not a row.
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
    """Check that a file is empty or begins like a record.

    Raises:
        RecordRefused: it is another file.
    """
    with path.open("rb") as file:
        line = file.readline()
    if line.endswith(b"\n"):
        _row(line, 0, path, 1)
    else:
        _check_torn(line, path, 1)


def _check_torn(line: bytes, path: Path, number: int) -> None:
    """Check that an unterminated last line is part of a row."""
    if not line.startswith(_BEGINS[: len(line)]) and line.strip(b"\0"):
        raise RecordRefused(_foreign(path, number))


def entry_of(row: dict[str, Any], start: int, length: int) -> IndexEntry:
    """Return the index entry of a row."""
    return IndexEntry(
        id=str(row["id"]),
        number=int(row["row"]),
        start=start,
        length=length,
        code=str(row["error"]["code"]) if row["error"] is not None else "",
        attempt=int(row["attempt"]),
        paid_rub=str(Decimal(row["cost_rub"])),
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
    return f"{path}: line {number} is not a row of a run: choose another OUT, or repair the line"


class Rows:
    """The rows of an open record, each once; may be iterated several times."""

    def __init__(self, descriptor: int, index: Index, *, ordered: bool = False) -> None:
        self._descriptor = descriptor
        self._index = index
        self._ordered = ordered

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for start, length in self._index.in_order(of_source=self._ordered):
            yield json.loads(os.pread(self._descriptor, length, start))


@contextmanager
def open_rows(path: Path, *, ordered: bool = False) -> Iterator[Rows]:
    """Give the rows of a record, even while it is being written.

    Raises:
        RecordRefused: there is no such file, or a line is not a row.
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
