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
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from visionq.errors import InvalidJob, InvalidSource
from visionq.submission import is_data_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

#: Errors that the values of a row can raise. Errors of files, Redis and SQLite are not among them:
#: they concern more than one row.
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

    #: Its position in the source, from 1.
    number: int
    #: Unique within the source; identifies the row in OUT and when a run is resumed.
    id: str
    #: Paths of local files, `http(s)://` addresses, `s3://` addresses or `data:` URLs, in order.
    images: tuple[str, ...]
    #: Values of the `{placeholders}` in the prompt.
    variables: Mapping[str, str] = field(default_factory=dict)
    #: Fields of the job that the row itself sets, as a line of OpenAI Batch input does.
    overrides: Mapping[str, object] = field(default_factory=dict)
    #: `images` as written in the source; empty if they have no names.
    given: tuple[str, ...] = ()
    #: The columns of its table, which OUT repeats.
    columns: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "id", printable(self.id))

    @property
    def file(self) -> str:
        """The names of its pictures, for people; a data URL has none."""
        return "; ".join(printable(name) for name in self.given if not is_data_url(name))


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that can't become a job: OUT gets its error, and nothing is paid."""

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
    """Return the row from `make`, or a `BadRow`: a bad row never ends the reading."""
    try:
        return make()
    except ROW_FAULTS as error:
        fault = row_fault(error)
        return BadRow(number, f"line {line}", fault.code, f"line {line}: {fault.message}")


def row_fault(error: Exception) -> InvalidJob:
    """Return the error of a row whose values raised a Python error."""
    said = printable(" ".join(str(error).split()))[:_LONGEST_FAULT]
    return InvalidJob(f"it can't become a job: {said or type(error).__name__}")


def printable(text: str) -> str:
    """Return a text for JSON and screens, with control characters and invalid bytes escaped."""
    if text.isprintable():
        return text
    try:
        raw = text.encode("utf-8", "surrogateescape")  # bytes of a file name that are not text
    except UnicodeEncodeError:
        raw = text.encode("utf-8", "backslashreplace")
    shown = raw.decode("utf-8", "backslashreplace")
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", shown)


def whole(text: str) -> str:
    """Return a text with lone surrogates, as a cut emoji leaves them, replaced by `�`."""
    return text if text.isprintable() else _HALF.sub("\ufffd", text)


_DIGITS: Final = re.compile(r"(\d+)")
_SCHEMA: Final = """
CREATE TABLE groups (id TEXT PRIMARY KEY, place INTEGER);
CREATE TABLE members (place INTEGER, line INTEGER, kind TEXT, row TEXT);
"""
_NUMBER: Final = "INSERT OR IGNORE INTO groups SELECT ?, COUNT(*) + 1 FROM groups"
_ADD: Final = "INSERT INTO members SELECT place, ?, ?, ? FROM groups WHERE id = ?"
_KINDS: Final[dict[str, type[Row | BadRow]]] = {"row": Row, "bad": BadRow}


def grouped(
    rows: Iterable[tuple[int, Row | BadRow]], *, by_name: bool = False
) -> Iterator[tuple[int, Row | BadRow]]:
    """Yield one row for each id, with the line of its first row.

    The first row gives the values for prompt and OUT. One bad row makes its group bad. Pictures
    keep their order, or are sorted `by_name`, 2 before 10. Rows are kept in a temporary file.
    """
    # The empty name: a temporary file that SQLite makes, spills into and removes.
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
            yield _join(place, list(members), by_name=by_name)


def _join(
    place: int, members: Sequence[tuple[int, int, str, str]], *, by_name: bool
) -> tuple[int, Row | BadRow]:
    rows = [_row(kind, json.loads(row)) for _, _, kind, row in members]
    if by_name:
        rows.sort(key=lambda row: _natural(row.file if isinstance(row, Row) else ""))
    line, first = members[0][1], rows[0]
    bad = next((row for row in rows if isinstance(row, BadRow)), None)
    if bad is not None or not isinstance(first, Row):
        return line, replace(bad or first, number=place)
    whole = [row for row in rows if isinstance(row, Row)]
    images = tuple(image for row in whole for image in row.images)
    given = tuple(name for row in whole for name in row.given)
    return line, replace(first, number=place, images=images, given=given)


def _natural(name: str) -> list[tuple[int, str]]:
    """Return a sort key by which numbers in names count as numbers."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in _DIGITS.split(name)]


def _plain(row: Row | BadRow) -> dict[str, Any]:
    return {one.name: getattr(row, one.name) for one in fields(row)}


def _row(kind: str, stored: dict[str, Any]) -> Row | BadRow:
    lists = {name: tuple(value) for name, value in stored.items() if isinstance(value, list)}
    return _KINDS[kind](**{**stored, **lists})


_CACHE_KIB: Final = 2_000
_HASH_BYTES: Final = 8


class Identities:
    """A table in a temporary file: 64 bits of each id's hash, and its line.

    Five million ids take about 100 MB of disk and 2 MB of memory; one such source in a million
    has two different ids with the same hash.
    """

    def __init__(self) -> None:
        # The empty name: a temporary file that SQLite makes, spills into and removes.
        self._table = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._table.execute("PRAGMA journal_mode = OFF")
        self._table.execute("PRAGMA synchronous = OFF")
        self._table.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        self._table.execute("CREATE TABLE seen (hash INTEGER PRIMARY KEY, line INTEGER)")
        self._table.execute("BEGIN")

    def note(self, identity: str, line: int) -> int | None:
        """Note an id; return the line of its earlier occurrence, or None."""
        text = identity.encode("utf-8", "surrogatepass")
        digest = hashlib.blake2b(text, digest_size=_HASH_BYTES).digest()
        key = int.from_bytes(digest, "big", signed=True)
        done = self._table.execute("INSERT OR IGNORE INTO seen VALUES (?, ?)", (key, line))
        if done.rowcount:
            return None
        (first,) = self._table.execute("SELECT line FROM seen WHERE hash = ?", (key,)).fetchone()
        return int(first)


@dataclass(frozen=True, slots=True)
class GroupBy:
    """Which pictures belong to one row: those of a folder, or those named alike."""

    #: Matches a name without suffix; its first group is the row's id. None: by folder.
    pattern: re.Pattern[str] | None

    def id_of(self, name: str) -> str:
        """Return the id of a picture's row: its group, else its own name."""
        if self.pattern is None:
            return name.rpartition("/")[0] or name
        stem, dot, suffix = name.rpartition(".")
        found = self.pattern.fullmatch(stem if dot and "/" not in suffix else name)
        return (found and found[1]) or name


