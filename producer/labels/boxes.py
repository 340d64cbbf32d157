"""Boxes of answers: thousandths of the upright picture's sides, checked and turned into pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from producer.thumbnails import PILLOW_FAULTS
from visionq.errors import RecordRefused
from visionq.installation import install_command

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

_WHOLE: Final = 1000
#: Field of an answer without any box.
_USUAL: Final = "boxes"
_LONGEST_LABEL: Final = 200
#: Characters of absurd values that a message shows.
_SHOWN: Final = 80
_SIDES: Final = ("left", "top", "right", "bottom")
#: Orientations of EXIF by which width and height change places.
_TURNED: Final = range(5, 9)


@dataclass(frozen=True, slots=True)
class Box:
    """A labelled box in pixels of the upright original."""

    label: str
    left: float
    top: float
    right: float
    bottom: float

    @property
    def width(self) -> float:
        """Pixels across."""
        return self.right - self.left

    @property
    def height(self) -> float:
        """Pixels down."""
        return self.bottom - self.top

    def overlap(self, other: Box) -> float:
        """Return the intersection over union (IoU) of two boxes."""
        across = min(self.right, other.right) - max(self.left, other.left)
        down = min(self.bottom, other.bottom) - max(self.top, other.top)
        if across <= 0 or down <= 0:
            return 0.0
        common = across * down
        return common / (self.width * self.height + other.width * other.height - common)


@dataclass(frozen=True, slots=True)
class LabelledPicture:
    """One picture with its boxes; sizes are of the upright original."""

    id: str
    file: str
    width: int
    height: int
    boxes: tuple[Box, ...]
    model: str = ""


def labelled_pictures(
    rows: Iterable[dict[str, Any]], folder: Path, field: str | None, refused: list[str]
) -> Iterator[LabelledPicture]:
    """Yield the picture of each answered row; add to `refused` what can't be used.

    `field` is the list of boxes in the answer; None: the first that looks like one.

    Raises:
        RecordRefused: Pillow, which reads the sizes, is not installed.
    """
    for row in rows:
        if row.get("error"):
            continue
        name = str(row.get("file") or "")
        found = _listed(row.get("data"), field)
        if found is None:
            refused.append(f"{row['id']}: no boxes in the answer")
            continue
        size = upright_size(folder / name)
        if size is None:
            refused.append(f"{row['id']}: {folder / name} can't be read")
            continue
        boxes = tuple(_checked(found, size, str(row["id"]), refused))
        yield LabelledPicture(str(row["id"]), name, *size, boxes, str(row.get("model") or ""))


def _listed(data: object, field: str | None) -> list[Any] | None:
    if not isinstance(data, dict):
        return None
    if field is None:
        lists = {name: value for name, value in data.items() if isinstance(value, list)}
        with_sides = (name for name, value in lists.items() if any(map(_has_sides, value)))
        field = next(with_sides, _USUAL)
    value = data.get(field)
    return value if isinstance(value, list) else None


def _has_sides(value: object) -> bool:
    return isinstance(value, dict) and all(side in value for side in _SIDES)


def _checked(
    found: Iterable[Any], size: tuple[int, int], identity: str, refused: list[str]
) -> Iterator[Box]:
    """Yield each sensible box once, in pixels."""
    seen = set()
    for number, one in enumerate(found, 1):
        fault = _fault(one)
        if fault is not None:
            refused.append(f"{identity}: box {number}: {fault}")
            continue
        box = _in_pixels(one, size)
        if box not in seen:
            seen.add(box)
            yield box


def _fault(one: object) -> str | None:
    """Return what is absurd about a box; None if it is sensible."""
    if not isinstance(one, dict) or not _has_sides(one):
        return "it lacks left, top, right or bottom"
    sides = [one[side] for side in _SIDES]
    if not all(map(_is_place, sides)):
        return f"{str(sides)[:_SHOWN]} are not numbers from 0 to {_WHOLE:,}"
    left, top, right, bottom = sides
    if left >= right or top >= bottom:
        return f"{sides} enclose nothing"
    label = one.get("label")
    if not isinstance(label, str) or not label.strip():
        return "it has no label"
    if len(label) > _LONGEST_LABEL:
        return f"its label has more than {_LONGEST_LABEL} characters"
    return None


def _is_place(side: object) -> bool:
    if isinstance(side, bool) or not isinstance(side, int | float):
        return False
    return 0 <= side <= _WHOLE


def _in_pixels(one: Mapping[str, Any], size: tuple[int, int]) -> Box:
    width, height = size
    return Box(
        " ".join(one["label"].split()),
        one["left"] * width / _WHOLE,
        one["top"] * height / _WHOLE,
        one["right"] * width / _WHOLE,
        one["bottom"] * height / _WHOLE,
    )


def upright_size(path: Path) -> tuple[int, int] | None:
    """Return the size of an upright picture; None if it can't be read.

    Raises:
        RecordRefused: Pillow is not installed.
    """
    try:
        from PIL import ExifTags, Image  # noqa: PLC0415  # optional
    except ImportError:
        raise RecordRefused(f"labels need an extra: {install_command('worker')}") from None
    try:
        with Image.open(path) as picture:
            width, height = picture.size
            turned = picture.getexif().get(ExifTags.Base.Orientation) in _TURNED
    except (*PILLOW_FAULTS, Image.DecompressionBombError):
        return None
    return (height, width) if turned else (width, height)
