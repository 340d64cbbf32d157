"""Manifests: a CSV or JSONL table of pictures, ids and values for the prompt."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import dataclass
from itertools import chain, islice, zip_longest
from typing import TYPE_CHECKING, Any, Final

from producer.sources.columns import choose_columns, find_images
from producer.sources.picture_addresses import clean
from producer.sources.source import BadRow, Reading
from producer.sources.text_file import MOST_CHARACTERS
from visionq.errors import InvalidJob, InvalidSource

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from producer.sources.source import Row, SourceOptions
    from producer.sources.text_file import TextFile

_CANDIDATES: Final = (",", ";", "\t", "|")
#: The line by which Excel is told the delimiter.
_SEP: Final = re.compile(r'"?sep=(?P<delimiter>.)"?[,;\t|]*\s*', re.IGNORECASE)
#: Records by which delimiters are compared, and the characters in which they are looked for.
_RECORDS: Final = 50
_HEAD: Final = 1 << 18


def find_delimiter(file: TextFile, options: SourceOptions) -> str:
    """Return what separates the cells: told, or found by the first records.

    Quoted cells count as one, whatever they hold. A delimiter that yields a column of pictures goes
    before others, then one by which the records are of one width, then one by which they are wide.
    """
    if options.delimiter is not None:
        return options.delimiter
    head = _head(file)
    if (told := told_delimiter(head[0] if head else "")) is not None:
        return told
    return max(_CANDIDATES, key=lambda one: _fitness(head, one, options))


def told_delimiter(line: str) -> str | None:
    """Return the delimiter that a first line `sep=;` tells, or None: it is no such line."""
    found = _SEP.fullmatch(line)
    return found["delimiter"] if found else None


def _head(file: TextFile) -> list[str]:
    with file.open() as text:
        return text.read(_HEAD).splitlines(keepends=True)


def _fitness(
    head: Sequence[str], delimiter: str, options: SourceOptions
) -> tuple[bool, float, int]:
    # Not strict: a head may end within a quoted cell.
    records = [cells for cells in islice(_parse(head, delimiter), _RECORDS) if any(cells)]
    if not records:
        return False, 0, 0
    names = tuple(clean(cell) for cell in records[0])
    has_pictures = bool(find_images(names, options))
    alike = sum(len(cells) == len(names) for cells in records) / len(records)
    return has_pictures, alike if len(names) > 1 else 0, len(names)


def _parse(head: Sequence[str], delimiter: str) -> list[list[str]]:
    try:
        return list(csv.reader(head, delimiter=delimiter))
    except csv.Error:
        return []


def name_columns(cells: Sequence[str]) -> tuple[str, ...]:
    """Return the names in a first record: clean, each once; `""` for a column without one.

    Of several columns with one name the later are `name 2`, `name 3`, as numbered ones are.
    """
    names: list[str] = []
    for cell in cells:
        name, number = clean(cell), 2
        while name and name in names:
            name = f"{clean(cell)} {number}"
            number += 1
        names.append(name)
    while names and not names[-1]:
        names.pop()
    return tuple(names)


#: Characters of one cell: a picture in its address has as many as its bytes and a third.
_LONGEST_CELL: Final = MOST_CHARACTERS


class CsvManifest(Reading):
    """A table with a line of names first."""

    def __init__(self, file: TextFile, name: str, folder: Path, options: SourceOptions) -> None:
        self._file = file
        self._name = name
        self._delimiter = find_delimiter(file, options)
        _, header = next(self._records(), (0, ()))
        if isinstance(header, BrokenRecord):
            raise InvalidSource(f"{name}, line {header.line}: {header.said}; is a quote missing?")
        self._names = name_columns(header)
        self.columns = tuple(column for column in self._names if column)
        if not self.columns:
            raise InvalidSource(f"{name}: it is empty")
        self._chosen = choose_columns(self.columns, options, folder, name)
        self.has_ids = self._chosen.id is not None
        form = f"CSV, {file.spoken_encoding}, {self._delimiter!r}"
        self.description = f"{name} ({form}; {self._chosen.spoken})"

    def fingerprint(self) -> str:
        """Return the hash of its content, and which columns were taken."""
        return f"csv:{self._file.sha256}:{self._chosen.images}:{self._chosen.id}"

    def _read(self) -> Iterator[tuple[int, Row | BadRow]]:
        records = self._records()
        next(records, None)
        for number, (line, cells) in enumerate(records, 1):
            if isinstance(cells, BrokenRecord):
                yield line, broken_line(number, line, f"{cells.said}; is a quote missing?")
                continue
            surplus = [cell for cell in cells[len(self._names) :] if cell.strip()]
            if surplus:
                message = f"{len(cells)} cells, but {len(self._names)} columns"
                yield line, broken_line(number, line, message)
                continue
            named = zip_longest(self._names, cells[: len(self._names)], fillvalue="")
            record = {column: _text_of(cell) for column, cell in named if column}
            yield line, self._chosen.row(number, line, record)

    def _records(self) -> Iterator[tuple[int, tuple[str, ...] | BrokenRecord]]:
        """Yield the cells of each record that is not blank, with the line at which it ends.

        A record whose quotes are broken is told by itself, if the table goes on behind it.
        """
        csv.field_size_limit(_LONGEST_CELL)
        with self._file.open() as text:
            lines = iter(text)
            first = next(lines, "")
            told = told_delimiter(first) is not None
            # With the first line taken out, lines are counted from the next.
            reader = csv.reader(
                lines if told else chain([first], lines), delimiter=self._delimiter, strict=True
            )
            while True:
                began = reader.line_num + 1 + told
                try:
                    cells = next(reader)
                except StopIteration:
                    return
                except csv.Error as error:
                    line = reader.line_num + told
                    self._check_goes_on(str(error), began, line)
                    yield line, BrokenRecord(line, str(error))
                    continue
                if any(cell.strip() for cell in cells):
                    yield reader.line_num + told, tuple(cells)

    def _check_goes_on(self, said: str, began: int, line: int) -> None:
        """Refuse a table of which a quote, or a cell, takes all that is left."""
        if "field limit" in said:
            said = f"a cell of more than {_LONGEST_CELL:,} characters begins at line {began}"
        elif said != _OPEN_QUOTE:
            return
        where = f"line {line}" if began == line else f"lines {began} to {line}"
        raise InvalidSource(f"{self._name}, {where}: {said}; is a quote missing?")


def _text_of(cell: str) -> str:
    """Return a cell; of `="00123"`, by which spreadsheets keep a text, the text."""
    found = _KEPT_TEXT.fullmatch(cell)
    return found["text"].replace('""', '"') if found else cell


_KEPT_TEXT: Final = re.compile(r'="(?P<text>(?:[^"]|"")*)"')
#: What `csv` says of a quote that is open at the end of the file.
_OPEN_QUOTE: Final = "unexpected end of data"


@dataclass(frozen=True, slots=True)
class BrokenRecord:
    """A record that can't be taken apart, and why."""

    line: int
    said: str


