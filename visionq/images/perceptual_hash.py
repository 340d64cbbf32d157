"""Perceptual hashes: which pictures look alike."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

#: Width and height of the greys and of the colours that a picture is reduced to.
GREYS: Final = (9, 8)
COLOURS: Final = (4, 4)
BITS: Final = 64
#: Levels, of 255, by which a part of two pictures that are alike may differ in a colour.
_MOST_COLOUR: Final = 24
#: A plain picture has fewer steps between neighbours than this, or hardly any in one direction:
#: its hash is that of any other plain picture.
_STEP: Final = 4
_LEAST_STEPS: Final = 16
_LEAST_BITS: Final = 4


@dataclass(frozen=True, slots=True)
class PerceptualHash:
    """A difference hash (dHash) of the brightness, and the colours of sixteen parts."""

    bits: int
    #: Red, green and blue of each part, row by row.
    colours: bytes

    def distance(self, other: PerceptualHash) -> int | None:
        """Return how many bits differ; None: the colours differ."""
        pairs = zip(self.colours, other.colours, strict=True)
        if any(abs(one - another) > _MOST_COLOUR for one, another in pairs):
            return None
        return (self.bits ^ other.bits).bit_count()


def perceptual_hash(greys: bytes, colours: bytes) -> PerceptualHash | None:
    """Return the hash of a picture reduced to `GREYS` and to `COLOURS` in RGB.

    None: it is too plain to be told from others.
    """
    width, height = GREYS
    bits = steps = 0
    for start in range(0, width * height, width):
        row = greys[start : start + width]
        for left, right in pairwise(row):
            bits = bits << 1 | (right > left)
            steps += abs(right - left) >= _STEP
    if steps < _LEAST_STEPS or not _LEAST_BITS <= bits.bit_count() <= BITS - _LEAST_BITS:
        return None
    return PerceptualHash(bits, colours)


class HashIndex:
    """Hashes in the order in which they were added, to be searched for those that are near."""

    def __init__(self) -> None:
        self._bits: list[int] = []
        self._hashes: list[PerceptualHash] = []

    def __len__(self) -> int:
        return len(self._bits)

    def add(self, one: PerceptualHash) -> None:
        """Add a hash; its place is the count of those before."""
        self._bits.append(one.bits)
        self._hashes.append(one)

    def near(self, wanted: PerceptualHash, most: int) -> list[tuple[int, int]]:
        """Return distance and place of those within `most` bits, the nearest first."""
        bits = wanted.bits
        alike = [n for n, own in enumerate(self._bits) if (own ^ bits).bit_count() <= most]
        found = ((wanted.distance(self._hashes[place]), place) for place in alike)
        return sorted((distance, place) for distance, place in found if distance is not None)
