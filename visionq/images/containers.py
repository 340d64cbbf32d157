"""Walks through the containers of pictures: JPEG, PNG, WEBP, GIF, and the directories of TIFF.

Each walk yields parts with their places and reads no further than it is asked for, so it serves
workers, which have the whole file in memory, and quotes, which read the head of a file. All raise
`MalformedError` where a container is cut off, broken, or has an implausible number of parts.
"""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING, Any, BinaryIO, Final, overload

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    #: Called with start, end and name of bytes that belong to no part of the picture.
    Drop = Callable[[int, int, str], None]

#: Parts (segments, chunks, blocks) that a real file never reaches; walking more would cost time.
MAX_PARTS: Final = 65_536
#: Bytes read at a time beyond the head.
_PIECE_BYTES: Final = 16_384

Size = tuple[int, int]


class MalformedError(Exception):
    """The container does not hold together; the text says where, in words for people."""


class UnsupportedVariantError(Exception):
    """A variant of a supported format that is not taken; the text names it."""


class FileView:
    """A file as if it were bytes, of which only those asked for are read, in large pieces."""

    def __init__(self, file: BinaryIO, length: int, head: bytes) -> None:
        """View a file of a length; `head` are its first bytes."""
        self._file, self._length = file, length
        self._start, self._piece = 0, head

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, place: int, /) -> int: ...
    @overload
    def __getitem__(self, place: slice, /) -> bytes: ...
    def __getitem__(self, place: int | slice, /) -> int | bytes:
        if isinstance(place, int):
            at = self._at(place, 1)
            return self._piece[at]
        start, end, _ = place.indices(self._length)
        at = self._at(start, end - start)
        return self._piece[at : at + end - start]

    def search(self, pattern: re.Pattern[bytes], place: int) -> tuple[int, int] | None:
        """Return the places of the two bytes that first match a pattern."""
        while True:
            at = self._at(place, 2)
            match = pattern.search(self._piece, at)
            if match is not None:
                return self._start + match.start(), self._start + match.start(1)
            # The last byte may be the first of the two.
            place = self._start + len(self._piece) - 1
            if len(self._piece) <= 1 or place + 2 > self._length:
                return None

    def _at(self, place: int, count: int) -> int:
        """Return the index of a place in the current piece, reading another if necessary."""
        at = place - self._start
        if at < 0 or at + count > len(self._piece):
            self._file.seek(place)
            self._start, self._piece = place, self._file.read(max(count, _PIECE_BYTES))
            at = 0
        return at


Data = bytes | FileView


def _ignore(start: int, end: int, name: str) -> None:
    """Drop nothing."""


def _unpack(shape: str, data: Data, place: int) -> tuple[Any, ...]:
    return struct.unpack(shape, data[place : place + struct.calcsize(shape)])


# JPEG: ITU T.81, annex B.

#: Start of a scan.
SCAN: Final = 0xDA
_END_OF_IMAGE: Final = 0xD9
_STANDALONE: Final = frozenset({0x01, *range(0xD0, 0xD9)})
#: Markers of a frame, whose header has the size.
FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SAMPLE_BITS: Final = 8
#: Both patterns begin with one literal byte, for which `re` searches ten times faster than for a
#: repeated one, and which takes a run of fill bytes in one pass; this holds the interpreter's lock.
_MARKER: Final = re.compile(rb"\xff([^\x00\xff])")
#: Inside a scan, restart markers belong to the data.
_MARKER_IN_SCAN: Final = re.compile(rb"\xff([^\x00\xd0-\xd7\xff])")


def jpeg_segments(data: Data, drop: Drop = _ignore) -> Iterator[tuple[int, int, int, int]]:
    """Yield (marker, start, start of the body, end) of each segment of the picture."""
    position, pattern = 2, _MARKER
    for _ in range(MAX_PARTS):
        place = _search(pattern, data, position)
        if place is None:
            raise MalformedError("the file is cut off: its end marker is missing")
        start, at = place
        if pattern is _MARKER and isinstance(data, bytes):
            # Fill bytes belong to the marker behind them.
            start = position + len(data[position:start].rstrip(b"\xff"))
            drop(position, start, "stray bytes")
        marker, body = data[at], at + 1
        if marker == _END_OF_IMAGE:
            drop(body, len(data), "appended data")
            return
        if marker in _STANDALONE:
            position = body
            continue
        if body + 2 > len(data):
            raise MalformedError("the file is cut off inside a segment")
        (length,) = _unpack(">H", data, body)
        position = body + length
        if length < 2 or position > len(data):  # noqa: PLR2004  # the length counts its own 2 bytes
            raise MalformedError("the file is cut off inside a segment")
        yield marker, start, body + 2, position
        pattern = _MARKER_IN_SCAN if marker == SCAN else _MARKER
    raise MalformedError("the file has an implausible number of segments")


