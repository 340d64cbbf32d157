"""What a picture costs in memory, known from its container before any of it is decoded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from visionq.errors import TooManyPixels

if TYPE_CHECKING:
    from worker.images.models import CheckedImage

#: By how much libjpeg can reduce while it decodes (and Pillow asks it to).
_JPEG_SCALES: Final = (1, 2, 4, 8)


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
        needed = layout.memory(scale=_JPEG_SCALES[-1] if is_jpeg else 1)
        if needed > max_bytes:
            raise _too_big(needed, max_bytes, name)
        return DecodePlan(size)
    for scale in _JPEG_SCALES if is_jpeg else (1,):
        width, height = (
            max(1, min(wanted, own // scale)) for wanted, own in zip(target, size, strict=True)
        )
        if scale < _reduction(target, size) and is_jpeg:
            continue
        needed = layout.memory(scale=scale, sent_pixels=width * height)
        if needed <= max_bytes:
            if (width, height) == target:
                return DecodePlan(target)
            told = f"scaled down to {width}x{height}: more would need too much memory"
            return DecodePlan((width, height), (told,))
    raise _too_big(needed, max_bytes, name)


def _reduction(target: tuple[int, int], size: tuple[int, int]) -> int:
    """Return the scale at which a JPEG for `target` is decoded, the largest not below it."""
    most = min(own // wanted for own, wanted in zip(size, target, strict=True))
    return max(scale for scale in _JPEG_SCALES if scale <= max(most, 1))


def _too_big(needed: int, max_bytes: int, name: str) -> TooManyPixels:
    message = (
        f"its pixels take {needed // 1_000_000:,} MB of memory, "
        f"the limit is {max_bytes // 1_000_000:,}; scale it down"
    )
    return TooManyPixels(message, image=name)
