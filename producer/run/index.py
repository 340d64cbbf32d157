"""What stands in a record, by row id: where, of which number in the source, and how it ended.

Kept in a passing SQLite database, which spills to disk, so that five million rows need no more
memory than fifty thousand. The record alone is the truth: the index is made from it at each start.
"""

from __future__ import annotations

import sqlite3
import threading
from collections import Counter
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

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


_Values = tuple[str, int, int, int, str, int, str, int, int | None]


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """One line of the record."""

    id: str
    number: int
    start: int
    length: int
    #: Why there is no answer; empty: there is one.
    code: str
    attempt: int
    paid: Decimal
    simulated: bool = False
    #: Of what was asked (`mark_of`); None: an earlier version did not note it.
    mark: int | None = None

    @property
    def failed(self) -> bool:
        """Whether there is no answer."""
        return bool(self.code)


class Index:
    """Asked by the thread that reads the source, extended by the one that writes the record."""

    def __init__(self) -> None:
        #: Lines in the record; more than rows where some were asked again.
        self.lines = 0
        self._lock = threading.Lock()
        # An empty name: a file that SQLite makes when memory gets short, and removes by itself.
        self._database = sqlite3.connect("", check_same_thread=False, isolation_level=None)
        self._database.execute("PRAGMA cache_size = -4000")
        self._database.execute("PRAGMA journal_mode = OFF")
        self._database.execute("PRAGMA synchronous = OFF")
        self._database.execute(_SCHEMA)

    def close(self) -> None:
        """Remove it."""
        self._database.close()

    def add(self, entries: Iterable[IndexEntry]) -> None:
        """Note new lines; of two with one id the later holds."""
        values = [_values(one) for one in entries]
        with self._lock:
            self._database.execute("BEGIN")
            self._database.executemany(_ADD, values)
            self._database.execute("COMMIT")
            self.lines += len(values)

    def find(self, row_id: str, number: int) -> IndexEntry | None:
        """Return the last line of a row; `number` is its place in the source as it is now."""
        with self._lock:
            found = self._database.execute("SELECT * FROM rows WHERE id = ?", (row_id,)).fetchone()
            if found is not None and found[1] != number:
                self._database.execute("UPDATE rows SET number = ? WHERE id = ?", (number, row_id))
        return _entry(found) if found else None

    def get(self, row_id: str) -> IndexEntry | None:
        """Return the last line of a row."""
        with self._lock:
            found = self._database.execute("SELECT * FROM rows WHERE id = ?", (row_id,)).fetchone()
        return _entry(found) if found else None

    def count(self) -> tuple[int, int]:
        """Return how many rows there are, and how many of them failed."""
        query = "SELECT COUNT(*), COALESCE(SUM(code != ''), 0) FROM rows"
        with self._lock:
            rows, failed = self._database.execute(query).fetchone()
        return rows, failed

    def codes(self) -> Counter[str]:
        """Return code → rows that failed with it."""
        query = "SELECT code, COUNT(*) FROM rows WHERE code != '' GROUP BY code"
        with self._lock:
            return Counter(dict(self._database.execute(query).fetchall()))

    def origins(self) -> tuple[int, int]:
        """Return how many answers the simulator made up, and how many came from a model."""
        query = (
            "SELECT COALESCE(SUM(simulated), 0),"
            " COALESCE(SUM(NOT simulated AND code = ''), 0) FROM rows"
        )
        with self._lock:
            simulated, real = self._database.execute(query).fetchone()
        return simulated, real

    def paid(self) -> Decimal:
        """Return the rubles that all rows cost."""
        with self._lock:
            return sum(
                (Decimal(paid) for (paid,) in self._database.execute("SELECT paid FROM rows")),
                Decimal(0),
            )

    def in_order(self, *, of_source: bool) -> Iterator[tuple[int, int]]:
        """Yield start and length of each row's last line, by the source's order or the record's."""
        order = "number, id" if of_source else "start"
        query = f"SELECT start, length FROM rows ORDER BY {order}"  # noqa: S608  # one of the two above
        yield from self._database.execute(query)


def _values(one: IndexEntry) -> _Values:
    kept = (one.id, one.number, one.start, one.length, one.code, one.attempt)
    return *kept, str(one.paid), one.simulated, one.mark


def _entry(found: _Values) -> IndexEntry:
    row_id, number, start, length, code, attempt, paid, simulated, mark = found
    kept = (row_id, number, start, length, code, attempt)
    return IndexEntry(*kept, Decimal(paid), bool(simulated), mark)
