"""Kind, size and frames of a picture from the beginning of its file, without decoding.

This reads what decides tokens, or makes a worker refuse the picture. The worker walks the whole
file and decodes it; it finds what is broken further on.
"""

from __future__ import annotations

import struct
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Final

from visionq.errors import CorruptImage, UnsupportedFormat
from visionq.images.containers import (
    FRAMES,
    PNG_HEADER_BYTES,
    FileView,
    MalformedError,
    UnsupportedVariantError,
    gif_blocks,
    gif_box,
    gif_screen,
    jpeg_segments,
    jpeg_size,
    png_chunks,
    png_header,
    tiff_fields,
    webp_chunks,
    webp_size,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

#: Enough for all but JPEGs that begin with thumbnails or profiles; those are read further.
HEAD_BYTES: Final = 4096
#: Bytes of a chunk that say its size.
_WEBP_HEADER_BYTES: Final = 10
_OLD_BMP_HEADER: Final = 12
_WIDTH, _HEIGHT = 256, 257


@dataclass(frozen=True, slots=True)
class Header:
    """The header of a picture; partial for formats to convert."""

    #: As `recognise` names it.
    kind: str
    #: Pixels as stored: rotation changes no tokens. 0: unknown, in a format to convert.
    width: int = 0
    height: int = 0
    #: Frames found; the search ends at the second.
    frames: int = 1


def read_header(kind: str, file: BinaryIO, length: int, head: bytes) -> Header:
    """Return the header of a file whose kind `recognise` has named.

    It has `length` bytes; `head` are its first `HEAD_BYTES`.

    Raises:
        UnsupportedFormat, CorruptImage: no worker would send it.
    """
    data = FileView(file, length, head)
    if kind not in _READERS:
        return _of_foreign(kind, data)
    try:
        header = _READERS[kind](data)
    except (struct.error, IndexError):  # shorter than it was when it was opened
        raise CorruptImage("the file is cut off; send a whole copy") from None
    except MalformedError as error:
        raise CorruptImage(f"broken {kind.upper()}: {error}; send a whole copy") from None
    except UnsupportedVariantError as error:
        raise UnsupportedFormat(f"{error}; save it with 8 bits a sample") from None
    if not header.width or not header.height:
        raise CorruptImage(f"the size is {header.width}x{header.height}; send a whole copy")
    return header


def _jpeg(data: FileView) -> Header:
    for marker, _, body, end in jpeg_segments(data):
        if marker in FRAMES:
            width, height, _ = jpeg_size(data[body:end])
            return Header("jpeg", width, height)
    raise MalformedError("there is no picture in the file")


def _png(data: FileView) -> Header:
    width = height = 0
    frames = 1
    for kind, _, body, end in png_chunks(data):
        if kind == b"IHDR":
            width, height, _, _ = png_header(data[body : min(end - 4, body + PNG_HEADER_BYTES + 1)])
        elif kind == b"acTL":  # an animation says so before its first pixels
            frames = max(int.from_bytes(data[body : body + 4]), 1)
        elif kind == b"IDAT":
            return Header("png", width, height, frames)
    raise MalformedError("there is no picture in the file")


def _gif(data: FileView) -> Header:
    width, height = gif_screen(data)
    frames = 0
    try:
        for label, start, _ in gif_blocks(data):
            if label is None:
                frames += 1
                _, _, right, bottom = gif_box(data, start)
                width, height = max(width, right), max(height, bottom)
            if frames > 1:
                break
    except MalformedError:
        if not frames:
            raise  # else the worker judges: a job may allow a missing trailer
    if not frames:
        raise MalformedError("there is no picture in the file")
    return Header("gif", width, height, frames)


def _webp(data: FileView) -> Header:
    size: tuple[int, int] | None = None
    frames = 0
    for kind, _, body, length, _ in webp_chunks(data):
        if kind in {b"VP8X", b"VP8L", b"VP8 "}:
            size = size or webp_size(kind, data[body : body + min(length, _WEBP_HEADER_BYTES)])
        frames += kind in {b"VP8L", b"VP8 ", b"ANMF"}
        if size and (frames > 1 or (frames and kind != b"ANMF")):
            break
    if size is None or not frames:
        raise MalformedError("there is no picture in the file")
    return Header("webp", *size, frames)


def _of_foreign(kind: str, data: FileView) -> Header:
    """Return the size if it is easily found; the worker reports what is broken."""
    read = {"BMP": _bmp_size, "TIFF": _tiff_size}.get(kind)
    with suppress(struct.error, MalformedError):
        if read is not None:
            return Header(kind, *read(data))
    return Header(kind)


def _bmp_size(data: FileView) -> tuple[int, int]:
    if int.from_bytes(data[14:18], "little") == _OLD_BMP_HEADER:
        width, height = struct.unpack("<HH", data[18:22])
    else:
        width, height = struct.unpack("<ii", data[18:26])
    return abs(width), abs(height)  # a negative height: rows from the top


def _tiff_size(data: FileView) -> tuple[int, int]:
    """Return the size of the first picture."""
    fields = tiff_fields(data, frozenset({_WIDTH, _HEIGHT}))
    width, height = (int(fields.get(tag, (0,))[0]) for tag in (_WIDTH, _HEIGHT))
    return width, height


_READERS: Final[Mapping[str, Callable[[FileView], Header]]] = {
    "jpeg": _jpeg,
    "png": _png,
    "gif": _gif,
    "webp": _webp,
}
