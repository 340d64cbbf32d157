"""What the header of a BMP tells beside the pixels: its variant, and the profile of its colours."""

from __future__ import annotations

import struct
from typing import Final

from worker.images.layout import MAX_PROFILE_BYTES, MalformedError
from worker.images.profiles import BT709, Primaries, gamma_curve, profile_of

#: Where the header begins that is counted from, behind that of the file.
_HEADER: Final = 14
_OS2_BYTES: Final = 12
_V4_BYTES: Final = 108
_V5_BYTES: Final = 124
_CALIBRATED: Final = b"\0\0\0\0"
_EMBEDDED: Final = b"DEBM"
_COMPRESSIONS: Final = {1: "RLE8", 2: "RLE4", 3: "bit fields", 4: "JPEG", 5: "PNG"}
_GAMMA_ONE: Final = 2**16


def name_variant(data: bytes) -> str:
    """Return what people call the variant.

    Raises:
        MalformedError: the header is cut off.
    """
    try:
        (header,) = struct.unpack_from("<I", data, _HEADER)
        if header == _OS2_BYTES:
            (bits,), compression = struct.unpack_from("<H", data, _HEADER + 10), 0
        else:
            bits, compression = struct.unpack_from("<HI", data, _HEADER + 14)
    except struct.error:
        raise MalformedError("the header is cut off") from None
    if len(data) < _HEADER + header:
        raise MalformedError("the header is cut off")
    if not compression:
        return f"{bits}-bit BMP"
    return f"{bits}-bit BMP, compression {_COMPRESSIONS.get(compression, compression)}"


def read_profile(data: bytes) -> bytes | None:
    """Return the profile that a header of version 4 or 5 holds or describes; None: sRGB."""
    try:
        (header,) = struct.unpack_from("<I", data, _HEADER)
        if header < _V4_BYTES:
            return None
        kind = data[_HEADER + 56 : _HEADER + 60]
        if kind == _CALIBRATED:
            return _calibrated(data)
        if kind != _EMBEDDED or header < _V5_BYTES:
            return None
        offset, size = struct.unpack_from("<II", data, _HEADER + 112)
    except struct.error:
        return None
    profile = data[_HEADER + offset :][: min(size, MAX_PROFILE_BYTES)]
    return profile if profile and len(profile) == size else None


def _calibrated(data: bytes) -> bytes | None:
    points = struct.unpack_from("<9I", data, _HEADER + 60)
    gammas = struct.unpack_from("<3I", data, _HEADER + 96)
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
