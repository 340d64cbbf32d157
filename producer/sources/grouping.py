"""Rows of one id made one row with all their pictures, wherever in the source they stand."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import fields, replace
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

from producer.sources.row import BadRow, Row

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_SCHEMA: Final = """
CREATE TABLE groups (id TEXT PRIMARY KEY, place INTEGER);
CREATE TABLE members (place INTEGER, line INTEGER, kind TEXT, row TEXT);
"""
_NUMBER: Final = "INSERT OR IGNORE INTO groups SELECT ?, COUNT(*) + 1 FROM groups"
_ADD: Final = "INSERT INTO members SELECT place, ?, ?, ? FROM groups WHERE id = ?"
_KINDS: Final[dict[str, type[Row | BadRow]]] = {"row": Row, "bad": BadRow}


def grouped(rows: Iterable[tuple[int, Row | BadRow]]) -> Iterator[tuple[int, Row | BadRow]]:
    """Yield each group with the line of its first row, in the order of these.

    What the prompt is filled with, and what OUT repeats, is that of the first row. A group of which
    a row is bad is bad. Rows are kept in a temporary file.
    """
    # The empty name is a file that SQLite makes, spills into and removes by itself.
    with closing(sqlite3.connect("", isolation_level=None, check_same_thread=False)) as table:
        table.executescript(_SCHEMA)
        table.execute("PRAGMA journal_mode = OFF")
        table.execute("BEGIN")
        for line, row in rows:
            table.execute(_NUMBER, (row.id,))
            kind = "bad" if isinstance(row, BadRow) else "row"
            table.execute(_ADD, (line, kind, json.dumps(_plain(row)), row.id))
        table.execute("CREATE INDEX by_place ON members (place)")
        ordered = table.execute("SELECT * FROM members ORDER BY place, line, rowid")
        for place, members in groupby(ordered, lambda member: member[0]):
            yield _join(place, list(members))


def _join(place: int, members: Sequence[tuple[int, int, str, str]]) -> tuple[int, Row | BadRow]:
    rows = [_row(kind, json.loads(row)) for _, _, kind, row in members]
    line, first = members[0][1], rows[0]
    bad = next((row for row in rows if isinstance(row, BadRow)), None)
    if bad is not None or not isinstance(first, Row):
        return line, replace(bad or first, number=place)
    whole = [row for row in rows if isinstance(row, Row)]
    images = tuple(image for row in whole for image in row.images)
    given = tuple(name for row in whole for name in row.given)
    return line, replace(first, number=place, images=images, given=given)


def _plain(row: Row | BadRow) -> dict[str, Any]:
    return {one.name: getattr(row, one.name) for one in fields(row)}


def _row(kind: str, stored: dict[str, Any]) -> Row | BadRow:
    lists = {name: tuple(value) for name, value in stored.items() if isinstance(value, list)}
    return _KINDS[kind](**{**stored, **lists})
