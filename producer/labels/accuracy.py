"""How well boxes match those that people drew: precision, recall and IoU by label."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from producer.labels.boxes import Box, LabelledPicture
from visionq.errors import RecordRefused

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

#: The usual least IoU of a match (PASCAL VOC).
MATCH = 0.5


@dataclass(slots=True)
class LabelAccuracy:
    """Counts of one label."""

    found: int = 0
    drawn: int = 0
    overlaps: list[float] = field(default_factory=list)

    @property
    def precision(self) -> float | None:
        """Share of the model's boxes that match; None without any."""
        return len(self.overlaps) / self.found if self.found else None

    @property
    def recall(self) -> float | None:
        """Share of the drawn boxes that are matched; None without any."""
        return len(self.overlaps) / self.drawn if self.drawn else None

    @property
    def overlap(self) -> float | None:
        """Mean IoU of the matches; None without any."""
        return sum(self.overlaps) / len(self.overlaps) if self.overlaps else None


def accuracy(
    pictures: Iterable[LabelledPicture], drawn: Mapping[str, list[Box]]
) -> dict[str, LabelAccuracy]:
    """Return label → counts over the pictures that people labelled, by file name."""
    counts: dict[str, LabelAccuracy] = defaultdict(LabelAccuracy)
    # Case makes no other label; people's spelling is shown.
    spelt = {box.label.casefold(): box.label for boxes in drawn.values() for box in boxes}

    def of(box: Box) -> LabelAccuracy:
        return counts[spelt.setdefault(box.label.casefold(), box.label)]

    for file, ours in _by_file(pictures).items():
        if file not in drawn:
            continue
        for box in ours:
            of(box).found += 1
        for box in drawn[file]:
            of(box).drawn += 1
        for box, overlap in _matches(ours, drawn[file]):
            of(box).overlaps.append(overlap)
    return dict(sorted(counts.items()))


def _by_file(pictures: Iterable[LabelledPicture]) -> dict[str, list[Box]]:
    """Return the boxes of each file; several rows may ask about one."""
    found: dict[str, dict[Box, None]] = defaultdict(dict)
    for picture in pictures:
        found[picture.file].update(dict.fromkeys(picture.boxes))
    return {file: list(boxes) for file, boxes in found.items()}


def _matches(ours: Iterable[Box], theirs: list[Box]) -> Iterable[tuple[Box, float]]:
    """Pair boxes of one label, the largest overlap first, each box once."""
    pairs = [
        (one.overlap(other), one, place)
        for one in ours
        for place, other in enumerate(theirs)
        if one.label.casefold() == other.label.casefold()
    ]
    used: set[Box] = set()
    taken: set[int] = set()
    for overlap, one, place in sorted(pairs, key=lambda pair: -pair[0]):
        if overlap >= MATCH and one not in used and place not in taken:
            used.add(one)
            taken.add(place)
            yield theirs[place], overlap


def read_coco(path: Path) -> dict[str, list[Box]]:
    """Return file name → boxes of a COCO file, empty for a picture without boxes.

    Raises:
        RecordRefused: it is not COCO.
    """
    try:
        document: Any = json.loads(path.read_bytes())
        names = {one["id"]: str(one["file_name"]) for one in document["images"]}
        labels = {one["id"]: str(one["name"]) for one in document["categories"]}
        drawn: dict[str, list[Box]] = {name: [] for name in names.values()}
        for one in document["annotations"]:
            x, y, width, height = map(float, one["bbox"])
            box = Box(labels[one["category_id"]], x, y, x + width, y + height)
            drawn[names[one["image_id"]]].append(box)
    except OSError as error:
        raise RecordRefused(f"{path}: can't be read: {error.strerror}") from None
    except (ArithmeticError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise RecordRefused(f"{path}: this is not COCO: {error!r}") from None
    return drawn
