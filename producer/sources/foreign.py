"""Files that are no text, called by their names."""

from __future__ import annotations

import zipfile
from typing import BinaryIO, Final

_HEAD: Final = 16
_ZIP: Final = b"PK\x03\x04"
_AS_CSV: Final = "save the sheet as CSV UTF-8"
#: In a ZIP: the name of a file → what it is.
_IN_ZIP: Final = (
    ("xl/workbook.xml", f"an Excel workbook (.xlsx): {_AS_CSV}"),
    ("xl/workbook.bin", f"an Excel workbook (.xlsb): {_AS_CSV}"),
    ("content.xml", f"an OpenDocument spreadsheet (.ods): {_AS_CSV}"),
)
_SIGNATURES: Final = (
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", f"an old Excel workbook (.xls): {_AS_CSV}"),
    (b"PAR1", "a Parquet file: save it as CSV or JSONL"),
    (b"\x1f\x8b", "compressed with gzip: unpack it first"),
    (b"Rar!", "a RAR archive: unpack it, and give the folder"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive: unpack it, and give the folder"),
    (b"%PDF-", "a PDF: save its pages as pictures, and give their folder"),
    (b"SQLite format 3\0", "an SQLite database: save the table as CSV"),
)


def what_else(file: BinaryIO) -> str | None:
    """Return what a file is, and what to do with it; None: it may be text.

    The file is left at its beginning.
    """
    head = file.read(_HEAD)
    try:
        if head.startswith(_ZIP):
            return _in_zip(file)
        return next((what for begins, what in _SIGNATURES if head.startswith(begins)), None)
    finally:
        file.seek(0)


def _in_zip(file: BinaryIO) -> str:
    try:
        with zipfile.ZipFile(file) as archive:
            names = set(archive.namelist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        names = set()
    known = (what for name, what in _IN_ZIP if name in names)
    return next(known, "a ZIP archive: unpack it, and give the folder")
