"""Reader of WEBP containers (RFC 9649)."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Final

from visionq.images.containers import (
    WEBP_FIRST_CHUNK,
    MalformedError,
    read_orientation,
    webp_chunks,
    webp_size,
)
from worker.images.layout import MAX_PROFILE_BYTES, Cuts, Layout

_FLAGS_OFFSET: Final = 20
#: Bytes of a chunk in which its size is.
_SIZE_BYTES: Final = 10
_NAMES: Final = {b"EXIF": "EXIF", b"XMP ": "XMP", b"ICCP": "ICC"}
_PICTURE: Final = frozenset({b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF"})
#: Bits of the VP8X flags: profile, EXIF and XMP are announced there.
_METADATA_FLAGS: Final = 0x20 | 0x08 | 0x04
_ALPHA_FLAG: Final = 0x10
_ALPHA_OFFSET: Final = 4
_LOSSLESS_ALPHA: Final = 0x10
#: For a pixel: in RGBA, cut out and put on a clear canvas.
_ON_CANVAS_BYTES: Final = 12


@dataclass
class _WebpParts:
    size: tuple[int, int] | None = None
    frames: int = 0
    animated: bool = False
    lossless: bool = False
    extended: bool = False
    alpha: bool = False
    first: tuple[int, int, int, int] | None = None
    orientation: int = 1
    profile: bytes | None = None
    cuts: Cuts = field(default_factory=Cuts)


def read_webp(data: bytes) -> Layout:
    """Walk the chunks of the RIFF container.

    Raises:
        MalformedError: cut off, or chunks that make no picture.
    """
    found = _WebpParts()
    for kind, start, body, length, end in webp_chunks(data, found.cuts.cut):
        if kind not in _PICTURE:
            found.cuts.cut(start, end, _NAMES.get(kind, "unknown chunk"))
        _take(found, kind, data, body, length)
    if found.size is None or not found.frames:
        raise MalformedError("there is no picture in the file")
    width, height = found.size
    content = found.cuts.apply(data)
    is_whole = found.first in {None, (0, 0, width, height)}
    alpha = found.alpha or not is_whole
    return Layout(
        width=width,
        height=height,
        frames=found.frames,
        plain=not found.animated,
        lossless=found.lossless,
        content=content if content is data else _repair_header(content, extended=found.extended),
        stripped=found.cuts.names,
        orientation=found.orientation,
        profile=found.profile,
        alpha=alpha,
        frame=None if is_whole else found.first,
        convert_bytes=(4 if alpha else 0) if is_whole else _ON_CANVAS_BYTES,
        # Pillow's decoder keeps two frames and a copy beside the picture.
        held_bytes=12 * width * height,
    )


def _take(found: _WebpParts, kind: bytes, data: bytes, body: int, length: int) -> None:
    try:
        if kind in {b"VP8 ", b"VP8L"}:
            found.frames += 1
            found.lossless = kind == b"VP8L"
            # A lossless stream announces alpha in the byte behind its sizes.
            found.alpha |= (
                found.lossless
                and length > _ALPHA_OFFSET
                and bool(data[body + _ALPHA_OFFSET] & _LOSSLESS_ALPHA)
            )
            found.size = found.size or webp_size(kind, data[body : body + _SIZE_BYTES])
        elif kind == b"VP8X":
            found.extended = True
            found.alpha |= length > 0 and bool(data[body] & _ALPHA_FLAG)
            found.size = found.size or webp_size(kind, data[body : body + _SIZE_BYTES])
        elif kind == b"ANMF":
            found.animated = True
            found.frames += 1
            found.first = found.first or _box(data, body)
        elif kind == b"EXIF":
            found.orientation = read_orientation(data[body : body + length])
        elif kind == b"ICCP" and length <= MAX_PROFILE_BYTES:
            found.profile = data[body : body + length]
    except struct.error:
        raise MalformedError("the header of the picture is too short") from None


def _box(data: bytes, body: int) -> tuple[int, int, int, int]:
    """Return left, top, right and bottom of a frame."""
    numbers = struct.unpack_from("<HBHBHBHB", data, body)
    left, top, width, height = (
        low + (high << 16) for low, high in zip(numbers[::2], numbers[1::2], strict=True)
    )
    return 2 * left, 2 * top, 2 * left + width + 1, 2 * top + height + 1


def _repair_header(content: bytes, *, extended: bool) -> bytes:
    """Return the container with its size, and its list of contents, as they are now."""
    head = bytearray(content[: _FLAGS_OFFSET + 1])
    struct.pack_into("<I", head, 4, len(content) - 8)
    if extended and head[WEBP_FIRST_CHUNK : WEBP_FIRST_CHUNK + 4] == b"VP8X":
        head[_FLAGS_OFFSET] &= ~_METADATA_FLAGS & 0xFF
    return b"".join((head, memoryview(content)[len(head) :]))
