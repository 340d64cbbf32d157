"""Detect pictures that are blurred, blank, dark or tiny.

Computed from pixels that are decoded anyway, at most 384 of them across, and judged by the part
of the picture that says most: a sharp face before a soft background is sharp.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import inf, sqrt
from operator import mul
from typing import TYPE_CHECKING, Final

from PIL import Image, ImageFilter

from visionq.contract import Policy
from visionq.contract.pictures import COMPUTED
from visionq.errors import PictureRejected
from worker.images.colour import on_white, widen

if TYPE_CHECKING:
    from collections.abc import Iterable

    from visionq.contract import PictureOptions

#: Most pixels of the longer side at which pictures are looked at.
LOOK_SIDE: Final = 384
#: Rows that a transparent picture is reduced to at a time.
_STRIP: Final = 16
#: Parts across and down.
_PARTS: Final = 3

# Calibrated on generated pictures: `python -m benchmarks advice`.
#: Variance of the Laplacian in the sharpest part.
LEAST_SHARPNESS: Final = 20.0
#: Standard deviation of the brightness in the most varied part, of 255.
LEAST_CONTRAST: Final = 3.0
#: Brightness that all but one pixel in 200 stay below, of 255.
LEAST_LIGHT: Final = 40
_BRIGHTEST_SHARE: Final = 0.005
#: A side shorter than one patch of the models.
_LEAST_SIDE: Final = 32

#: Of a pixel, and their squares.
_VALUES: Final[tuple[int, ...]] = tuple(range(256))
_SQUARES: Final[tuple[int, ...]] = tuple(value * value for value in _VALUES)

_LAPLACIAN: Final = ImageFilter.Kernel((3, 3), (0, 1, 0, 1, -4, 1, 0, 1, 0), scale=1, offset=128)


@dataclass(frozen=True)
class Look:
    """Measurements of the pixels."""

    sharpness: float
    contrast: float
    light: int
    short_side: int

    def faults(self) -> dict[str, str]:
        """Return defects by the requirement that they break, each with its figure."""
        if self.contrast < LEAST_CONTRAST:  # nothing to be sharp or bright
            found = {"blank": f"blank: contrast {self.contrast:.1f}, at least {LEAST_CONTRAST}"}
        else:
            found = {}
            if self.sharpness < LEAST_SHARPNESS:
                found["blur"] = (
                    f"blurred: sharpness {self.sharpness:.1f}, at least {LEAST_SHARPNESS}"
                )
            if self.light < LEAST_LIGHT:
                found["dark"] = (
                    f"too dark: brightest parts {self.light} of 255, at least {LEAST_LIGHT}"
                )
        if self.short_side < _LEAST_SIDE:
            found["tiny"] = (
                f"too small: short side {self.short_side} pixels, at least {_LEAST_SIDE}"
            )
        return found


def wanted(options: PictureOptions) -> bool:
    """Return whether any computed requirement is checked."""
    return any(options.policy(name) is not Policy.OFF for name in COMPUTED)


def advise(
    parts: Iterable[Image.Image], options: PictureOptions, *, short_side: int, name: str
) -> tuple[str, ...]:
    """Return warnings about a picture, judged by the best of its crops.

    `short_side` is that of what is sent, in pixels.

    Raises:
        PictureRejected: it breaks a requirement that the job insists on.
    """
    if not wanted(options):
        return ()
    looks = [look(part, short_side=short_side, is_exact=False) for part in parts]
    best = Look(
        sharpness=max(one.sharpness for one in looks),
        contrast=max(one.contrast for one in looks),
        light=max(one.light for one in looks),
        short_side=short_side,
    )
    faults = best.faults()
    for requirement, fault in faults.items():
        if options.policy(requirement) is Policy.REJECT:
            raise PictureRejected(
                f"{fault} (--reject {requirement}, or pictures.{requirement})", image=name
            )
    return tuple(
        fault for requirement, fault in faults.items() if options.policy(requirement) is Policy.WARN
    )


def glance(picture: Image.Image) -> Image.Image:
    """Return a decoded picture of any mode, reduced for inspection."""
    factor = -(-max(picture.size) // LOOK_SIDE)
    if factor == 1 or picture.mode in {"L", "RGB", "RGBA"}:
        return widen(_reduced(picture, factor) if factor > 1 else picture)
    # Modes that can't be averaged: a full copy in colour would cost memory.
    size = (max(1, picture.width // factor), max(1, picture.height // factor))
    return widen(picture.resize(size, Image.Resampling.NEAREST))


def _reduced(picture: Image.Image, factor: int) -> Image.Image:
    """Reduce strip by strip; `reduce` itself copies a transparent picture whole."""
    if picture.mode != "RGBA":
        return picture.reduce(factor)
    small = Image.new("RGBA", (-(-picture.width // factor), -(-picture.height // factor)))
    for row in range(0, small.height, _STRIP):
        top, bottom = row * factor, min((row + _STRIP) * factor, picture.height)
        strip = picture.crop((0, top, picture.width, bottom))
        small.paste(strip.reduce(factor), (0, row))
    return small


def look(picture: Image.Image, *, short_side: int, is_exact: bool = True) -> Look:
    """Measure a picture in L, RGB or RGBA.

    Unless `is_exact`, a sharpness or contrast that is enough may be less than there is: most
    pictures need one part of nine.
    """
    factor = -(-max(picture.size) // LOOK_SIDE)
    small = picture.reduce(factor) if factor > 1 else picture
    grey = on_white(small).convert("L")
    edges = grey.filter(_LAPLACIAN)
    sharp, varied = (inf, inf) if is_exact else (LEAST_SHARPNESS, LEAST_CONTRAST**2)
    return Look(
        sharpness=_greatest_variance(edges, margin=1, enough=sharp),
        contrast=sqrt(_greatest_variance(grey, margin=0, enough=varied)),
        light=_brightness(grey.histogram()),
        short_side=short_side,
    )


def _greatest_variance(picture: Image.Image, *, margin: int, enough: float) -> float:
    """Return the greatest variance of three by three parts, or the first that is enough.

    A small picture is one part.
    """
    width, height = picture.size
    if min(width, height) < 2 * _PARTS + 2:
        return _variance(picture)
    # The filter leaves the outermost pixels as they were.
    columns = [margin + (width - 2 * margin) * step // _PARTS for step in range(_PARTS + 1)]
    rows = [margin + (height - 2 * margin) * step // _PARTS for step in range(_PARTS + 1)]
    greatest = 0.0
    for left, right in pairwise(columns):
        for top, bottom in pairwise(rows):
            greatest = max(greatest, _variance(picture.crop((left, top, right, bottom))))
            if greatest >= enough:
                return greatest
    return greatest


def _variance(part: Image.Image) -> float:
    """Return the variance of a grey picture; Pillow's own `ImageStat` takes three times as long."""
    histogram = part.histogram()
    pixels = part.width * part.height
    total: int = sum(map(mul, histogram, _VALUES))
    squares: int = sum(map(mul, histogram, _SQUARES))
    return (squares - total * total / pixels) / pixels


def _brightness(histogram: list[int]) -> int:
    left = sum(histogram) * _BRIGHTEST_SHARE
    for value in range(255, 0, -1):
        left -= histogram[value]
        if left < 0:
            return value
    return 0
