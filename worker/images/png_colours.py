"""What the chunks of a PNG say of its colours, as an ICC profile (W3C PNG, 4.3 and 11.3.2)."""

from __future__ import annotations

import struct
from math import exp
from typing import TYPE_CHECKING, Final

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
    """Return the light of a sample in ITU-R BT.2100 HLG, on a display of 1,000 nits."""
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
    """Return the profile that gAMA and cHRM, or cICP, stand for; None if they tell of sRGB alone.

    cICP goes before sRGB, and sRGB before gAMA and cHRM.
    """
    if (named := _named(chunks.get(b"cICP", b""))) is not None:
        return named
    if b"sRGB" in chunks:
        return None
    primaries, curve = _primaries(chunks.get(b"cHRM", b"")), _gamma(chunks.get(b"gAMA", b""))
    if primaries is None and curve is None:
        return None
    return profile_of(primaries or BT709, [curve or srgb_curve])


def _named(body: bytes) -> bytes | None:
    if len(body) < 2 or body[0] not in _PRIMARIES or body[1] not in _CURVES:  # noqa: PLR2004  # two codes
        return None
    return profile_of(_PRIMARIES[body[0]], [_CURVES[body[1]]])


def _gamma(body: bytes) -> Curve | None:
    gamma = int.from_bytes(body[:4])
    if not gamma or gamma in _SRGB_GAMMA:
        return None
    return gamma_curve(_ONE / gamma)


def _primaries(body: bytes) -> Primaries | None:
    try:
        numbers = [number / _ONE for number in struct.unpack_from(">8I", body)]
    except struct.error:
        return None
    white, red, green, blue = zip(numbers[::2], numbers[1::2], strict=True)
    return Primaries(red, green, blue, white)
