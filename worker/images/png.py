"""Reader of PNG containers (W3C PNG, third edition: chapter 5; colours by 4.3 and 11.3.2)."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field
from math import exp
from typing import TYPE_CHECKING, Final

from visionq.images.containers import (
    PNG_HEADER_BYTES,
    PNG_SIGNATURE_BYTES,
    MalformedError,
    png_chunks,
    png_header,
    read_orientation,
)
from worker.images.layout import MAX_PROFILE_BYTES, Cuts, Layout
from worker.images.profiles import BT709, D65, Primaries, gamma_curve, profile_of, srgb_curve

if TYPE_CHECKING:
    from collections.abc import Mapping

    from worker.images.profiles import Curve

_ONE: Final = 100_000
#: gAMA of files in sRGB, as writers round it: the curve meant is that of sRGB, not its exponent.
_SRGB_GAMMA: Final = range(45_000, 46_001)

_DCI_WHITE: Final = (0.314, 0.351)
_C_WHITE: Final = (0.310, 0.316)
_BT601_525: Final = Primaries((0.630, 0.340), (0.310, 0.595), (0.155, 0.070))
#: Code points of ITU-T H.273 for primaries and for curves.
_PRIMARIES: Final[Mapping[int, Primaries]] = {
    1: BT709,
    4: Primaries((0.67, 0.33), (0.21, 0.71), (0.14, 0.08), _C_WHITE),
    5: Primaries((0.64, 0.33), (0.29, 0.60), (0.15, 0.06)),
    6: _BT601_525,
    7: _BT601_525,
    9: Primaries((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
    11: Primaries((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), _DCI_WHITE),
    12: Primaries((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), D65),
}


def _video(sample: float) -> float:
    """Return the light of a sample in ITU-R BT.709."""
    if sample < 0.081:  # noqa: PLR2004  # where its two parts meet
        return sample / 4.5
    return float(((sample + 0.099) / 1.099) ** (1 / 0.45))


#: Light of diffuse white, of which the highlights beyond become white too (ITU-R BT.2408).
_WHITE_NITS: Final = 203.0


def _perceptual_quantizer(sample: float) -> float:
    """Return the light of a sample in SMPTE ST 2084."""
    power = sample ** (32 / 2523)
    light = max(power - 107 / 128, 0.0) / (2413 / 128 - 2392 / 128 * power)
    return float(10_000 * light ** (8192 / 1305) / _WHITE_NITS)


def _hybrid_log_gamma(sample: float) -> float:
    """Return the light of an ITU-R BT.2100 HLG sample at 1,000 nits."""
    scene = sample**2 / 3
    if sample > 0.5:  # noqa: PLR2004  # where its two parts meet
        scene = (exp((sample - 0.55991073) / 0.17883277) + 0.28466892) / 12
    return float(1000 * scene**1.2 / _WHITE_NITS)


_CURVES: Final[Mapping[int, Curve]] = {
    1: _video,
    4: gamma_curve(2.2),
    5: gamma_curve(2.8),
    6: _video,
    8: gamma_curve(1.0),
    13: srgb_curve,
    14: _video,
    15: _video,
    16: _perceptual_quantizer,
    18: _hybrid_log_gamma,
}


def hinted_profile(chunks: Mapping[bytes, bytes]) -> bytes | None:
    """Return the profile described by gAMA and cHRM, or cICP; None for sRGB.

    cICP goes before sRGB, and sRGB before gAMA and cHRM.
    """
    if (named := _coded(chunks.get(b"cICP", b""))) is not None:
        return named
    if b"sRGB" in chunks:
        return None
    primaries, curve = _chromaticities(chunks.get(b"cHRM", b"")), _gamma(chunks.get(b"gAMA", b""))
    if primaries is None and curve is None:
        return None
    return profile_of(primaries or BT709, [curve or srgb_curve])


def _coded(body: bytes) -> bytes | None:
    if len(body) < 2 or body[0] not in _PRIMARIES or body[1] not in _CURVES:  # noqa: PLR2004  # two codes
        return None
    return profile_of(_PRIMARIES[body[0]], [_CURVES[body[1]]])


def _gamma(body: bytes) -> Curve | None:
    gamma = int.from_bytes(body[:4])
    if not gamma or gamma in _SRGB_GAMMA:
        return None
    return gamma_curve(_ONE / gamma)


def _chromaticities(body: bytes) -> Primaries | None:
    try:
        numbers = [number / _ONE for number in struct.unpack_from(">8I", body)]
    except struct.error:
        return None
    white, red, green, blue = zip(numbers[::2], numbers[1::2], strict=True)
    return Primaries(red, green, blue, white)


_PLAIN_BITS: Final = 8
#: Colour types: grey and palette; grey or colour with alpha.
_ONE_BYTE_COLOURS: Final = frozenset({0, 3})
_RGB: Final = 2
_PALETTE: Final = 3
_ALPHA_COLOURS: Final = frozenset({4, 6})
#: What the picture is made of, and the hints on its colours that hold nothing else.
_PICTURE: Final = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS"})
_COLOUR_HINTS: Final = frozenset({b"sRGB", b"gAMA", b"cHRM", b"sBIT", b"bKGD", b"pHYs", b"cICP"})
_BEFORE_PIXELS: Final = (_PICTURE | _COLOUR_HINTS) - {b"IHDR", b"IDAT", b"IEND"}
#: Bytes of the longest of them, cHRM.
_LONGEST_HINT: Final = 32
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
class _Frame:
    width: int
    height: int
    pieces: list[bytes] = field(default_factory=list)


@dataclass
class _PngParts:
    #: Width, height, bits of a sample, colour type.
    header: tuple[int, int, int, int] | None = None
    has_palette_alpha: bool = False
    frames: int = 1
    frame_controls: int = 0
    has_pixels: bool = False
    #: Of an animation whose default picture is no frame: the first frame, and what goes before it.
    first_frame: _Frame | None = None
    preamble: list[bytes] = field(default_factory=list)
    orientation: int = 1
    profile: bytes | None = None
    hints: dict[bytes, bytes] = field(default_factory=dict)
    cuts: Cuts = field(default_factory=Cuts)


def read_png(data: bytes) -> Layout:
    """Walk the chunks to the end of the picture, checking each checksum that matters.

    Raises:
        MalformedError: cut off, a wrong checksum, or chunks that make no picture.
    """
    found = _PngParts()
    for kind, start, body, end in png_chunks(data, found.cuts.cut):
        if kind in _PICTURE or kind in _COLOUR_HINTS:
            _check_sum(data, kind, body, end)
        elif not kind[0] & _ANCILLARY_BIT:
            raise MalformedError(f"unknown critical chunk {kind!r}")
        else:
            found.cuts.cut(start, end, _NAMES.get(kind, kind.decode("latin-1")))
        _take(found, kind, data[body : end - 4] if kind != b"IDAT" else b"")
        if kind in _COLOUR_HINTS:
            found.hints.setdefault(kind, data[body : min(body + _LONGEST_HINT, end - 4)])
        if kind in _BEFORE_PIXELS and not found.has_pixels:
            found.preamble.append(data[start:end])
    if found.header is None or not found.has_pixels:
        raise MalformedError("there is no picture in the file")
    width, height, bits, colours = found.header
    frame = found.first_frame if found.first_frame and found.first_frame.pieces else None
    if frame is not None:
        width, height = frame.width, frame.height
    alpha = found.has_palette_alpha or colours in _ALPHA_COLOURS
    one_byte = colours in _ONE_BYTE_COLOURS
    hinted = None
    if found.profile is None or b"cICP" in found.hints:
        hinted = hinted_profile(found.hints)
    return Layout(
        width=width,
        height=height,
        # A default picture that is no frame is one more.
        frames=max(found.frames, found.frame_controls, 1) + (frame is not None),
        plain=bits <= _PLAIN_BITS and frame is None,
        lossless=True,
        content=found.cuts.apply(data) if frame is None else _alone(data, found, frame),
        stripped=found.cuts.names,
        orientation=found.orientation,
        profile=found.profile if hinted is None else hinted,
        tells_profile=hinted is not None,
        alpha=alpha,
        values=None if bits <= _PLAIN_BITS else (0, 2**bits - 1),
        notes=_notes(found, bits, colours),
        pixel_bytes=(1 if bits <= _PLAIN_BITS else 2) if one_byte else 4,
        # Palettes and alpha become RGBA, 16 bits pass through a copy; plain grey stays.
        convert_bytes=4 if alpha or colours == _PALETTE or (one_byte and bits > _PLAIN_BITS) else 0,
    )


def _alone(data: bytes, found: _PngParts, frame: _Frame) -> bytes:
    """Return the first frame of an animation as a still picture."""
    kind_at = PNG_SIGNATURE_BYTES + 4
    rest = data[kind_at + 12 : kind_at + 4 + PNG_HEADER_BYTES]
    return b"".join(
        (
            data[:PNG_SIGNATURE_BYTES],
            _chunk(b"IHDR", struct.pack(">II", frame.width, frame.height) + rest),
            *found.preamble,
            _chunk(b"IDAT", b"".join(frame.pieces)),
            _chunk(b"IEND", b""),
        )
    )


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _notes(found: _PngParts, bits: int, colours: int) -> tuple[str, ...]:
    if bits > _PLAIN_BITS and colours == _RGB and found.has_palette_alpha:
        return ("transparent pixels were found by the upper 8 of 16 bits of their colour",)
    return ()


def _check_sum(data: bytes, kind: bytes, body: int, end: int) -> None:
    (expected,) = struct.unpack_from(">I", data, end - 4)
    if zlib.crc32(memoryview(data)[body - 4 : end - 4]) != expected:
        raise MalformedError(f"wrong checksum in chunk {kind.decode('latin-1')}")


def _take(found: _PngParts, kind: bytes, body: bytes) -> None:
    if kind == b"IHDR":
        if found.header is not None:
            raise MalformedError("the file has more than one header")
        found.header = png_header(body)
    elif kind == b"tRNS":
        found.has_palette_alpha = True
    elif kind == b"IDAT":
        found.has_pixels = True
    elif kind == b"acTL" and len(body) >= 4:  # noqa: PLR2004  # the number of frames is 4 bytes
        (found.frames,) = struct.unpack_from(">I", body)
    elif kind == b"fcTL":
        found.frame_controls += 1
        _take_frame(found, body)
    elif kind == b"fdAT" and found.first_frame is not None and found.frame_controls == 1:
        found.first_frame.pieces.append(body[4:])
    elif kind == b"eXIf":
        found.orientation = read_orientation(body)
    elif kind == b"iCCP":
        found.profile = _inflate_profile(body)


def _take_frame(found: _PngParts, body: bytes) -> None:
    """Note the first frame if the default picture, which has been by then, is none."""
    if not found.has_pixels or found.frame_controls > 1 or found.header is None:
        return
    try:
        width, height = struct.unpack_from(">II", body, 4)
    except struct.error:
        raise MalformedError("the header of a frame is too short") from None
    if width > found.header[0] or height > found.header[1]:
        raise MalformedError("a frame is larger than the picture")
    found.first_frame = _Frame(width, height)


def _inflate_profile(body: bytes) -> bytes | None:
    """Return the profile of an iCCP chunk; None if broken or too large."""
    _, _, packed = body.partition(b"\0")
    stream = zlib.decompressobj()
    try:
        profile = stream.decompress(packed[1:], MAX_PROFILE_BYTES)
    except zlib.error:
        return None
    return profile if stream.eof else None
