"""Cut long pictures into overlapping crops, so that models can read their print.

Pure functions of size, model and `detail`, by which quotes count and workers cut. A crop holds the
whole of the short side; all crops of a picture are equally long.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Final

from visionq.errors import InvalidJob, TooManyPixels
from visionq.pricing.vision import image_tokens, seen_size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from visionq.contract import Detail
    from visionq.pricing.vision import RequestLimits, VisionRules

#: Left, top, right and bottom, in pixels of the upright picture.
Box = tuple[int, int, int, int]

#: Times that a model may scale a crop down. Print of 13 pixels is read at 1.5 (99 words of 100 by
#: Tesseract), and no longer at 2 (68).
MOST_REDUCTION: Final = Fraction(3, 2)
#: Times that a picture may be as long as wide and is never cut: the screens of phones are 2.4.
LONGEST_WHOLE: Final = Fraction(5, 2)
#: One part in this many of a crop is repeated by the next one: lines of print are far lower, so one
#: that a cut goes through is whole in one of the two.
OVERLAP: Final = 10
#: Of one picture.
MOST_CROPS: Final = 32


def crop_boxes(
    rules: VisionRules,
    model: str,
    detail: Detail,
    width: int,
    height: int,
    *,
    name: str | None = None,
) -> tuple[Box, ...]:
    """Return a picture's crops from its top or left; none: it is sent whole.

    It is cut if it is more than 2.5 times as long as wide and the model would scale it down more
    than 1.5 times: into as few crops as are scaled down no more than that. Where the short side
    alone is too large for it, crops are scaled as a picture 2.5 times as long as wide would be.

    Raises:
        TooManyPixels: it would take more than `MOST_CROPS`.
    """
    count = _count(rules, model, detail, width, height)
    if count > MOST_CROPS:
        raise TooManyPixels(
            f"{width}x{height} would take more than {MOST_CROPS} crops for {model} at {detail};"
            " cut it first, or ask without crops (--crops, or pictures.crops)",
            image=name,
        )
    return boxes_along(width, height, _length(max(width, height), count), count)


def boxes_along(width: int, height: int, length: int, count: int) -> tuple[Box, ...]:
    """Return equal boxes along the longer side; none for a whole picture."""
    if count == 1:
        return ()
    room = max(width, height) - length
    starts = [room * number // (count - 1) for number in range(count)]
    if height > width:
        return tuple((0, start, width, start + length) for start in starts)
    return tuple((start, 0, start + length, height) for start in starts)


def cropped_tokens(rules: VisionRules, model: str, detail: Detail, width: int, height: int) -> int:
    """Forecast the tokens of a picture's crops, or of the whole picture."""
    count = _count(rules, model, detail, width, height)
    length = _length(max(width, height), count)
    return count * image_tokens(rules, model, detail, min(width, height), length)


def _count(rules: VisionRules, model: str, detail: Detail, width: int, height: int) -> int:
    """Return the fewest readable crops; above the limit, the limit plus one."""
    long, short = max(width, height), min(width, height)
    if long <= LONGEST_WHOLE * short:
        return 1

    def seen(length: int) -> int:
        return max(seen_size(rules, model, detail, short, length))

    longest_whole = int(LONGEST_WHOLE * short)
    most = max(MOST_REDUCTION, Fraction(longest_whole, seen(longest_whole)))
    for count in range(1, MOST_CROPS + 1):
        length = _length(long, count)
        if length <= most * (seen(length) + 1):  # what is seen is rounded down to whole pixels
            return count
    return MOST_CROPS + 1


def _length(long: int, count: int) -> int:
    """Return the length of crops that cover the longer side with overlap."""
    return -(-OVERLAP * long // ((OVERLAP - 1) * count + 1))


def check_count(limits: RequestLimits, pictures: int, sent: int) -> None:
    """Refuse a job of more pictures than the provider takes in one request.

    Raises:
        InvalidJob: `sent`, which counts each crop, is more.
    """
    if sent <= limits.max_images:
        return
    as_crops = f", {sent} with their crops" if sent > pictures else ""
    most = limits.max_images
    raise InvalidJob(f"images: {pictures} pictures{as_crops}, the provider takes {most} at a time")


def crops_note(counts: Sequence[int]) -> str:
    """Return the note beside the prompt: a sentence for each cropped picture.

    Args:
        counts: how many pictures are sent for each picture of the job, in order; 1: itself.
    """
    told, number = [], 0
    for count in counts:
        if count > 1:
            span = f"Pictures {number + 1} to {number + count}"
            told.append(f"{span} are overlapping crops of one picture, in order.")
        number += count
    return " ".join(told)
