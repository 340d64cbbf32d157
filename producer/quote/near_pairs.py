"""Find rows of a source whose pictures look alike, before anything is asked."""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heappush, heappushpop
from typing import TYPE_CHECKING, Final

from producer.thumbnails import small_copy
from visionq.images.perceptual_hash import COLOURS, GREYS, HashIndex, perceptual_hash
from visionq.submission import is_data_url

if TYPE_CHECKING:
    from producer.sources import Row
    from visionq.images.perceptual_hash import PerceptualHash

#: Pixels to which a picture is reduced first, as workers do it.
_SIDE: Final = 384
_MEANS: Final = (GREYS[0] * COLOURS[0], GREYS[1] * COLOURS[1])
#: Pictures that are decoded: each takes milliseconds.
MOST_LOOKED_AT: Final = 20_000
#: Pairs that are kept to be shown: the least alike.
_MOST_PAIRS: Final = 12


@dataclass(frozen=True, slots=True, order=True)
class NearPair:
    """A row that would get the answer of another, and how far their pictures are apart."""

    distance: int
    id: str
    file: str
    #: The row that is asked, and its picture.
    source_id: str
    source_file: str


def hash_of_file(image: str) -> PerceptualHash | None:
    """Return the hash of a file; None: too plain, or not decoded."""
    small = small_copy(image, _SIDE)
    if small is None:
        return None
    from PIL import Image  # noqa: PLC0415  # optional: `small_copy` had it

    means = small.resize(_MEANS, Image.Resampling.BOX)
    greys = means.convert("L").resize(GREYS, Image.Resampling.BOX)
    return perceptual_hash(greys.tobytes(), means.resize(COLOURS, Image.Resampling.BOX).tobytes())


class NearFinder:
    """Counts the rows whose picture looks like that of an earlier one with the same question."""

    def __init__(self) -> None:
        self.found = 0
        #: Rows whose picture was not compared.
        self.left_out = 0
        #: Hashes of the files that were decoded: several rows may ask about the same one.
        self._hashes: dict[str, PerceptualHash | None] = {}
        self._asked: dict[str, tuple[HashIndex, list[tuple[str, str]]]] = {}
        self._pairs: list[NearPair] = []

    @property
    def pairs(self) -> list[NearPair]:
        """The pairs that are least alike, the farthest first."""
        return sorted(self._pairs, reverse=True)

    def is_near(self, question: str, row: Row, most: int) -> bool:
        """Return whether the row gets the answer of an earlier one."""
        image, *others = row.images
        own = None if others else self._hash_of(image)
        if own is None:
            self.left_out += 1
            return False
        index, sources = self._asked.setdefault(question, (HashIndex(), []))
        found = index.near(own, most)
        if not found:
            index.add(own)
            sources.append((row.id, image))
            return False
        distance, place = found[0]
        self.found += 1
        pair = NearPair(distance, row.id, image, *sources[place])
        keep = heappush if len(self._pairs) < _MOST_PAIRS else heappushpop
        keep(self._pairs, pair)
        return True

    def _hash_of(self, image: str) -> PerceptualHash | None:
        if "://" in image or is_data_url(image):
            return None
        if image not in self._hashes and len(self._hashes) < MOST_LOOKED_AT:
            self._hashes[image] = hash_of_file(image)
        return self._hashes.get(image)
