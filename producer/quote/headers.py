"""Type and size of a picture from its first bytes, without decoding.

This reads only what decides tokens or makes a worker refuse the picture. The worker decodes the
whole picture, and finds truncated and broken ones.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Final

from visionq.errors import CorruptImage, EmptyFile, NotAnImage, UnsupportedFormat

if TYPE_CHECKING:
    from collections.abc import Callable

#: Enough for all but JPEGs that begin with thumbnails or profiles; those are read further.
HEAD_BYTES: Final = 4096
_SIGNATURES: Final = (
    (re.compile(rb"BM"), "BMP"),
    (re.compile(rb"II\*\0|MM\0\*|II\+\0|MM\0\+"), "TIFF"),
    (re.compile(rb"....ftyp(avif|avis)", re.DOTALL), "AVIF"),
    (re.compile(rb"....ftyp(hei[cxms]|hev[cxms]|mif1|msf1)", re.DOTALL), "HEIC"),
    (re.compile(rb"%PDF-"), "PDF"),
    (re.compile(rb"\s*(<\?xml[^>]*>\s*)?<svg"), "SVG"),
)
#: Formats that workers convert if the job asks for it; HEIC needs an extra.
CONVERTIBLE: Final = frozenset({"BMP", "TIFF", "AVIF", "HEIC"})
#: Markers that begin a frame of a JPEG, which has the size.
_FRAMES: Final = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
_STANDALONE: Final = frozenset({0x01, *range(0xD0, 0xD8)})
_FILL: Final = 0xFF
_NO_FILL: Final = re.compile(rb"[^\xff]")
_EXTENSION, _IMAGE, _TRAILER = 0x21, 0x2C, 0x3B
_OLD_BMP_HEADER: Final = 12
_TIFF, _WIDTH, _HEIGHT = 42, 256, 257
#: Types of TIFF fields with a size.
_WHOLE_NUMBERS: Final = {3: "H", 4: "I"}
#: Most fields of a TIFF to read; they are sorted, and the size comes first.
_MOST_FIELDS: Final = 64
#: Bytes read at a time beyond the head.
_PIECE_BYTES: Final = 16_384
#: Most reads; no real file has as many parts, such as GIF blocks of at most 255 bytes.
_MOST_LOOKS: Final = 500_000


@dataclass(frozen=True, slots=True)
class Header:
    """Type and size of a picture."""

    kind: str
    #: Pixels as stored: rotation changes no tokens. 0: unknown, in a format to convert.
    width: int = 0
    height: int = 0
    animated: bool = False


def read_header(file: BinaryIO, head: bytes) -> Header:
    """Return type and size; `head` are the first `HEAD_BYTES`, which `file` is past.

    Raises:
        EmptyFile, NotAnImage, UnsupportedFormat, CorruptImage: no worker would send it.
    """
    if not head:
        raise EmptyFile("the file is empty")
    reader = next((read for begins, read in _READERS.items() if head.startswith(begins)), None)
    if reader is not None:
        try:
            header = reader(_Walk(file, head))
        except (struct.error, IndexError):
            raise CorruptImage("it ends within its header") from None
        if not header.width or not header.height:
            raise CorruptImage(f"the size is {header.width}x{header.height}")
        return header
    found = next((name for pattern, name in _SIGNATURES if pattern.match(head)), None)
    if found is None:
        raise NotAnImage("the content is no picture")
    if found in CONVERTIBLE:
        return _convertible(found, _Walk(file, head))
    raise UnsupportedFormat(f"the content is {found}; convert it to JPEG, PNG, WEBP or still GIF")


class _Walk:
    """A file that is read part by part, in few large pieces."""

    def __init__(self, file: BinaryIO, head: bytes) -> None:
        self.head = head
        self._file = file
        self._start, self._piece = 0, head
        self._looks = 0

    def bytes(self, place: int, count: int) -> bytes:
        """Return `count` bytes from a place.

        Raises:
            CorruptImage: the file ends before, or has an implausible number of parts.
        """
        at = self._at(place, count)
        found = self._piece[at : at + count]
        if len(found) < count:
            raise CorruptImage("it ends within its header")
        return found

    def is_end(self, place: int) -> bool:
        """Return whether the file ends before a place."""
        at = self._at(place, 1)
        return not self._piece[at : at + 1]

    def end_of_fill(self, place: int) -> int:
        """Return the next place without a fill byte; raise as `bytes`."""
        while True:
            at = self._at(place, 1)
            found = _NO_FILL.search(self._piece, at)
            if found is not None:
                return self._start + found.start()
            if not self._piece:
                raise CorruptImage("it ends within its header")
            place = self._start + len(self._piece)

    def _at(self, place: int, count: int) -> int:
        """Return the index of a place in the current piece, reading another if necessary."""
        self._looks += 1
        if self._looks > _MOST_LOOKS:
            raise CorruptImage("it has an implausible number of parts")
        at = place - self._start
        if at >= 0 and at + count <= len(self._piece):
            return at
        self._file.seek(place)
        self._start, self._piece = place, self._file.read(_PIECE_BYTES)
        return 0


def _jpeg(walk: _Walk) -> Header:
    place = 2
    while True:
        fill, marker, *length = walk.bytes(place, 4)
        if fill != _FILL:
            raise CorruptImage("broken JPEG: a marker is missing")
        if marker in _FRAMES:
            height, width = struct.unpack(">HH", walk.bytes(place + 5, 4))
            return Header("jpeg", width, height)
        if marker == _FILL:
            place = walk.end_of_fill(place) - 1
        elif marker in _STANDALONE:
            place += 2
        else:
            place += 2 + int.from_bytes(bytes(length), "big")


def _png(walk: _Walk) -> Header:
    width, height = struct.unpack(">II", walk.head[16:24])
    place = 8
    while True:  # an animation says so before its first pixels
        length, kind = struct.unpack(">I4s", walk.bytes(place, 8))
        if kind in {b"IDAT", b"IEND"}:
            return Header("png", width, height)
        if kind == b"acTL":
            (frames,) = struct.unpack(">I", walk.bytes(place + 8, 4))
            return Header("png", width, height, animated=frames > 1)
        place += 12 + length


def _gif(walk: _Walk) -> Header:
    width, height = struct.unpack("<HH", walk.head[6:10])
    frames, place = 0, 13 + _colours(walk.head[10])
    while frames <= 1:  # up to the second picture
        if frames and walk.is_end(place):
            break  # the worker decides about a missing trailer
        kind = walk.bytes(place, 1)[0]
        if kind == _TRAILER:
            break
        if kind == _IMAGE:
            frames += 1
            place += 11 + _colours(walk.bytes(place + 9, 1)[0])
        elif kind == _EXTENSION:
            place += 2
        else:
            raise CorruptImage("broken GIF: a block is missing")
        while length := walk.bytes(place, 1)[0]:
            place += 1 + length
        place += 1
    return Header("gif", width, height, animated=frames > 1)


def _colours(packed: int) -> int:
    """Return the size of a colour table in bytes."""
    return 3 * 2 ** ((packed & 7) + 1) if packed & 0x80 else 0


def _webp(walk: _Walk) -> Header:
    head = walk.head
    if head[8:12] != b"WEBP":
        raise NotAnImage("the content is no picture")
    kind = head[12:16]
    if kind == b"VP8X":
        width, height = (
            1 + int.from_bytes(head[place : place + 3], "little") for place in (24, 27)
        )
        return Header("webp", width, height, animated=bool(head[20] & 2))
    if kind == b"VP8L":
        (bits,) = struct.unpack("<I", head[21:25])
        return Header("webp", 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF))
    width, height = struct.unpack("<HH", head[26:30])
    return Header("webp", width & 0x3FFF, height & 0x3FFF)


def _convertible(kind: str, walk: _Walk) -> Header:
    """Return the size if it is easily found; the worker reports broken files."""
    read = {"BMP": _bmp, "TIFF": _tiff}.get(kind)
    if read is None:
        return Header(kind)
    try:
        return Header(kind, *read(walk))
    except (struct.error, IndexError, CorruptImage):
        return Header(kind)


def _bmp(walk: _Walk) -> tuple[int, int]:
    head = walk.head
    if int.from_bytes(head[14:18], "little") == _OLD_BMP_HEADER:
        width, height = struct.unpack("<HH", head[18:22])
    else:
        width, height = struct.unpack("<ii", head[18:26])
    return abs(width), abs(height)  # a negative height: rows from the top


def _tiff(walk: _Walk) -> tuple[int, int]:
    """Return the size of the first picture; 0 for a BigTIFF."""
    order = "<" if walk.head[:2] == b"II" else ">"
    mark, place = struct.unpack(f"{order}HI", walk.head[2:8])
    if mark != _TIFF:
        return 0, 0
    (fields,) = struct.unpack(f"{order}H", walk.bytes(place, 2))
    size = {_WIDTH: 0, _HEIGHT: 0}
    for number in range(min(fields, _MOST_FIELDS)):
        field = walk.bytes(place + 2 + 12 * number, 12)
        tag, kind, count = struct.unpack(f"{order}HHI", field[:8])
        if tag in size and kind in _WHOLE_NUMBERS and count == 1:
            form = _WHOLE_NUMBERS[kind]
            (size[tag],) = struct.unpack_from(f"{order}{form}", field, 8)
    return size[_WIDTH], size[_HEIGHT]


_READERS: Final[dict[bytes, Callable[[_Walk], Header]]] = {
    b"\xff\xd8\xff": _jpeg,
    b"\x89PNG\r\n\x1a\n": _png,
    b"GIF87a": _gif,
    b"GIF89a": _gif,
    b"RIFF": _webp,
}
