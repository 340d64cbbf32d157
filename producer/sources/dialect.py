"""How a CSV is written: what separates its cells, and where its columns are named."""

from __future__ import annotations

import csv
import re
from itertools import islice
from typing import TYPE_CHECKING, Final

from producer.sources.addresses import clean
from producer.sources.columns import find_images

if TYPE_CHECKING:
    from collections.abc import Sequence

    from producer.sources.source import SourceOptions
    from producer.sources.text import TextFile

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
