"""Read how a TIFF stores its samples, where Pillow does not tell enough."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from visionq.images.containers import UnsupportedVariantError, tiff_fields

_UNSIGNED: Final = 1
_SIGNED: Final = 2
_FLOAT: Final = 3
_WHITE_IS_ZERO: Final = 0
_YCBCR: Final = 6
_LAB: Final = 8
_UNCOMPRESSED: Final = 1
_IN_PLANES: Final = 2
_BYTE_BITS: Final = 8
_WORD_BITS: Final = 32

# Tags.
_BITS: Final = 258
_COMPRESSION: Final = 259
_PHOTOMETRIC: Final = 262
_FILL_ORDER: Final = 266
_CHANNELS: Final = 277
_PLANAR: Final = 284
_SAMPLE_FORMAT: Final = 339
_SUBSAMPLING: Final = 530
#: Smallest and largest value: of any sample format, and of unsigned ones.
_RANGES: Final = ((340, 341), (280, 281))
_WANTED: Final = frozenset(
    {_BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER, _CHANNELS, _PLANAR, _SAMPLE_FORMAT}
) | {_SUBSAMPLING, *(tag for pair in _RANGES for tag in pair)}
_FORMAT_NAMES: Final = {_UNSIGNED: "unsigned", _SIGNED: "signed", _FLOAT: "floating-point"}
_COLOUR_NAMES: Final = {
    0: "grey",
    1: "grey",
    2: "RGB",
    3: "palette",
    4: "mask",
    5: "CMYK",
    6: "YCbCr",
    8: "Lab",
    9: "Lab",
    10: "Lab",
    32803: "raw camera",
    34892: "raw camera",
}


@dataclass(frozen=True)
class Samples:
    """The samples, as the first directory of a file describes them."""

    big_endian: bool
    bits: tuple[int, ...]
    sample_format: int
    channels: int
    photometric: int
    compression: int
    in_planes: bool
    reversed_bits: bool
    subsampled: bool
    #: The values that the file itself calls its least and its largest.
    declared: tuple[float, float] | None

    def __str__(self) -> str:
        """Name the variant for people."""
        kind = _FORMAT_NAMES.get(self.sample_format, "undefined")
        colours = _COLOUR_NAMES.get(self.photometric, f"photometric {self.photometric}")
        channels = "1 channel" if self.channels == 1 else f"{self.channels} channels"
        ways = [f"{self.bits[0]}-bit {kind} {colours} TIFF of {channels}"]
        ways += ["in planes"] * self.in_planes
        ways += ["big-endian"] * self.big_endian
        ways += [f"compression {self.compression}"] * (self.compression != _UNCOMPRESSED)
        return ", ".join(ways)

    def values(self) -> tuple[float, float] | None:
        """Return the values of black and white; None: 8 bits, or unknown.

        Raises:
            UnsupportedVariantError: the decoder would read these samples wrongly.
        """
        if self._read_wrongly():
            raise UnsupportedVariantError(str(self))
        bits = self.bits[0]
        if self.channels > 1 or bits <= _BYTE_BITS:
            return None
        black, white = self._range(bits)
        return (white, black) if self.photometric == _WHITE_IS_ZERO else (black, white)

    def _range(self, bits: int) -> tuple[float, float]:
        if self.declared is not None:
            return self.declared
        if self.sample_format == _SIGNED:
            return -(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1
        return (0.0, 1.0) if self.sample_format == _FLOAT else (0.0, 2.0**bits - 1)

    def _read_wrongly(self) -> bool:
        compressed = self.compression != _UNCOMPRESSED
        several = self.channels > 1
        return (
            (self.sample_format == _SIGNED and self.bits[0] <= _BYTE_BITS)
            or (self.sample_format != _UNSIGNED and self.big_endian and compressed)
            or (several and self.in_planes and not compressed and self._unusual_bits())
            or (self.photometric == _YCBCR and self.subsampled and not compressed)
            or (self._is_inverted_byte() and self.reversed_bits and not compressed)
            or self.photometric == _LAB
            # Pillow reads these as signed; the upper half can't be told from values below zero.
            or (self.sample_format == _UNSIGNED and self.bits[0] == _WORD_BITS and self._is_cut())
        )

    def _unusual_bits(self) -> bool:
        return self.bits[0] != _BYTE_BITS or self.reversed_bits

    def _is_inverted_byte(self) -> bool:
        return self.photometric == _WHITE_IS_ZERO and self.bits[0] == _BYTE_BITS

    def _is_cut(self) -> bool:
        return self.declared is not None and self.declared[1] >= 2 ** (_WORD_BITS - 1)


def read_samples(data: bytes) -> Samples:
    """Read the first directory, and of it no more than is needed here.

    Raises:
        MalformedError: there is no directory to be read.
    """
    fields = tiff_fields(data, _WANTED)
    formats = fields.get(_SAMPLE_FORMAT, (_UNSIGNED,))
    bits = fields.get(_BITS, (1,))
    return Samples(
        big_endian=data.startswith(b"MM"),
        bits=tuple(int(count) for count in bits),
        sample_format=int(formats[0]) if len(set(formats)) == 1 else 0,
        channels=int(fields.get(_CHANNELS, (len(bits),))[0]),
        photometric=int(fields.get(_PHOTOMETRIC, (_WHITE_IS_ZERO,))[0]),
        compression=int(fields.get(_COMPRESSION, (_UNCOMPRESSED,))[0]),
        in_planes=fields.get(_PLANAR, (1,))[0] == _IN_PLANES,
        reversed_bits=fields.get(_FILL_ORDER, (1,))[0] == 2,  # noqa: PLR2004  # lowest bit first
        subsampled=fields.get(_SUBSAMPLING, (2, 2))[:2] != (1, 1),
        declared=_declared(fields),
    )


def _declared(fields: dict[int, tuple[float, ...]]) -> tuple[float, float] | None:
    for least, largest in _RANGES:
        if largest in fields:
            low, high = fields.get(least, (0,))[0], fields[largest][0]
            if low < high < float("inf"):
                return float(low), float(high)
    return None
