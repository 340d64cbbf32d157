"""Reader of PNG containers (W3C PNG, third edition, chapter 5)."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from worker.images.layout import (
    MAX_PARTS,
    MAX_PROFILE_BYTES,
    Cuts,
    Layout,
    MalformedError,
    read_orientation,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

_SIGNATURE_BYTES: Final = 8
_HEADER_BYTES: Final = 13
_LARGEST_LENGTH: Final = 2**31 - 1
_PLAIN_BITS: Final = 8
#: Colour types: grey and palette; grey or colour with alpha.
_ONE_BYTE_COLOURS: Final = frozenset({0, 3})
_ALPHA_COLOURS: Final = frozenset({4, 6})
#: What the picture is made of, and the hints on its colours that hold nothing else.
_PICTURE: Final = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS"})
_COLOUR_HINTS: Final = frozenset({b"sRGB", b"gAMA", b"cHRM", b"sBIT", b"bKGD", b"pHYs", b"cICP"})
_NAMES: Final = {
    b"eXIf": "EXIF",
    b"iCCP": "ICC",
    b"iTXt": "text",
    b"tEXt": "text",
    b"zTXt": "text",
    b"tIME": "time",
}
_ANCILLARY_BIT: Final = 0x20


@dataclass
class _Found:
    #: Width, height, bits of a sample, colour type.
    header: tuple[int, int, int, int] | None = None
    has_palette_alpha: bool = False
    frames: int = 1
    frame_controls: int = 0
    has_pixels: bool = False
    orientation: int = 1
    profile: bytes | None = None
    cuts: Cuts = field(default_factory=Cuts)


def read_png(data: bytes) -> Layout:
    """Walk the chunks to the end of the picture, checking each checksum that matters.

    Raises:
        MalformedError: cut off, a wrong checksum, or chunks that make no picture.
    """
    found = _Found()
    for kind, start, body, end in _chunks(data, found.cuts):
        if found.header is None and kind != b"IHDR":
            raise MalformedError("the file does not begin with its header")
        if kind in _PICTURE or kind in _COLOUR_HINTS:
            _check_sum(data, kind, body, end)
        elif not kind[0] & _ANCILLARY_BIT:
            raise MalformedError(f"unknown critical chunk {kind!r}")
        else:
            found.cuts.cut(start, end, _NAMES.get(kind, kind.decode("latin-1")))
        _take(found, kind, data[body : end - 4] if kind != b"IDAT" else b"")
    if found.header is None or not found.has_pixels:
        raise MalformedError("there is no picture in the file")
    width, height, bits, colours = found.header
    alpha = found.has_palette_alpha or colours in _ALPHA_COLOURS
    one_byte = colours in _ONE_BYTE_COLOURS
    return Layout(
        width=width,
        height=height,
        frames=max(found.frames, found.frame_controls, 1),
        plain=bits <= _PLAIN_BITS,
        lossless=True,
        content=found.cuts.apply(data),
        stripped=found.cuts.names,
        orientation=found.orientation,
        profile=found.profile,
        alpha=alpha,
        pixel_bytes=(1 if bits <= _PLAIN_BITS else 2) if one_byte else 4,
        convert_bytes=4 if alpha or one_byte else 0,
    )


def _chunks(data: bytes, cuts: Cuts) -> Iterator[tuple[bytes, int, int, int]]:
    """Yield (type, start, start of the body, end) of each chunk; IEND ends the file."""
    position = _SIGNATURE_BYTES
    for _ in range(MAX_PARTS):
        if position + 12 > len(data):
            raise MalformedError("the file is cut off: its end chunk is missing")
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if length > _LARGEST_LENGTH or not kind.isalpha():
            raise MalformedError("the file is broken between chunks")
        if end > len(data):
            raise MalformedError("the file is cut off inside a chunk")
        yield kind, position, position + 8, end
        if kind == b"IEND":
            cuts.cut(end, len(data), "appended data")
            return
        position = end
    raise MalformedError("the file has an implausible number of chunks")


def _check_sum(data: bytes, kind: bytes, body: int, end: int) -> None:
    (expected,) = struct.unpack_from(">I", data, end - 4)
    if zlib.crc32(memoryview(data)[body - 4 : end - 4]) != expected:
        raise MalformedError(f"wrong checksum in chunk {kind.decode('latin-1')}")


def _take(found: _Found, kind: bytes, body: bytes) -> None:
    if kind == b"IHDR":
        if found.header is not None or len(body) != _HEADER_BYTES:
            raise MalformedError("the header is not as it should be")
        found.header = struct.unpack_from(">IIBB", body)
    elif kind == b"tRNS":
        found.has_palette_alpha = True
    elif kind == b"IDAT":
        found.has_pixels = True
    elif kind == b"acTL" and len(body) >= 4:  # noqa: PLR2004  # the number of frames is 4 bytes
        (found.frames,) = struct.unpack_from(">I", body)
    elif kind == b"fcTL":
        found.frame_controls += 1
    elif kind == b"eXIf":
        found.orientation = read_orientation(body)
    elif kind == b"iCCP":
        found.profile = _inflate_profile(body)


def _inflate_profile(body: bytes) -> bytes | None:
    """Return the profile of an iCCP chunk; None if it is broken, unfinished or too large."""
    _, _, packed = body.partition(b"\0")
    stream = zlib.decompressobj()
    try:
        profile = stream.decompress(packed[1:], MAX_PROFILE_BYTES)
    except zlib.error:
        return None
    return profile if stream.eof else None
