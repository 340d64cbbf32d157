"""What a picture costs in memory, known from its container before any of it is decoded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from visionq.errors import TooManyPixels
from worker.images.scale import JPEG_EIGHTHS, jpeg_eighths

if TYPE_CHECKING:
    from worker.images.models import CheckedImage


@dataclass(frozen=True)
class DecodePlan:
    """The size to make, as people see it, and what is worth telling about it."""

    size: tuple[int, int]
    warnings: tuple[str, ...] = ()


def affordable(
    checked: CheckedImage, target: tuple[int, int] | None, *, name: str, max_bytes: int
) -> DecodePlan:
    """Return the size that can be made within `max_bytes` of memory; None: decode only.

    A JPEG that is too big at the size wanted is made smaller, since it can be decoded so.

    Raises:
        TooManyPixels: there is no way within the limit.
    """
    layout = checked.layout
    size = (checked.width, checked.height)
    is_jpeg = checked.format == "jpeg"
    if target is None:
        needed = layout.memory(eighths=1 if is_jpeg else 8)
        if needed > max_bytes:
            raise _too_big(needed, max_bytes, name)
        return DecodePlan(size)
    most = jpeg_eighths(size, target)
    for eighths in [one for one in JPEG_EIGHTHS if one <= most] if is_jpeg else [8]:
        width, height = (
            max(1, min(side, own * eighths // 8)) for side, own in zip(target, size, strict=True)
        )
        needed = layout.memory(eighths=eighths, sent_pixels=width * height)
        if needed <= max_bytes:
            if (width, height) == target:
                return DecodePlan(target)
            told = f"scaled down to {width}x{height}: more would need too much memory"
            return DecodePlan((width, height), (told,))
    raise _too_big(needed, max_bytes, name)


def _too_big(needed: int, max_bytes: int, name: str) -> TooManyPixels:
    message = (
        f"its pixels take {needed // 1_000_000:,} MB of memory, "
        f"the limit is {max_bytes // 1_000_000:,}; scale it down"
    )
    return TooManyPixels(message, image=name)
