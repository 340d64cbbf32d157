"""Text files in the encodings of tables; other kinds of files are refused by name."""

from __future__ import annotations

import codecs
import hashlib
import zipfile
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Final

from visionq.errors import InvalidSource

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import TextIO

_HEAD: Final = 16
_ZIP: Final = b"PK\x03\x04"
_AS_CSV: Final = "save the sheet as CSV UTF-8"
#: Name of a file in a ZIP → the kind of the ZIP.
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
    """Return the kind of a file and advice, or None if it may be text.

    The file is rewound.
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


#: UTF-8, with or without the byte order mark of Excel and Windows.
_UTF8: Final = "utf-8-sig"
#: The encoding that Excel uses in Russia by default.
_CYRILLIC: Final = "cp1251"
_PORTION: Final = 1 << 20
#: Longest cell or line: a data URL with a picture of 48 MB.
MOST_CHARACTERS: Final = 1 << 26
_UNSEEN: Final = "\ufeff\u200b\u200c\u200d\u2060"
_HINT: Final = "save the file as UTF-8, or name its encoding (--encoding)"


@dataclass(frozen=True, slots=True)
class TextFile:
    """A file that is text in `encoding` from beginning to end."""

    path: Path
    encoding: str
    sha256: str

    @contextmanager
    def open(self) -> Iterator[TextIO]:
        """Open the text with its line ends unchanged, as `csv` needs it."""
        with _readable(self.path), self.path.open(encoding=self.encoding, newline="") as text:
            _pass_marks(text)
            yield text

    def lines(self) -> Iterator[tuple[int, str]]:
        """Yield the lines that are not blank, with their numbers from 1.

        A line that is too long is cut just beyond the limit.
        """
        with self.open() as text:
            number = 1
            while line := text.readline(MOST_CHARACTERS + 2):
                rest = line
                while not rest.endswith(("\n", "\r")) and (rest := text.readline(_PORTION)):
                    pass
                if stripped := line.strip():
                    yield number, stripped
                number += 1

    @property
    def spoken_encoding(self) -> str:
        """The encoding's usual name."""
        return "UTF-8" if self.encoding == _UTF8 else self.encoding.upper()


def _pass_marks(text: TextIO) -> None:
    """Skip byte order marks, several in a row too, and other invisible characters."""
    place = text.tell()
    while (first := text.read(1)) and first in _UNSEEN:
        place = text.tell()
    text.seek(place)


def read_text_file(path: Path, encoding: str | None) -> TextFile:
    """Read a file once and return its encoding and hash.

    Raises:
        InvalidSource: it can't be read, or is not text in that encoding; the line is named.
    """
    tried = _Trial(path.name, _codec(encoding) if encoding else _UTF8)
    digest = hashlib.sha256()
    with _readable(path), path.open("rb") as file:
        if (other := what_else(file)) is not None:
            raise InvalidSource(f"{path.name}: {other}")
        for portion in _portions(file):
            digest.update(portion)
            if not tried.takes(portion, may_be_other=encoding is None):
                tried = _Trial(path.name, _CYRILLIC)
                _take_all(tried, path)
                break
        else:
            tried.takes(b"", may_be_other=False, final=True)
        for portion in _portions(file):  # the rest, after a change of encoding
            digest.update(portion)
    return TextFile(path, tried.encoding, digest.hexdigest())


def _take_all(trial: _Trial, path: Path) -> None:
    with path.open("rb") as file:
        for portion in _portions(file):
            trial.takes(portion, may_be_other=False)


def _portions(file: BinaryIO) -> Iterator[bytes]:
    while portion := file.read(_PORTION):
        yield portion


class _Trial:
    """Tries to read a file as text in one encoding."""

    def __init__(self, name: str, encoding: str) -> None:
        self.encoding = encoding
        self._name = name
        self._decoder = codecs.getincrementaldecoder(encoding)()
        self._lines = 0
        self._shown = False

    def takes(self, portion: bytes, *, may_be_other: bool, final: bool = False) -> bool:
        """Return whether the next bytes are text in this encoding.

        Return False only if it may be another encoding: all bytes so far were ASCII.
        """
        if b"\0" in portion and not self.encoding.startswith(("utf-16", "utf-32")):
            raise InvalidSource(f"{self._name}: not text, or text in UTF-16; {_HINT}")
        try:
            text = self._decoder.decode(portion, final)
        except UnicodeDecodeError as error:
            fitting = error.object[: error.start]
            if may_be_other and not self._shown and fitting.removeprefix(codecs.BOM_UTF8).isascii():
                return False
            line = self._lines + fitting.count(b"\n") + 1
            spoken = "UTF-8" if self.encoding == _UTF8 else self.encoding.upper()
            message = f"{self._name}, line {line}: byte {error.object[error.start]:#04x} is not"
            raise InvalidSource(f"{message} {spoken}; {_HINT}") from None
        self._lines += text.count("\n")
        self._shown = self._shown or not text.isascii()
        return True


def _codec(encoding: str) -> str:
    try:
        name = codecs.lookup(encoding).name
    except LookupError:
        message = f"--encoding: unknown encoding {encoding!r}; usual ones are utf-8 and cp1251"
        raise InvalidSource(message) from None
    return _UTF8 if name == "utf-8" else name


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InvalidSource(f"{path}: can't be read: {error.strerror}") from None
