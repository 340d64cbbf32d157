"""Forms of a price list: a table, aligned columns, or one value below another.

Each yields rows: a model and its cells by column.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from visionq.pricing.price_page.cells import (
    Column,
    column_of,
    is_absent,
    is_foreign,
    model_of,
    price_of,
    shown,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_GAPS: Final = re.compile(r"\t| {2,}")
#: Lines drawn between the rows of a table.
_RULE: Final = re.compile(r"[\s|+:=─━┼│-]+")
#: Most columns of a heading.
_MOST_COLUMNS: Final = 40
_LABELLED: Final = re.compile(r"(?P<label>[^\d:₽]{2,60}?)\s*:\s*(?P<value>.+)")


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell with its position in the line."""

    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class PageLine:
    """A line of the page, numbered from 1."""

    number: int
    cells: tuple[Cell, ...]
    #: Whether cells are assigned to columns by position, so that one may be missing.
    by_place: bool

    @property
    def texts(self) -> list[str]:
        """The texts of the cells."""
        return [cell.text for cell in self.cells]


@dataclass(slots=True)
class PriceRow:
    """A model and its cells by column."""

    line: int
    model: str
    cells: dict[Column, str] = field(default_factory=dict)


def split_lines(text: str) -> list[PageLine]:
    """Split a text into cells, leaving out blank lines and drawn ones."""
    return [
        line
        for number, raw in enumerate(text.splitlines(), 1)
        if (line := _split(number, raw)) is not None
    ]


def _split(number: int, raw: str) -> PageLine | None:
    if not raw.strip() or _RULE.fullmatch(raw):
        return None
    if "\t" in raw or raw.count("|") > 1:
        mark = "\t" if "\t" in raw else "|"
        inner = raw.strip().strip("|") if mark == "|" else raw
        parts = tuple(Cell(part.strip(), 0, 0) for part in inner.split(mark))
        return PageLine(number, parts, by_place=False)
    cells, start = [], 0
    for gap in (*_GAPS.finditer(raw), None):
        end = gap.start() if gap else len(raw)
        part = raw[start:end]
        if part.strip():
            indent = len(part) - len(part.lstrip())
            cells.append(Cell(part.strip(), start + indent, start + len(part.rstrip())))
        start = gap.end() if gap else end
    return PageLine(number, tuple(cells), by_place=True)


def heading_of(line: PageLine) -> list[Column] | None:
    """Return the columns of a heading, which names input and output; None for other lines."""
    if not 1 < len(line.cells) <= _MOST_COLUMNS:
        return None
    columns = [column_of(text) or Column.OTHER for text in line.texts]
    if not {Column.INPUT, Column.OUTPUT} <= set(columns):
        return None
    if Column.MODEL not in columns and not line.by_place and columns[0] is Column.OTHER:
        columns[0] = Column.MODEL  # an empty corner
    return columns


def rows_of_table(lines: Sequence[PageLine]) -> Iterator[PriceRow]:
    """Yield the rows below each heading; tabs, bars or positions separate cells."""
    heading: PageLine | None = None
    columns: list[Column] = []
    for line in lines:
        named = heading_of(line)
        if named is not None:
            heading, columns = line, named
        elif heading is not None and (found := _row(line, heading, columns)) is not None:
            yield found


def _row(line: PageLine, heading: PageLine, columns: Sequence[Column]) -> PriceRow | None:
    place, name = next(
        ((at, name) for at, cell in enumerate(line.cells) if (name := model_of(cell.text))),
        (0, None),
    )
    if name is None:
        priced = any(price_of(text) is not None for text in line.texts)
        return PriceRow(line.number, shown(line.texts[0])) if priced else None
    found = PriceRow(line.number, name)
    others = line.cells[place + 1 :]
    if line.by_place and heading.by_place:
        placed = [(_nearest(cell, heading), cell.text) for cell in others]
        pairs = [(columns[at], text) for at, text in placed]
    else:
        # The heading may be empty above the models.
        offset = columns.index(Column.MODEL) if Column.MODEL in columns else -1
        pairs = list(zip(columns[offset + 1 :], (cell.text for cell in others), strict=False))
    for column, text in pairs:
        if column not in {Column.MODEL, Column.OTHER}:
            found.cells.setdefault(column, text)
    return found


def _nearest(cell: Cell, heading: PageLine) -> int:
    """Return the column of a cell: the one that it overlaps, else the nearest."""

    def distance(at: int) -> tuple[int, float]:
        other = heading.cells[at]
        overlap = min(cell.end, other.end) - max(cell.start, other.start)
        middle = abs((cell.start + cell.end) - (other.start + other.end)) / 2
        return (-1 if overlap > 0 else 0, middle)

    return min(range(len(heading.cells)), key=distance)


def rows_of_stack(lines: Sequence[PageLine]) -> Iterator[PriceRow]:
    """Yield models with the prices below them: labelled, or in the order of the headings."""
    order: list[Column] = []
    heading: list[Column] = []
    found: PriceRow | None = None
    values: list[str] = []
    label: Column | None = None
    for line in lines:
        text = " ".join(line.texts)
        named = _labelled(text)
        if (name := model_of(text)) is not None:
            yield from _finished(found, values, order)
            order, heading = heading or order, []
            found, values, label = PriceRow(line.number, name), [], None
        elif named is not None and found is not None:
            found.cells.setdefault(*named)
        elif (column := column_of(text)) is not None:
            heading.append(column)
            label = column
        elif found is not None and label is not None and _is_value(text):
            found.cells.setdefault(label, text)
            label, heading = None, []
        elif found is not None and (_is_value(text) or _is_other(len(values), order)):
            values.append(text)
    yield from _finished(found, values, order)


def _labelled(text: str) -> tuple[Column, str] | None:
    """Parse a labelled price such as `Ввод: 25,8 ₽`."""
    match = _LABELLED.fullmatch(text)
    column = column_of(match["label"]) if match else None
    return (column, match["value"]) if match and column is not None else None


def _is_value(text: str) -> bool:
    return price_of(text) is not None or is_absent(text) or is_foreign(text)


def _is_other(place: int, order: Sequence[Column]) -> bool:
    """Return whether the column at that place is not used here."""
    columns = [column for column in order if column is not Column.MODEL]
    return place < len(columns) and columns[place] is Column.OTHER


def _finished(
    found: PriceRow | None, values: Sequence[str], order: Sequence[Column]
) -> list[PriceRow]:
    """Assign the collected values to the headings if their numbers match."""
    if found is None:
        return []
    columns = [column for column in order if column is not Column.MODEL]
    if not found.cells and len(values) == len(columns):
        found.cells.update(zip(columns, values, strict=True))
    return [found]