def group_by(text: str) -> GroupBy:
    """Read `folder`, or a regular expression with a group.

    Raises:
        ValueError: it is neither; the message says what is wrong.
    """
    if text == "folder":
        return GroupBy(None)
    try:
        pattern = re.compile(text)
    except (OverflowError, RecursionError, re.error) as error:
        raise ValueError(f"neither `folder` nor a regular expression: {error}") from None
    if not pattern.groups:
        raise ValueError("put the common part of the names in parentheses: '(.+)_\\d+'")
    return GroupBy(pattern)


Kind = Literal["auto", "csv", "jsonl", "list", "openai-batch"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """Options that describe a source."""

    #: Kind of a file or of standard input.
    kind: Kind = "auto"
    #: Columns (JSONL: keys) of pictures, in order; empty: columns with usual names.
    image_columns: tuple[str, ...] = ()
    #: Column of the id; None: a column with a usual name, else the picture's address.
    id_column: str | None = None
    #: Encoding of the text; None: UTF-8, else CP1251.
    encoding: str | None = None
    #: Delimiter of a CSV; None: detected in its first records.
    delimiter: str | None = None
    #: Make one row of all rows with the same id.
    group: bool = False
    #: Make one row of all pictures in a folder (`folder`), or whose names match alike.
    group_by: GroupBy | None = None


class Source:
    """Rows that are read one by one and never all in memory; duplicate ids are refused."""

    #: Place and kind, for people.
    description: str
    #: Names for `{placeholders}` of a prompt.
    columns: tuple[str, ...] = ()
    #: Number of rows; None until all have been read once.
    total: int | None = None
    #: Files without the suffix of a picture, skipped in the last whole reading.
    skipped: int = 0
    #: Whether rows bring their own prompts, as OpenAI Batch input does.
    asks_itself: bool = False
    #: Whether there is a column of ids to group by; names of pictures are not enough.
    has_ids: bool = False
    groups: bool = False
    #: How pictures are grouped by their names; None: each is a row.
    group_by: GroupBy | None = None
    #: Whether an id may occur twice: file names can't.
    _ids_may_repeat: bool = True

    @cached_property
    def passed_over(self) -> Counter[str]:
        """Junk skipped in the last whole reading, by name (see `files.JUNK`)."""
        return Counter()

    def rows(self) -> Iterator[Row | BadRow]:
        """Yield all rows from the beginning, the same ones each time.

        Raises:
            InvalidSource: it is empty, can't be read, or contains an id twice.
        """
        # After a whole reading no id occurs twice.
        seen = Identities() if self._ids_may_repeat and self.total is None else None
        count = 0
        for line, row in self._grouped():
            first = seen.note(row.id, line) if seen else None
            if first is not None:
                raise InvalidSource(
                    f"{self.description}: lines {first} and {line} have the same id {row.id!r};"
                    " group them into one row (--group), remove one, or name a column of unique"
                    " ids (--id-column)"
                )
            count += 1
            yield row
        if count == 0:
            raise InvalidSource(f"{self.description}: {self._nothing()}")
        self.total = count

    def _grouped(self) -> Iterator[tuple[int, Row | BadRow]]:
        if self.group_by is not None:
            return grouped(map(self._member, self._read()), by_name=True)
        return grouped(self._read()) if self.groups else self._read()

    def _member(self, numbered: tuple[int, Row | BadRow]) -> tuple[int, Row | BadRow]:
        """Give a picture the id of its group."""
        line, row = numbered
        if self.group_by is None or isinstance(row, BadRow):
            return numbered
        identity = self.group_by.id_of(row.id)
        return line, replace(row, id=identity, variables={**row.variables, "id": identity})

    def fingerprint(self) -> str:
        """Return an identity of the source.

        For a file it is the hash of its content; for a folder, glob or bucket the address, since
        their content may grow.
        """
        raise NotImplementedError

    def _read(self) -> Iterator[tuple[int, Row | BadRow]]:
        """Yield each row with its line."""
        raise NotImplementedError

    def _nothing(self) -> str:
        return "it contains no rows"


def said_of_reading(source: Source) -> Iterator[str]:
    """Yield lines about skipped files of the last whole reading, for people."""
    if source.skipped:
        yield f"skipped, not pictures by their names: {source.skipped:,}"
    if source.passed_over:
        names = ", ".join(f"{name} ({count:,})" for name, count in source.passed_over.most_common())
        yield f"skipped, not your files: {names}"
