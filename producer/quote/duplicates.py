"""Which questions are asked twice, of any number of rows, in a bounded piece of memory."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from typing import TYPE_CHECKING, Final

from producer.quote.probe import sha256_of_file

if TYPE_CHECKING:
    from collections.abc import Sequence

    from producer.quote.probe import Seen

_CACHE_KIB: Final = 4_000


class Twins:
    """A table in a temporary file of what was asked.

    Files of equal length and equal first bytes are read whole, and only those.
    """

    def __init__(self) -> None:
        self.read_bytes = 0
        # The empty name is a file that SQLite makes, spills into and removes by itself.
        self._table = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        for name, value in (("journal_mode", "OFF"), ("synchronous", "OFF")):
            self._table.execute(f"PRAGMA {name} = {value}")
        self._table.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        self._table.execute("CREATE TABLE seen (key INTEGER PRIMARY KEY, images TEXT)")
        self._table.execute("BEGIN")

    def is_twin(self, question: str, images: Sequence[str], seen: Sequence[Seen]) -> bool:
        """Return whether the same was asked about the same pictures before.

        Raises:
            InputFileNotFound: a file that was there can't be read any more.
        """
        certain = all(picture.certain for picture in seen)
        likeness = _key(question, *(picture.likeness for picture in seen))
        first = self._note(likeness, None if certain else json.dumps(images))
        if first is None:
            return False
        if certain or not first[0]:
            return certain or self._read(question, images, seen)
        # Two alike: from now on these are told apart by all their bytes.
        self._table.execute("UPDATE seen SET images = '' WHERE key = ?", (likeness,))
        self._read(question, json.loads(first[0]), seen)
        return self._read(question, images, seen)

    def _read(self, question: str, images: Sequence[str], seen: Sequence[Seen]) -> bool:
        self.read_bytes += sum(picture.bytes for picture in seen)
        hashes = [
            picture.likeness if picture.certain else sha256_of_file(image)
            for image, picture in zip(images, seen, strict=True)
        ]
        return self._note(_key(question, "whole", *hashes), None) is not None

    def _note(self, key: int, images: str | None) -> tuple[str | None] | None:
        """Return the row that stood there, or None."""
        if self._table.execute("INSERT OR IGNORE INTO seen VALUES (?, ?)", (key, images)).rowcount:
            return None
        found: tuple[str | None] = self._table.execute(
            "SELECT images FROM seen WHERE key = ?", (key,)
        ).fetchone()
        return found


def _key(*parts: str) -> int:
    text = json.dumps(parts).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big", signed=True)
