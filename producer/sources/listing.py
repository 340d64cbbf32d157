"""Lists: an address or the name of a file a line."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from producer.sources.addresses import locate
from producer.sources.row import Row, make_row
from producer.sources.source import Reading
from visionq.submission import is_data_url

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
            yield line, make_row(number, line, partial(self._row, number, line, text))

    def _row(self, number: int, line: int, text: str) -> Row:
        identity = f"line {line}" if is_data_url(text) else text
        image = locate(text, self._folder)
        return Row(number, identity, (image.located,), {"id": identity}, given=(image.given,))
