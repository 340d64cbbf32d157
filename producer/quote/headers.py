"""Type and size of a picture by the first bytes of its content; nothing is decoded.

Only what decides tokens, or makes a worker refuse the picture, is looked at. A picture that is cut
off or broken further on is found by the worker, which decodes it whole.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Final

from visionq.errors import CorruptImage, EmptyFile, NotAnImage, UnsupportedFormat

if TYPE_CHECKING:
    from collections.abc import Callable

#: Enough for all but JPEGs with thumbnails or profiles first, which are walked on.
HEAD_BYTES: Final = 4096
_SIGNATURES: Final = (
    (re.compile(rb"BM"), "BMP"),
    (re.compile(rb"II\*\0|MM\0\*|II\+\0|MM\0\+"), "TIFF"),
    (re.compile(rb"....ftyp(avif|avis)", re.DOTALL), "AVIF"),
    (re.compile(rb"....ftyp(hei[cxms]|hev[cxms]|mif1|msf1)", re.DOTALL), "HEIC"),
    (re.compile(rb"%PDF-"), "PDF"),
    (re.compile(rb"\s*(<\?xml[^>]*>\s*)?<svg"), "SVG"),
)
#: What a worker converts where a job asks for it.
CONVERTIBLE: Final = frozenset({"BMP", "TIFF", "AVIF"})
#: Markers of a JPEG that begin a frame: they hold the size.
_FRAMES: Final = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
_STANDALONE: Final = frozenset({0x01, *range(0xD0, 0xD8)})
_EXTENSION, _IMAGE, _TRAILER = 0x21, 0x2C, 0x3B


@dataclass(frozen=True, slots=True)
class Header:
    """What a picture says of itself first."""

    kind: str
    #: Pixels as stored: turning it changes no tokens. 0: not read, of a kind to be converted.
    width: int = 0
    height: int = 0
    animated: bool = False


def read_header(file: BinaryIO, head: bytes) -> Header:
    """Return what the picture is; `head` are its first `HEAD_BYTES`, `file` stands behind them.

    Raises:
        EmptyFile, NotAnImage, UnsupportedFormat, CorruptImage: why no worker would send it.
    """
    if not head:
        raise EmptyFile("the file is empty")
    reader = next((read for begins, read in _READERS.items() if head.startswith(begins)), None)
    if reader is not None:
        try:
            header = reader(file, head)
        except (struct.error, IndexError):
            raise CorruptImage("it ends within its header") from None
        if not header.width or not header.height:
            raise CorruptImage(f"the size is {header.width}x{header.height}")
        return header
    found = next((name for pattern, name in _SIGNATURES if pattern.match(head)), None)
    if found is None:
        raise NotAnImage("the content is no picture")
    if found in CONVERTIBLE:
        return Header(found)
    raise UnsupportedFormat(f"the content is {found}; convert it to JPEG, PNG, WEBP or still GIF")


def _jpeg(file: BinaryIO, head: bytes) -> Header:
    place = 2
    while True:
        marker, length = _segment(file, head, place)
        if marker in _FRAMES:
            height, width = struct.unpack(">HH", _bytes(file, head, place + 5, 4))
            return Header("jpeg", width, height)
        place += 1 if marker == _FILL else 2 if marker in _STANDALONE else 2 + length


_FILL: Final = 0xFF


def _segment(file: BinaryIO, head: bytes, place: int) -> tuple[int, int]:
    start = _bytes(file, head, place, 4)
    if start[0] != _FILL:
        raise CorruptImage("broken JPEG: no marker where one must be")
    return start[1], int.from_bytes(start[2:], "big")


def _png(file: BinaryIO, head: bytes) -> Header:
    width, height = struct.unpack(">II", head[16:24])
    place = 8
    while True:  # an animation says so before its first pixels
        length, kind = struct.unpack(">I4s", _bytes(file, head, place, 8))
        if kind in {b"IDAT", b"IEND"}:
            return Header("png", width, height)
        if kind == b"acTL":
            (frames,) = struct.unpack(">I", _bytes(file, head, place + 8, 4))
            return Header("png", width, height, animated=frames > 1)
        place += 12 + length


def _gif(file: BinaryIO, head: bytes) -> Header:
    width, height = struct.unpack("<HH", head[6:10])
    frames, place = 0, 13 + _colours(head[10])
    while frames <= 1:  # blocks are walked up to the second picture
        kind = _bytes(file, head, place, 1)[0]
        if kind == _TRAILER:
            break
        if kind == _IMAGE:
            frames += 1
            place += 11 + _colours(_bytes(file, head, place + 9, 1)[0])
        elif kind == _EXTENSION:
            place += 2
        else:
            raise CorruptImage("broken GIF: no block where one must be")
        while length := _bytes(file, head, place, 1)[0]:
            place += 1 + length
        place += 1
    return Header("gif", width, height, animated=frames > 1)


def _colours(packed: int) -> int:
    """Return the bytes of a table of colours."""
    return 3 * 2 ** ((packed & 7) + 1) if packed & 0x80 else 0


def _webp(_: BinaryIO, head: bytes) -> Header:
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


def _bytes(file: BinaryIO, head: bytes, place: int, count: int) -> bytes:
    if place + count <= len(head):
        return head[place : place + count]
    file.seek(place)
    found = file.read(count)
    if len(found) < count:
        raise CorruptImage("it ends within its header")
    return found


_READERS: Final[dict[bytes, Callable[[BinaryIO, bytes], Header]]] = {
    b"\xff\xd8\xff": _jpeg,
    b"\x89PNG\r\n\x1a\n": _png,
    b"GIF87a": _gif,
    b"GIF89a": _gif,
    b"RIFF": _webp,
}
