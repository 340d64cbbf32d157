"""Headers of formats to convert (BMP, TIFF, AVIF, HEIC), as Pillow reads them.

These containers have no reader of our own, so none of these pictures is passed through: encoding
drops everything but the pixels.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from PIL import Image

from visionq.errors import TooManyPixels
from visionq.images.containers import MalformedError, UnsupportedVariantError, read_orientation
from worker.images.decode import TimedFile, plugin, raise_ceiling, taming
from worker.images.layout import MAX_PROFILE_BYTES, Layout
from worker.images.profiles import BT709, Primaries, gamma_curve, profile_of
from worker.images.tiff import read_samples

if TYPE_CHECKING:
    from worker.images.layout import ImageLimits

#: Where the header begins that is counted from, behind that of the file.
_BMP_HEADER: Final = 14
_OS2_BYTES: Final = 12
_V4_BYTES: Final = 108
_V5_BYTES: Final = 124
_BMP_CALIBRATED: Final = b"\0\0\0\0"
_BMP_EMBEDDED: Final = b"DEBM"
_COMPRESSIONS: Final = {1: "RLE8", 2: "RLE4", 3: "bit fields", 4: "JPEG", 5: "PNG"}
_GAMMA_ONE: Final = 2**16


def _bmp_variant(data: bytes) -> str:
    """Return the usual name of the variant.

    Raises:
        MalformedError: the header is cut off.
    """
    try:
        (header,) = struct.unpack_from("<I", data, _BMP_HEADER)
        if header == _OS2_BYTES:
            (bits,), compression = struct.unpack_from("<H", data, _BMP_HEADER + 10), 0
        else:
            bits, compression = struct.unpack_from("<HI", data, _BMP_HEADER + 14)
    except struct.error:
        raise MalformedError("the header is cut off") from None
    if len(data) < _BMP_HEADER + header:
        raise MalformedError("the header is cut off")
    if not compression:
        return f"{bits}-bit BMP"
    return f"{bits}-bit BMP, compression {_COMPRESSIONS.get(compression, compression)}"


def _bmp_profile(data: bytes) -> bytes | None:
    """Return the profile in a header of version 4 or 5; None: sRGB."""
    try:
        (header,) = struct.unpack_from("<I", data, _BMP_HEADER)
        if header < _V4_BYTES:
            return None
        kind = data[_BMP_HEADER + 56 : _BMP_HEADER + 60]
        if kind == _BMP_CALIBRATED:
            return _calibrated_profile(data)
        if kind != _BMP_EMBEDDED or header < _V5_BYTES:
            return None
        offset, size = struct.unpack_from("<II", data, _BMP_HEADER + 112)
    except struct.error:
        return None
    profile = data[_BMP_HEADER + offset :][: min(size, MAX_PROFILE_BYTES)]
    return profile if profile and len(profile) == size else None


def _calibrated_profile(data: bytes) -> bytes | None:
    points = struct.unpack_from("<9I", data, _BMP_HEADER + 60)
    gammas = struct.unpack_from("<3I", data, _BMP_HEADER + 96)
    if not all(gammas):
        return None
    primaries = BT709
    sums = [sum(points[at : at + 3]) for at in (0, 3, 6)]
    if all(sums):
        red, green, blue = (
            (points[3 * at] / whole, points[3 * at + 1] / whole) for at, whole in enumerate(sums)
        )
        primaries = Primaries(red, green, blue)
    return profile_of(primaries, [gamma_curve(gamma / _GAMMA_ONE) for gamma in gammas])


#: AVIF: the frame as YUV and as RGB beside the picture; TIFF: a strip may be all of it.
_HELD_BYTES_A_PIXEL: Final = 8


def read_foreign(data: bytes, kind: str, *, name: str, limits: ImageLimits) -> Layout:
    """Read the header of a BMP, TIFF, AVIF or HEIC; decode nothing.

    Raises:
        CorruptImage, TooManyPixels: the header can't be read, or tells of too many pixels.
        UnsupportedFormat: a variant that is not read, or would be read wrongly; it is named.
    """
    raise_ceiling(limits.max_pixels)
    with taming(name):
        values = read_samples(data).values() if kind == "tiff" else None
        picture = _open(data, kind, limits)
        width, height = picture.size
        if width * height > limits.max_pixels:  # before anything asks for the frames
            message = f"{width}x{height} is more than {limits.max_pixels:,} pixels; scale it down"
            raise TooManyPixels(message, image=name)
        profile = _bmp_profile(data) if kind == "bmp" else picture.info.get("icc_profile")
        return Layout(
            width=width,
            height=height,
            frames=getattr(picture, "n_frames", 1),
            plain=False,
            lossless=kind not in {"avif", "heic"},
            content=data,
            # TIFF and HEIC are turned upright when they are opened, and give their size so. Of an
            # AVIF Pillow tells what the container says as if it were EXIF; XMP says nothing of how
            # a picture is shown.
            orientation=read_orientation(picture.info.get("exif", b"")) if kind == "avif" else 1,
            profile=profile,
            alpha=picture.has_transparency_data,
            values=values,
            convert_bytes=4,
            held_bytes=_HELD_BYTES_A_PIXEL * width * height,
        )


def _open(data: bytes, kind: str, limits: ImageLimits) -> Image.Image:
    """Open a picture; name a variant that Pillow does not read by its header."""
    try:
        return Image.open(TimedFile(data, limits.max_seconds), formats=(plugin(kind),))
    except (OSError, KeyError):  # no such variant, depth or compression
        if kind not in {"bmp", "tiff"}:
            raise
    variant = _bmp_variant(data) if kind == "bmp" else str(read_samples(data))
    raise UnsupportedVariantError(variant)
