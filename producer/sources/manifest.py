"""Sources with one job a line or row: CSV, JSONL, lists of pictures, OpenAI Batch input."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice, zip_longest
from typing import TYPE_CHECKING, Any, Final

from producer.openai_requests.request_reader import read_request
from producer.sources.columns import choose_columns, find_images
from producer.sources.picture_addresses import clean, locate
from producer.sources.source import BadRow, Row, Source, make_row
from producer.sources.text_file import MOST_CHARACTERS
from visionq.errors import InvalidJob, InvalidSource
from visionq.submission import is_data_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from producer.sources.source import SourceOptions
    from producer.sources.text_file import TextFile


_CANDIDATES: Final = (",", ";", "\t", "|")


#: The first line that sets Excel's delimiter.
_SEP: Final = re.compile(r'"?sep=(?P<delimiter>.)"?[,;\t|]*\s*', re.IGNORECASE)


#: Records by which delimiters are compared, and the characters that are read for them.
_RECORDS: Final = 50


_HEAD: Final = 1 << 18


def find_delimiter(file: TextFile, options: SourceOptions) -> str:
    """Return the delimiter: given, declared by a line `sep=`, or detected.

    Quotes are respected. A delimiter that yields a column of pictures wins, then the one that
    makes records equally wide, then the one that makes them widest.
    """
    if options.delimiter is not None:
        return options.delimiter
    head = _head(file)
    if (declared := declared_delimiter(head[0] if head else "")) is not None:
        return declared
    return max(_CANDIDATES, key=lambda one: _fitness(head, one, options))


def declared_delimiter(line: str) -> str | None:
    """Return the delimiter of a line `sep=;`, or None for any other line."""
    found = _SEP.fullmatch(line)
    return found["delimiter"] if found else None


def _head(file: TextFile) -> list[str]:
    with file.open() as text:
        return text.read(_HEAD).splitlines(keepends=True)


def _fitness(
    head: Sequence[str], delimiter: str, options: SourceOptions
) -> tuple[bool, float, int]:
    # Not strict: the head may end within a quoted cell.
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
    """Return clean, unique names from the first record; `""` for an unnamed column.

    Further columns of the same name become `name 2`, `name 3`.
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


#: Characters of one cell; base64 makes a picture a third longer.
_LONGEST_CELL: Final = MOST_CHARACTERS


class CsvManifest(Source):
    """A table whose first line names the columns."""

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
        """Return the hash of its content, and the columns in use."""
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
        """Yield the cells of each record that is not blank, with its last line number.

        A record with broken quotes is yielded as such if the table goes on after it.
        """
        csv.field_size_limit(_LONGEST_CELL)
        with self._file.open() as text:
            lines = iter(text)
            first = next(lines, "")
            skipped = declared_delimiter(first) is not None
            # Without the first line, the reader counts from the second.
            reader = csv.reader(
                lines if skipped else chain([first], lines), delimiter=self._delimiter, strict=True
            )
            while True:
                began = reader.line_num + 1 + skipped
                try:
                    cells = next(reader)
                except StopIteration:
                    return
                except csv.Error as error:
                    line = reader.line_num + skipped
                    self._check_goes_on(str(error), began, line)
                    yield line, BrokenRecord(line, str(error))
                    continue
                if any(cell.strip() for cell in cells):
                    yield reader.line_num + skipped, tuple(cells)

    def _check_goes_on(self, said: str, began: int, line: int) -> None:
        """Refuse a table in which an open quote or a huge cell swallows the rest."""
        if "field limit" in said:
            said = f"a cell of more than {_LONGEST_CELL:,} characters begins at line {began}"
        elif said != _OPEN_QUOTE:
            return
        where = f"line {line}" if began == line else f"lines {began} to {line}"
        raise InvalidSource(f"{self._name}, {where}: {said}; is a quote missing?")