def _search(pattern: re.Pattern[bytes], data: Data, place: int) -> tuple[int, int] | None:
    if not isinstance(data, bytes):
        return data.search(pattern, place)
    match = pattern.search(data, place)
    return match and (match.start(), match.start(1))


def jpeg_size(body: bytes) -> tuple[int, int, int]:
    """Return width, height and components in the header of a frame.

    Raises:
        UnsupportedVariantError: more than 8 bits for each sample.
    """
    try:
        bits, height, width, components = struct.unpack_from(">BHHB", body)
    except struct.error:
        raise MalformedError("the frame header is too short") from None
    if bits != _SAMPLE_BITS:
        raise UnsupportedVariantError(f"{bits}-bit JPEG")
    return width, height, components


# PNG: W3C PNG, third edition, chapter 5.

PNG_SIGNATURE_BYTES: Final = 8
PNG_HEADER_BYTES: Final = 13
_LARGEST_LENGTH: Final = 2**31 - 1


def png_chunks(data: Data, drop: Drop = _ignore) -> Iterator[tuple[bytes, int, int, int]]:
    """Yield (type, start, start of the body, end) of each chunk; IEND ends the file."""
    position = PNG_SIGNATURE_BYTES
    for _ in range(MAX_PARTS):
        if position + 12 > len(data):
            raise MalformedError("the file is cut off: its end chunk is missing")
        length, kind = struct.unpack(">I4s", data[position : position + 8])
        end = position + 12 + length
        if length > _LARGEST_LENGTH or not kind.isalpha():
            raise MalformedError("the file is broken between chunks")
        if end > len(data):
            raise MalformedError("the file is cut off inside a chunk")
        if position == PNG_SIGNATURE_BYTES and kind != b"IHDR":
            raise MalformedError("the file does not begin with its header")
        yield kind, position, position + 8, end
        if kind == b"IEND":
            drop(end, len(data), "appended data")
            return
        position = end
    raise MalformedError("the file has an implausible number of chunks")


def png_header(body: bytes) -> tuple[int, int, int, int]:
    """Return width, height, bits of a sample and colour type from the body of IHDR."""
    if len(body) != PNG_HEADER_BYTES:
        raise MalformedError("the header is not as it should be")
    width, height, bits, colours = struct.unpack_from(">IIBB", body)
    return width, height, bits, colours


# WEBP: RFC 9649.

WEBP_FIRST_CHUNK: Final = 12
_LOSSLESS_SIGNATURE: Final = 0x2F
_SIDE_MASK: Final = 0x3FFF


def webp_chunks(data: Data, drop: Drop = _ignore) -> Iterator[tuple[bytes, int, int, int, int]]:
    """Yield (type, start, start of the body, length, end with padding) of each chunk."""
    if len(data) < WEBP_FIRST_CHUNK:
        raise MalformedError("the file is cut off")
    (size,) = _unpack("<I", data, 4)
    stop = size + 8
    if stop > len(data):
        raise MalformedError("the file is cut off")
    position = WEBP_FIRST_CHUNK
    for _ in range(MAX_PARTS):
        if position >= stop:
            drop(stop, len(data), "appended data")
            return
        if position + 8 > stop:
            raise MalformedError("the file is cut off between chunks")
        kind, length = struct.unpack("<4sI", data[position : position + 8])
        if position + 8 + length > stop:
            raise MalformedError("the file is cut off inside a chunk")
        # Some writers leave out the padding of the last chunk.
        end = min(position + 8 + length + (length & 1), stop)
        yield kind, position, position + 8, length, end
        position = end
    raise MalformedError("the file has an implausible number of chunks")


def webp_size(kind: bytes, body: bytes) -> Size:
    """Return width and height; `body` begins a `VP8X`, `VP8L` or `VP8 ` chunk."""
    try:
        if kind == b"VP8X":
            low, high, low2, high2 = struct.unpack_from("<HBHB", body, 4)
            return low + (high << 16) + 1, low2 + (high2 << 16) + 1
        if kind == b"VP8L":
            signature, bits = struct.unpack_from("<BI", body)
            is_whole = signature == _LOSSLESS_SIGNATURE
            size = (bits & _SIDE_MASK) + 1, (bits >> 14 & _SIDE_MASK) + 1
        else:
            start_code, width, height = struct.unpack_from("<3sHH", body, 3)
            is_whole = start_code == b"\x9d\x01\x2a"
            size = width & _SIDE_MASK, height & _SIDE_MASK
    except struct.error:
        raise MalformedError("the header of the picture is too short") from None
    if not is_whole:
        raise MalformedError("the header of the picture is broken")
    return size


# GIF: GIF89a, appendix B.

_SCREEN_BYTES: Final = 13
_HAS_TABLE: Final = 0x80
_EXTENSION: Final = 0x21
_FRAME: Final = 0x2C
_TRAILER: Final = 0x3B
#: Blocks of at most 255 bytes; writers fill them, so 20 MB make 80,000.
_MAX_BLOCKS: Final = 500_000


