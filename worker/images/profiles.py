"""Make ICC profiles for colours that a container describes by numbers.

These are where its primaries and its white lie (CIE x, y), and how much light samples stand for.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Vector = tuple[float, float, float]
    Matrix = tuple[Vector, Vector, Vector]
    #: From a sample to its light, both 0 to 1.
    Curve = Callable[[float], float]

Chromaticity = tuple[float, float]

D65: Final = (0.3127, 0.3290)
#: White of the space in which profiles are connected.
_D50: Final = (0.9642, 1.0, 0.8249)
_BRADFORD: Final = (
    (0.8951, 0.2664, -0.1614),
    (-0.7502, 1.7135, 0.0367),
    (0.0389, -0.0685, 1.0296),
)
_ENTRIES: Final = 4096
_LARGEST_ENTRY: Final = 2**16 - 1
_HEADER_BYTES: Final = 128
_LARGEST_GAMMA: Final = 10.0


@dataclass(frozen=True)
class Primaries:
    """Primaries and white point of a colour space."""

    red: Chromaticity
    green: Chromaticity
    blue: Chromaticity
    white: Chromaticity = D65


BT709: Final = Primaries((0.64, 0.33), (0.30, 0.60), (0.15, 0.06))


def srgb_curve(sample: float) -> float:
    """Return the light of a sample in sRGB."""
    if sample <= 0.04045:  # noqa: PLR2004  # where its two parts meet
        return sample / 12.92
    return float(((sample + 0.055) / 1.055) ** 2.4)


def gamma_curve(exponent: float) -> Curve:
    """Return a curve of one exponent; one that no file means is brought within reason."""
    exponent = min(max(exponent, 1 / _LARGEST_GAMMA), _LARGEST_GAMMA)
    return lambda sample: sample**exponent


def profile_of(primaries: Primaries, curves: Sequence[Curve]) -> bytes | None:
    """Return a profile with one curve, or one each for red, green and blue.

    None if the primaries span no space.
    """
    try:
        columns = _columns(primaries)
    except (ZeroDivisionError, OverflowError):
        return None
    if not all(-2 < value < 2 for column in columns for value in column):  # noqa: PLR2004  # absurd
        return None
    packed = [_curve(curve) for curve in curves]
    tags = {b"wtpt": _xyz(_D50)}
    tags |= {name: _xyz(column) for name, column in zip(_COLUMNS, columns, strict=True)}
    tags |= {name: packed[at % len(packed)] for at, name in enumerate(_CURVES)}
    return _profile(tags)


_COLUMNS: Final = (b"rXYZ", b"gXYZ", b"bXYZ")
_CURVES: Final = (b"rTRC", b"gTRC", b"bTRC")


def _columns(primaries: Primaries) -> Matrix:
    """Return red, green and blue of full strength in XYZ, adapted to D50."""
    white = _to_xyz(primaries.white)
    spanned = _transposed(tuple(map(_to_xyz, (primaries.red, primaries.green, primaries.blue))))
    strengths = _times(_inverse(spanned), white)
    there, here = _times(_BRADFORD, white), _times(_BRADFORD, _D50)
    scaled = tuple(
        tuple(entry * there_to_here for entry in row)
        for row, there_to_here in zip(
            _BRADFORD, (new / old for old, new in zip(there, here, strict=True)), strict=True
        )
    )
    adapted = _inverse(_BRADFORD)
    found = []
    for at, strength in enumerate(strengths):
        colour = tuple(row[at] * strength for row in spanned)
        found.append(_times(adapted, _times(scaled, colour)))
    return found[0], found[1], found[2]


def _to_xyz(at: Chromaticity) -> Vector:
    x, y = at
    return x / y, 1.0, (1 - x - y) / y


def _times(matrix: Sequence[Sequence[float]], vector: Sequence[float]) -> Vector:
    first, second, third = (
        sum(entry * value for entry, value in zip(row, vector, strict=True)) for row in matrix
    )
    return first, second, third


def _transposed(matrix: Sequence[Sequence[float]]) -> Matrix:
    first, second, third = zip(*matrix, strict=True)
    return first, second, third


def _inverse(matrix: Sequence[Sequence[float]]) -> Matrix:
    (a, b, c), (d, e, f), (g, h, i) = matrix
    scale = 1 / (a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g))
    return (
        ((e * i - f * h) * scale, (c * h - b * i) * scale, (b * f - c * e) * scale),
        ((f * g - d * i) * scale, (a * i - c * g) * scale, (c * d - a * f) * scale),
        ((d * h - e * g) * scale, (b * g - a * h) * scale, (a * e - b * d) * scale),
    )


def _xyz(value: Vector) -> bytes:
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(part * 2**16) for part in value))


def _curve(curve: Curve) -> bytes:
    lights = (curve(entry / (_ENTRIES - 1)) for entry in range(_ENTRIES))
    entries = (round(min(max(light, 0.0), 1.0) * _LARGEST_ENTRY) for light in lights)
    return b"curv\0\0\0\0" + struct.pack(f">I{_ENTRIES}H", _ENTRIES, *entries)


def _profile(tags: dict[bytes, bytes]) -> bytes:
    table, body = struct.pack(">I", len(tags)), b""
    start = _HEADER_BYTES + 4 + 12 * len(tags)
    for name, content in tags.items():
        table += struct.pack(">4sII", name, start + len(body), len(content))
        body += content
    header = struct.pack(
        ">I4xI4s4s4s12x4s28x3i48x",
        start + len(body),
        0x02400000,  # version 2.4
        b"mntr",
        b"RGB ",
        b"XYZ ",
        b"acsp",
        *(round(part * 2**16) for part in _D50),
    )
    return header + table + body
