"""Rows, and the sources that yield them one by one."""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, get_args

from visionq.errors import InvalidJob, InvalidSource
from visionq.submission import is_data_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

#: What a value of a row can make Python raise. Faults of files, of Redis and of SQLite are none of
#: them: they are not of one row.
ROW_FAULTS: Final = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)
_CONTROL: Final = re.compile("[\0-\x1f\x7f]")
_HALF: Final = re.compile("[\ud800-\udfff]")
_LONGEST_FAULT: Final = 200


@dataclass(frozen=True, slots=True)
class Row:
    """One question about one picture, or about several."""

    #: Its place in the source, from 1.
    number: int
    #: What names it in OUT and at a resumption: unique within its source.
    id: str
    #: Paths of local files, `http(s)://` addresses, `s3://` addresses or `data:` URLs, in order.
    images: tuple[str, ...]
    #: What its `{placeholders}` in the prompt stand for.
    variables: Mapping[str, str] = field(default_factory=dict)
    #: Fields of the job that this row sets itself, as the lines of an OpenAI Batch file do.
    overrides: Mapping[str, object] = field(default_factory=dict)
    #: `images` as the source names them; none where it does not.
    given: tuple[str, ...] = ()
    #: The columns of its table, which OUT has too.
    columns: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "id", printable(self.id))

    @property
    def file(self) -> str:
        """The names of its pictures, for people; one that is in its address has none."""
        return "; ".join(printable(name) for name in self.given if not is_data_url(name))


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that can't become a job: it goes into OUT with this error, and nothing is paid."""

    number: int
    id: str
    #: A code of the error tree, such as `file_not_found` or `invalid_job`.
    code: str
    message: str
    columns: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "id", printable(self.id))
        object.__setattr__(self, "message", printable(self.message))


def make_row(number: int, line: int, make: Callable[[], Row | BadRow]) -> Row | BadRow:
    """Return what `make` does; whatever a row holds, it ends no reading."""
    try:
        return make()
    except ROW_FAULTS as error:
        fault = row_fault(error)
        return BadRow(number, f"line {line}", fault.code, f"line {line}: {fault.message}")


def row_fault(error: Exception) -> InvalidJob:
    """Return what is told of a row whose values made Python raise."""
    said = printable(" ".join(str(error).split()))[:_LONGEST_FAULT]
    return InvalidJob(f"it can't be made a job: {said or type(error).__name__}")


def printable(text: str) -> str:
    """Return a text as it can stand in JSON and on a screen: what can't is shown escaped."""
    if text.isprintable():
        return text
    try:
        raw = text.encode("utf-8", "surrogateescape")  # bytes of a file's name that are no text
    except UnicodeEncodeError:
        raw = text.encode("utf-8", "backslashreplace")
    shown = raw.decode("utf-8", "backslashreplace")
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", shown)


def whole(text: str) -> str:
    """Return a text in which half a character, as a cut emoji leaves it, shows as `�`."""
    return text if text.isprintable() else _HALF.sub("\ufffd", text)


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


Kind = Literal["auto", "csv", "jsonl", "list", "openai-batch"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """What can be said of a source that does not show by itself."""

    #: What a file, or standard input, holds.
    kind: Kind = "auto"
    #: Columns (of JSONL: keys) that hold the pictures, in order; none: by their usual names.
    image_columns: tuple[str, ...] = ()
    #: Column that holds the id; None: by its usual names, else the picture's address is the id.
    id_column: str | None = None
    #: Encoding of the text; None: UTF-8, or CP1251 where it is no UTF-8.
    encoding: str | None = None
    #: What separates the cells of a CSV; None: found out from its first records.
    delimiter: str | None = None
    #: Make one row, with all their pictures, of rows that have one id.
    group: bool = False


class Source(Protocol):
    """Rows, read one after another and never all held."""

    @property
    def description(self) -> str:
        """What people are told about it: where it is, and as what it was read."""
        ...

    @property
    def columns(self) -> tuple[str, ...]:
        """The names that `{placeholders}` of a prompt can have."""
        ...

    @property
    def total(self) -> int | None:
        """Rows in it; None until it has been read to the end once."""
        ...

    @property
    def skipped(self) -> int:
        """Files that are no pictures by their names, passed over in the last whole reading."""
        ...

    @property
    def passed_over(self) -> Counter[str]:
        """What systems leave between pictures, by name, in the last whole reading."""
        ...

    @property
    def asks_itself(self) -> bool:
        """Whether its rows bring their own prompts, as those of an OpenAI Batch file do."""
        ...

    def fingerprint(self) -> str:
        """Return what differs where the source is another.

        That is the hash of a file's content; of a folder, a glob or a bucket its address, since
        pictures are added to them.
        """
        ...

    def rows(self) -> Iterator[Row | BadRow]:
        """Read it from the beginning; called again it yields the same.

        Raises:
            InvalidSource: it is empty, can't be read, or has an id twice.
        """
        ...


def said_of_reading(source: Source) -> Iterator[str]:
    """Yield what was passed over in the last whole reading, for people."""
    if source.skipped:
        yield f"passed over, no pictures by their names: {source.skipped:,}"
    if source.passed_over:
        names = ", ".join(f"{name} ({count:,})" for name, count in source.passed_over.most_common())
        yield f"passed over, none of yours: {names}"


class Reading:
    """Counts rows, refuses an id that comes twice and a source without rows."""

    description: str
    columns: tuple[str, ...] = ()
    total: int | None = None
    skipped: int = 0
    asks_itself: bool = False
    #: Whether there is a column of ids; names of pictures are no ids to group by.
    has_ids: bool = False
    groups: bool = False
    #: Whether an id may come twice: names of files can't.
    _ids_may_repeat: bool = True

    @cached_property
    def passed_over(self) -> Counter[str]:
        """What systems leave between pictures, by name, in the last whole reading."""
        return Counter()

    def rows(self) -> Iterator[Row | BadRow]:
        """Read it from the beginning."""
        # A whole reading has shown that no id comes twice.
        seen = Identities() if self._ids_may_repeat and self.total is None else None
        count = 0
        for line, row in grouped(self._read()) if self.groups else self._read():
            first = seen.note(row.id, line) if seen else None
            if first is not None:
                raise InvalidSource(
                    f"{self.description}: lines {first} and {line} have the same id {row.id!r};"
                    " make one row of them, with all their pictures (--group), remove one, or name"
                    " a column of ids that are all different (--id-column)"
                )
            count += 1
            yield row
        if count == 0:
            raise InvalidSource(f"{self.description}: {self._nothing()}")
        self.total = count

    def fingerprint(self) -> str:
        """Return what differs where the source is another."""
        raise NotImplementedError

    def _read(self) -> Iterator[tuple[int, Row | BadRow]]:
        """Yield each row with the line at which it stands."""
        raise NotImplementedError

    def _nothing(self) -> str:
        return "it holds no rows"
