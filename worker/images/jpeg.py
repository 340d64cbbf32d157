"""Reader of JPEG containers (ITU T.81, annex B)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from visionq.images.containers import (
    FRAMES,
    SCAN,
    MalformedError,
    jpeg_segments,
    jpeg_size,
    read_orientation,
)
from worker.images.layout import MAX_PROFILE_BYTES, Cuts, Layout

_APP0: Final = 0xE0
_APP14: Final = 0xEE
_APP15: Final = 0xEF
_COM: Final = 0xFE
#: Baseline, extended and progressive Huffman: what every decoder reads.
_COMMON_FRAMES: Final = frozenset({0xC0, 0xC1, 0xC2})
_PROGRESSIVE_FRAMES: Final = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
_COEFFICIENT_BYTES: Final = 2
_PLAIN_COMPONENTS: Final = (1, 3)

#: Scans of a progressive file; encoders write about ten, and each costs a pass over the picture.
_MAX_SCANS: Final = 64
#: Pixels of all scans together; a nanosecond each, even where a scan holds nothing.
_MAX_SCANNED_PIXELS: Final = 1_600_000_000

_NAMES: Final = (
    (b"Exif\0", "EXIF"),
    (b"http://ns.adobe.com/", "XMP"),
    (b"ICC_PROFILE\0", "ICC"),
    (b"MPF\0", "further pictures"),
)


@dataclass
class _JpegParts:
    size: tuple[int, int] | None = None
    plain: bool = False
    progressive: bool = False
    #: Samples for each pixel, all components together.
    samples: float = 0
    scans: int = 0
    orientation: int = 1
    profile_parts: dict[int, bytes] = field(default_factory=dict)
    cuts: Cuts = field(default_factory=Cuts)


def read_jpeg(data: bytes) -> Layout:
    """Walk the segments up to the end of the first picture.

    Raises:
        MalformedError: cut off, without a frame, or with an implausible number of parts.
        UnsupportedVariantError: more than 8 bits for each sample.
    """
    found = _JpegParts()
    for marker, start, body, end in jpeg_segments(data, found.cuts.cut):
        _take(found, marker, data[body:end])
        if (name := _stripped_name(marker, data[body:end])) is not None:
            found.cuts.cut(start, end, name)
    if found.size is None or not found.scans:
        raise MalformedError("there is no picture in the file")
    width, height = found.size
    if found.scans > 1 and found.scans * width * height > _MAX_SCANNED_PIXELS:
        raise MalformedError("the file has an implausible number of scans for its size")
    return Layout(
        width=width,
        height=height,
        frames=1,
        plain=found.plain,
        lossless=False,
        content=found.cuts.apply(data),
        stripped=found.cuts.names,
        orientation=found.orientation,
        profile=_join_profile(found.profile_parts),
        held_bytes=_coefficient_bytes(found, width * height),
    )


def _coefficient_bytes(found: _JpegParts, pixels: int) -> int:
    """Return the bytes held until the last scan: 2 for each sample."""
    in_pieces = found.progressive or found.scans > 1
    return int(_COEFFICIENT_BYTES * found.samples * pixels) if in_pieces else 0


def _take(found: _JpegParts, marker: int, body: bytes) -> None:
    if marker in FRAMES:
        _take_frame(found, marker, body)
    elif marker == SCAN:
        found.scans += 1
        if found.scans > _MAX_SCANS:
            raise MalformedError("the file has an implausible number of scans")
    elif body.startswith(b"Exif\0\0") and found.orientation == 1:
        found.orientation = read_orientation(body)
    elif body.startswith(b"ICC_PROFILE\0"):
        number, part = body[12:13], body[14:]
        found.profile_parts.setdefault(number[0] if number else 0, part)


def _take_frame(found: _JpegParts, marker: int, body: bytes) -> None:
    if found.size is not None:
        raise MalformedError("the file has more than one frame header")
    width, height, components = jpeg_size(body)
    found.size = (width, height)
    found.plain = marker in _COMMON_FRAMES and components in _PLAIN_COMPONENTS
    found.progressive = marker in _PROGRESSIVE_FRAMES
    factors = [(byte >> 4, byte & 15) for byte in body[7 : 6 + 3 * components : 3]]
    most = max((across for across, _ in factors), default=0) * max(
        (down for _, down in factors), default=0
    )
    found.samples = sum(across * down for across, down in factors) / max(most, 1)


def _stripped_name(marker: int, body: bytes) -> str | None:
    """Return the usual name of a segment that is not picture data."""
    if marker == _COM:
        return "comment"
    if not _APP0 <= marker <= _APP15:
        return None
    if (marker == _APP0 and body.startswith(b"JFIF\0")) or (
        marker == _APP14 and body.startswith(b"Adobe")
    ):
        return None  # these two say how to read the colours
    named = (name for prefix, name in _NAMES if body.startswith(prefix))
    return next(named, f"APP{marker - _APP0}")


def _join_profile(parts: dict[int, bytes]) -> bytes | None:
    profile = b"".join(part for _, part in sorted(parts.items()))
    return profile if 0 < len(profile) <= MAX_PROFILE_BYTES else None