class JsonlManifest(Reading):
    """One JSON object a line."""

    def __init__(self, file: TextFile, name: str, folder: Path, options: SourceOptions) -> None:
        self._file = file
        self._name = name
        line, first = next(file.lines(), (0, ""))
        if not first:
            raise InvalidSource(f"{name}: it is empty")
        record = parse_object(first)
        if isinstance(record, str):
            raise InvalidSource(f"{name}, line {line}: {record}")
        self.columns = tuple(record)
        self._chosen = choose_columns(self.columns, options, folder, name)
        self.has_ids = self._chosen.id is not None
        self.description = f"{name} (JSONL, {file.spoken_encoding}; {self._chosen.spoken})"

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
    if len(line) > MOST_CHARACTERS:
        return f"more than {MOST_CHARACTERS:,} characters"
    try:
        value = json.loads(line)
    except json.JSONDecodeError as error:
        return f"broken JSON at character {error.pos + 1}: {error.msg}"
    except RecursionError:
        return "JSON that is nested too deep"
    except ValueError as error:  # a number of more digits than are read
        return f"JSON that can't be read: {error}"
    return value if isinstance(value, dict) else "not a JSON object"


def broken_line(number: int, line: int, fault: str) -> BadRow:
    """Return the row for a line that can't be read."""
    return BadRow(number, f"line {line}", InvalidJob.code, f"line {line}: {fault}")