def _text_of(cell: str) -> str:
    """Return a cell, and the text of `="00123"`, a spreadsheet's way to keep text."""
    found = _KEPT_TEXT.fullmatch(cell)
    return found["text"].replace('""', '"') if found else cell


_KEPT_TEXT: Final = re.compile(r'="(?P<text>(?:[^"]|"")*)"')


#: The message of `csv` for a quote that is open at the end of the file.
_OPEN_QUOTE: Final = "unexpected end of data"


@dataclass(frozen=True, slots=True)
class BrokenRecord:
    """A record that can't be parsed, and why."""

    line: int
    said: str


class JsonlManifest(Source):
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
        """Return the hash of its content, and the keys in use."""
        return f"jsonl:{self._file.sha256}:{self._chosen.images}:{self._chosen.id}"

    def _read(self) -> Iterator[tuple[int, Row | BadRow]]:
        return rows_of_jsonl(self._file, self._chosen.row)


def rows_of_jsonl(
    file: TextFile, row: Callable[[int, int, dict[str, Any]], Row | BadRow]
) -> Iterator[tuple[int, Row | BadRow]]:
    """Yield the row of each line, which `row` makes of number, line and object."""
    for number, (line, text) in enumerate(file.lines(), 1):
        record = parse_object(text)
        if isinstance(record, str):
            yield line, broken_line(number, line, record)
        else:
            yield line, row(number, line, record)


def parse_object(line: str) -> dict[str, Any] | str:
    """Return the JSON object of a line, or an error message."""
    if len(line) > MOST_CHARACTERS:
        return f"more than {MOST_CHARACTERS:,} characters"
    try:
        value = json.loads(line)
    except json.JSONDecodeError as error:
        return f"broken JSON at character {error.pos + 1}: {error.msg}"
    except RecursionError:
        return "JSON that is nested too deep"
    except ValueError as error:  # a number with too many digits
        return f"JSON that can't be read: {error}"
    return value if isinstance(value, dict) else "not a JSON object"


def broken_line(number: int, line: int, fault: str) -> BadRow:
    """Return the `BadRow` of a line that can't be read."""
    return BadRow(number, f"line {line}", InvalidJob.code, f"line {line}: {fault}")


class Listing(Source):
    """A text with one picture a line, whose line is its id; blank lines and `#` are skipped."""

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


class OpenAIBatch(Source):
    """Lines `{"custom_id", "method", "url", "body"}`, each with its own prompt and options."""

    asks_itself = True

    def __init__(self, file: TextFile, name: str) -> None:
        self.description = f"{name} (OpenAI Batch input)"
        self._file = file

    def fingerprint(self) -> str:
        """Return the hash of its content."""
        return f"openai-batch:{self._file.sha256}"

    def _read(self) -> Iterator[tuple[int, Row | BadRow]]:
        return rows_of_jsonl(self._file, _batch_row)


def _batch_row(number: int, line: int, record: dict[str, Any]) -> Row | BadRow:
    return make_row(number, line, partial(_row, number, line, record))


def _row(number: int, line: int, record: dict[str, Any]) -> Row | BadRow:
    identity = record.get("custom_id")
    if not isinstance(identity, str) or not identity:
        return broken_line(number, line, "custom_id is missing")
    if (method := record.get("method", "POST")) != "POST":
        message = f"line {line}: method: {method!r} is not POST"
        return BadRow(number, identity, InvalidJob.code, message)
    try:
        fields = read_request(str(record.get("url", "")), record.get("body"))
    except InvalidJob as error:
        return BadRow(number, identity, error.code, f"line {line}: {error.message}")
    images = tuple(image["url"] for image in fields.pop("images"))
    return Row(number, identity, images, overrides=fields, given=images)


def is_batch(record: object) -> bool:
    """Return whether the first line of a JSONL is OpenAI Batch input."""
    return isinstance(record, dict) and "custom_id" in record and "body" in record
