"""Small pictures."""

from __future__ import annotations

from io import BytesIO
from typing import Any

from PIL import Image


def picture(number: int, size: tuple[int, int] = (64, 48)) -> bytes:
    """Return a small PNG of a colour of its own."""
    colour = (number % 256, number // 256 % 256, number // 65536 % 256)
    return encoded(Image.new("RGB", size, colour), "PNG")


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    target = BytesIO()
    image.save(target, kind.upper(), **options)
    return target.getvalue()


def same(width: int, height: int) -> tuple[int, int]:
    return width, height


def half(width: int, height: int) -> tuple[int, int]:
    return max(1, width // 2), max(1, height // 2)
