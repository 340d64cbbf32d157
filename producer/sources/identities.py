"""Which ids there have been, of any number of rows, in a bounded piece of memory."""

from __future__ import annotations

import hashlib
import sqlite3
from typing import Final

_CACHE_KIB: Final = 2_000
_HASH_BYTES: Final = 8


class Identities:
    """A table in a temporary file: 64 bits of each id's hash, and the line at which it stood.

    Five million ids take about 100 MB of disk and 2 MB of memory; that two different ones of them
    have the same hash happens once in a million such sources.
    """

    def __init__(self) -> None:
        # The empty name is a file that SQLite makes, spills into and removes by itself.
        self._table = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._table.execute("PRAGMA journal_mode = OFF")
        self._table.execute("PRAGMA synchronous = OFF")
        self._table.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        self._table.execute("CREATE TABLE seen (hash INTEGER PRIMARY KEY, line INTEGER)")
        self._table.execute("BEGIN")

    def note(self, identity: str, line: int) -> int | None:
        """Return the line at which the id stood before, or None."""
        text = identity.encode("utf-8", "surrogatepass")
        digest = hashlib.blake2b(text, digest_size=_HASH_BYTES).digest()
        key = int.from_bytes(digest, "big", signed=True)
        done = self._table.execute("INSERT OR IGNORE INTO seen VALUES (?, ?)", (key, line))
        if done.rowcount:
            return None
        (first,) = self._table.execute("SELECT line FROM seen WHERE hash = ?", (key,)).fetchone()
        return int(first)
