"""Write output files, without overwriting files of other programs."""

from __future__ import annotations

import os
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from visionq.errors import RecordFailed, RecordRefused
from visionq.user_files import is_same, replacing

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

#: Columns that every table of answers has, with any options.
TABLE_MARKS: Final = frozenset({"id", "text", "cost_rub", "cached", "error_code", "error_message"})
#: Columns of a table of refused rows.
REFUSED_MARKS: Final = frozenset({"id", "file", "code", "message"})
_PARQUET: Final = ".parquet"
_XLSX: Final = ".xlsx"
#: Marks a workbook as ours, in its custom properties, which spreadsheets keep.
WORKBOOK_MARK: Final = "visionq table"
#: Bytes that contain the names of the columns.
_HEAD: Final = 1 << 20
_NAME: Final = re.compile(r"[\w.]+")


def check_not_input(out: Path, inputs: Iterable[Path | None]) -> None:
    """Check that `out` is not an input file, under any name or link.

    Raises:
        RecordRefused: it is one.
    """
    for given in inputs:
        if given is not None and is_same(given, out):
            raise RecordRefused(f"{out}: this is the input {given}: choose another OUT")


def check_begins(out: Path, begins: bytes) -> None:
    """Check that the file at `out` begins as visionq's do, if it is there.

    Raises:
        RecordRefused: it does not, or can't be read.
    """
    try:
        if not out.exists():
            return
        with out.open("rb") as file:
            head = file.read(len(begins))
    except OSError as error:
        raise RecordRefused(f"{out}: can't be read: {error.strerror}") from None
    if head not in (b"", begins):
        raise RecordRefused(
            f"{out}: visionq did not write this file and leaves it alone: choose another"
        )


@contextmanager
def writing(out: Path) -> Iterator[Path]:
    """Give a draft that replaces `out` after the block.

    Raises:
        RecordFailed: it can't be written.
    """
    try:
        with replacing(out) as draft:
            yield draft
    except OSError as error:
        raise RecordFailed(f"{out}: can't be written: {error.strerror or error}") from None


def write_text(out: Path, text: str) -> None:
    """Write a file in UTF-8, replacing the one that is there.

    Raises:
        RecordFailed: it can't be written.
    """
    with writing(out) as draft:
        draft.write_text(text, encoding="utf-8", errors="backslashreplace")


def check_table(out: Path, marks: frozenset[str] = TABLE_MARKS) -> None:
    """Check that visionq wrote the table at `out`, if there is one.

    Raises:
        RecordRefused: it did not, or the file can't be read.
    """
    try:
        if not out.exists() or (out.is_file() and not out.stat().st_size):
            return
        ours = out.is_file() and _is_marked(out, marks)
    except OSError as error:
        raise RecordRefused(f"{out}: can't be read: {error.strerror}") from None
    if not ours:
        raise RecordRefused(
            f"{out}: visionq did not write this file and leaves it alone: choose another OUT"
        )


def _is_marked(path: Path, marks: frozenset[str]) -> bool:
    if path.suffix.lower() == _XLSX:
        return _is_marked_workbook(path)
    with path.open("rb") as file:
        if path.suffix.lower() != _PARQUET:
            names = file.readline(_HEAD).decode("utf-8-sig", "replace")
            return marks <= set(_NAME.findall(names))
        # The footer has the names of columns as plain text, before its length and the signature.
        length = file.seek(0, os.SEEK_END)
        file.seek(max(0, length - _HEAD))
        footer = file.read()
    return footer.endswith(b"PAR1") and all(mark.encode() in footer for mark in marks)


def _is_marked_workbook(path: Path) -> bool:
    import zlib  # noqa: PLC0415  # only workbooks need both
    from zipfile import BadZipFile, ZipFile  # noqa: PLC0415

    try:
        with ZipFile(path) as archive, archive.open("docProps/custom.xml") as properties:
            return WORKBOOK_MARK.encode() in properties.read(_HEAD)
    except (BadZipFile, EOFError, KeyError, RuntimeError, zlib.error):  # broken, encrypted, other
        return False
