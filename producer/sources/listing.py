"""Lists: an address or the name of a file a line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from producer.sources.columns import locate
from producer.sources.row import Row
from producer.sources.source import Reading

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from producer.sources.row import BadRow
    from producer.sources.text import TextFile


class Listing(Reading):
    """A text whose every line names a picture; blank lines and those with `#` first are left out.

    The line is the id.
    """

    columns = ("id",)

    def __init__(self, file: TextFile, name: str, folder: Path) -> None:
        self.description = f"{name} (list, {file.spoken_encoding})"
        self._file = file
        self._folder = folder

    def fingerprint(self) -> str:
        """Return the hash of its content."""
        return f"list:{self._file.sha256}"

    def _read(self) -> Iterator[tuple[int, Row | BadRow]]:
        named = ((line, text) for line, text in self._file.lines() if not text.startswith("#"))
        for number, (line, text) in enumerate(named, 1):
            identity = f"line {line}" if text.startswith("data:") else text
            yield line, Row(number, identity, (locate(text, self._folder),), {"id": identity})
