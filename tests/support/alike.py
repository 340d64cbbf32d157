"""Pictures that look alike, and some that only seem to."""

from __future__ import annotations

from random import Random

from PIL import Image


def scene(seed: int, size: tuple[int, int] = (320, 240)) -> Image.Image:
    """Return a picture with smooth patches of colour, another for each seed."""
    random = Random(seed)
    patches = Image.new("RGB", (12, 9))
    patches.putdata([tuple(random.randrange(256) for _ in range(3)) for _ in range(12 * 9)])
    return patches.resize(size, Image.Resampling.BICUBIC)


def touched(image: Image.Image, side: int = 20) -> Image.Image:
    """Return a picture with a white square in its middle."""
    changed = image.copy()
    left, top = (image.width - side) // 2, (image.height - side) // 2
    changed.paste((255, 255, 255), (left, top, left + side, top + side))
    return changed
