"""Manifests: a CSV or a JSONL of pictures, ids and what goes into the prompt."""

from __future__ import annotations

import csv
import json
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Final

from producer.sources.columns import choose_columns
from producer.sources.row import BadRow
from producer.sources.source import Reading
from visionq.errors import InvalidJob, InvalidSource

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from producer.sources.row import Row
    from producer.sources.source import SourceOptions
    from producer.sources.text import TextFile

_DELIMITERS: Final = (",", ";", "\t")


class CsvManifest(Reading):
    """A table with a line of names first."""

    def __init__(self, file: TextFile, name: str, folder: Path, options: SourceOptions) -> None:
        self._file = file
        self._name = name
        self._delimiter = options.delimiter or self._find_delimiter()
        self.description = f"{name} (CSV, {file.spoken_encoding}, {self._delimiter!r})"
        _, self.columns = next(self._records(), (0, ()))
        if not self.columns:
            raise InvalidSource(f"{name}: it is empty")
        self._chosen = choose_columns(self.columns, options, folder, name)
        twice = {column for column in self.columns if self.columns.count(column) > 1}
        for column in (*self._chosen.images, self._chosen.id):
            if column in twice:
                raise InvalidSource(f"{name}: there are several columns {column!r}")

    def fingerprint(self) -> str:
        """Return the hash of its content, and which columns were taken."""
        return f"csv:{self._file.sha256}:{self._chosen.images}:{self._chosen.id}"

    def _read(self) -> Iterator[tuple[int, Row | BadRow]]:
        records = self._records()
        next(records, None)
        for number, (line, cells) in enumerate(records, 1):
            if len(cells) > len(self.columns):
                message = f"line {line}: {len(cells)} cells, but {len(self.columns)} columns"
                yield line, BadRow(number, f"line {line}", InvalidJob.code, message)
                continue
            record = dict(zip_longest(self.columns, cells, fillvalue=""))
            yield line, self._chosen.row(number, line, record)

    def _records(self) -> Iterator[tuple[int, tuple[str, ...]]]:
        """Yield the cells of each record that is not blank, with the line at which it ends."""
        with self._file.open() as text:
            reader = csv.reader(text, delimiter=self._delimiter, strict=True)
            try:
                for cells in reader:
                    if any(cell.strip() for cell in cells):
                        yield reader.line_num, tuple(cells)
            except csv.Error as error:
                message = f"{self._name}, line {reader.line_num}: {error}; is a quote missing?"
                raise InvalidSource(message) from None

    def _find_delimiter(self) -> str:
        with self._file.open() as text:
            header = text.readline()
        return max(_DELIMITERS, key=header.count)


class JsonlManifest(Reading):
    """One JSON object a line."""

    def __init__(self, file: TextFile, name: str, folder: Path, options: SourceOptions) -> None:
        self._file = file
        self._name = name
        self.description = f"{name} (JSONL, {file.spoken_encoding})"
        line, first = next(file.lines(), (0, ""))
        if not first:
            raise InvalidSource(f"{name}: it is empty")
        record = parse_object(first)
        if isinstance(record, str):
            raise InvalidSource(f"{name}, line {line}: {record}")
        self.columns = tuple(record)
        self._chosen = choose_columns(self.columns, options, folder, name)

    def fingerprint(self) -> str:
        """Return the hash of its content, and which keys were taken."""
        return f"jsonl:{self._file.sha256}:{self._chosen.images}:{self._chosen.id}"

    def _read(self) -> Iterator[tuple[int, Row | BadRow]]:
        for number, (line, text) in enumerate(self._file.lines(), 1):
            record = parse_object(text)
            if isinstance(record, str):
                yield line, broken_line(number, line, record)
            else:
                yield line, self._chosen.row(number, line, record)


def parse_object(line: str) -> dict[str, Any] | str:
    """Return the JSON object of a line, or what is wrong with it."""
    try:
        value = json.loads(line)
    except json.JSONDecodeError as error:
        return f"broken JSON at character {error.pos + 1}: {error.msg}"
    except RecursionError:
        return "JSON that is nested too deep"
    return value if isinstance(value, dict) else "not a JSON object"


def broken_line(number: int, line: int, fault: str) -> BadRow:
    """Return the row for a line that can't be read."""
    return BadRow(number, f"line {line}", InvalidJob.code, f"line {line}: {fault}")
