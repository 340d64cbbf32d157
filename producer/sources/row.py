"""One unit of bulk work, as every kind of source yields it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from visionq.errors import InvalidJob
from visionq.submission import is_data_url

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

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
