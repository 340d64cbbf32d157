"""Small pictures."""

from __future__ import annotations

from base64 import b64encode
from io import BytesIO
from typing import Any

from PIL import Image


def picture(number: int, size: tuple[int, int] = (64, 48)) -> bytes:
    """Return a small PNG of a colour of its own."""
    colour = (number % 256, number // 256 % 256, number // 65536 % 256)
    return encoded(Image.new("RGB", size, colour), "PNG")


def data_url(content: bytes | int, media_type: str = "image/png") -> str:
    """Return a picture, or the one of that number, inside an address."""
    data = picture(content) if isinstance(content, int) else content
    return f"data:{media_type};base64,{b64encode(data).decode()}"


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    target = BytesIO()
    image.save(target, kind.upper(), **options)
    return target.getvalue()


def same(width: int, height: int) -> tuple[int, int]:
    return width, height


def half(width: int, height: int) -> tuple[int, int]:
    return max(1, width // 2), max(1, height // 2)