def gif_blocks(data: Data, drop: Drop = _ignore) -> Iterator[tuple[int | None, int, int]]:
    """Yield (label, start, end) of each extension and frame; a frame has no label."""
    try:
        position = _after_table(data, 10, _SCREEN_BYTES)
        left = _MAX_BLOCKS
        while (introducer := data[position]) != _TRAILER:
            if introducer == _EXTENSION:
                end = position + 2
            elif introducer == _FRAME:
                # One byte after the colour table holds the code size.
                end = _after_table(data, position + 9, position + 10) + 1
            else:
                raise MalformedError("the file is broken between blocks")
            while length := data[end]:
                left -= 1
                if left < 0:
                    raise MalformedError("the file has an implausible number of blocks")
                end += length + 1
            label = data[position + 1] if introducer == _EXTENSION else None
            yield label, position, end + 1
            position = end + 1
    except IndexError:
        raise MalformedError("the file is cut off: its trailer is missing") from None
    drop(position + 1, len(data), "appended data")


def _after_table(data: Data, flags_at: int, position: int) -> int:
    flags = data[flags_at]
    return position + (3 << (flags & 7) + 1) if flags & _HAS_TABLE else position


def gif_screen(data: Data) -> Size:
    """Return width and height of the screen."""
    try:
        width, height = _unpack("<HH", data, 6)
    except struct.error:
        raise MalformedError("the file is cut off: its trailer is missing") from None
    return width, height


def gif_box(data: Data, start: int) -> tuple[int, int, int, int]:
    """Return left, top, right and bottom of the frame at a place."""
    left, top, width, height = _unpack("<HHHH", data, start + 1)
    return left, top, left + width, top + height


# TIFF 6.0, section 2, and BigTIFF; EXIF is the same.

_BIG: Final = 43
#: Types of numbers, as `struct` spells them.
_NUMBER_TYPES: Final = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 11: "f", 12: "d", 16: "Q"}
#: Values of a field that are read; no picture that is taken has more channels.
_MOST_VALUES: Final = 8
_ORIENTATION: Final = 0x0112
_UPRIGHT: Final = 1
_LAST_ORIENTATION: Final = 8


def tiff_fields(data: Data, wanted: frozenset[int]) -> dict[int, tuple[float, ...]]:
    """Return the wanted numbers of the first directory, by tag."""
    order = ">" if data[:2] == b"MM" else "<"
    number = _number(data, order)
    found: dict[int, tuple[float, ...]] = {}
    try:
        for tag, kind, count, place in _entries(data, order, number):
            if tag not in wanted or kind not in _NUMBER_TYPES or not count:
                continue
            is_inside = count * struct.calcsize(_NUMBER_TYPES[kind]) <= struct.calcsize(number)
            (values,) = (place,) if is_inside else _unpack(order + number, data, place)
            shape = f"{order}{min(count, _MOST_VALUES)}{_NUMBER_TYPES[kind]}"
            found[tag] = _unpack(shape, data, values)
    except struct.error:
        raise MalformedError("its directory is cut off") from None
    return found


def read_orientation(exif: bytes) -> int:
    """Return the orientation (1 to 8) in an EXIF block; 1 without a valid one.

    Only this one tag is read, so that a broken block costs nothing but itself.
    """
    tiff = exif.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return _UPRIGHT
    try:
        for tag, kind, _, place in _entries(tiff, order, "I"):
            if tag == _ORIENTATION:
                # Writers take other types of number than the one of the standard, SHORT.
                (value,) = _unpack(order + _NUMBER_TYPES.get(kind, "H"), tiff, place)
                return int(value) if _UPRIGHT <= value <= _LAST_ORIENTATION else _UPRIGHT
    except struct.error:
        return _UPRIGHT
    return _UPRIGHT


def _number(data: Data, order: str) -> str:
    """Return the type of counts and places: 8 bytes in a BigTIFF, 4 in others."""
    return "Q" if data[2:4] == struct.pack(order + "H", _BIG) else "I"


def _entries(data: Data, order: str, number: str) -> Iterator[tuple[int, int, int, int]]:
    """Yield (tag, type, count, place of the value or its address) of the first directory.

    Raises:
        struct.error: cut off.
    """
    at, counted = (8, "Q") if number == "Q" else (4, "H")
    (directory,) = _unpack(order + number, data, at)
    (entries,) = _unpack(order + counted, data, directory)
    place = directory + struct.calcsize(counted)
    shape = f"{order}HH{number}"
    to_value, value_bytes = struct.calcsize(shape), struct.calcsize(number)
    for _ in range(min(entries, MAX_PARTS)):
        tag, kind, count = _unpack(shape, data, place)
        yield tag, kind, count, place + to_value
        place += to_value + value_bytes
