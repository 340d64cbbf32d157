"""Generated pictures for benchmarks: the same on every machine with the same fonts."""

from __future__ import annotations

import functools
import io
from typing import Any, Final

from PIL import Image, ImageDraw, ImageFont

_WORDS: Final = (
    "Счёт № 4711 от 7 марта: товары согласно договору, всего 1 234,50 руб. "  # noqa: RUF001  # two alphabets on purpose
    "Invoice total due within 14 days; delivery as agreed by both parties. "
)


def encoded(picture: Image.Image, kind: str, **options: Any) -> bytes:  # noqa: ANN401  # Pillow's own
    """Return the encoded picture."""
    target = io.BytesIO()
    picture.save(target, kind, **options)
    return target.getvalue()


def photo(width: int, height: int) -> Image.Image:
    """Return a picture with a photo's spectrum: large soft shapes and weaker fine detail."""
    channels = []
    for _ in range(3):
        channel = Image.new("L", (width, height), 128)
        for step, strength in ((256, 80), (64, 50), (16, 30), (4, 16), (1, 8)):
            size = (max(2, width // step), max(2, height // step))
            noise = Image.effect_noise(size, strength).resize(
                (width, height), Image.Resampling.BICUBIC
            )
            channel = Image.blend(channel, noise, 0.4)
        channels.append(channel)
    return Image.merge("RGB", channels)


@functools.cache
def photo_file(width: int, height: int) -> bytes:
    """Return a photo encoded as a camera would."""
    return encoded(photo(width, height), "JPEG", quality=88)


def page(width: int, height: int, *, size: int = 18, paper: str = "white") -> Image.Image:
    """Return a page of small print in Russian and English."""
    picture = Image.new("RGB", (width, height), paper)
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(size)
    for row in range(size, height - 2 * size, int(size * 1.7)):
        shift = row * 7 % len(_WORDS)
        draw.text((size, row), (_WORDS * 8)[shift : shift + width // size * 2], "black", font)
    return picture


def screenshot(width: int, height: int) -> Image.Image:
    """Return a screenshot: windows with text and buttons, one with a photo."""
    picture = Image.new("RGB", (width, height), "#dfe3ea")
    picture.paste(page(width * 6 // 10, height * 8 // 10), (width // 20, height // 10))
    picture.paste(photo(width // 4, height // 3), (width * 7 // 10, height // 10))
    draw = ImageDraw.Draw(picture)
    for number in range(8):
        left, top = width * 7 // 10, height // 2 + number * height // 20
        colour = f"#{40 + 20 * number:02x}70{220 - 20 * number:02x}"
        draw.rounded_rectangle((left, top, left + width // 5, top + height // 28), 8, colour)
        draw.text((left + 12, top + 4), f"Кнопка {number + 1}", "white", ImageFont.load_default(16))
    return picture


def scan(width: int, height: int) -> Image.Image:
    """Return a page of text on grey, grainy paper."""
    grain = Image.effect_noise((width, height), 18)
    return Image.blend(page(width, height), Image.merge("RGB", (grain, grain, grain)), 0.15)


def line_art(width: int, height: int) -> Image.Image:
    """Return a chart of thin coloured lines."""
    picture = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(picture)
    for number, colour in enumerate(("red", "blue", "green", "black", "orange")):
        points = [
            (x, height // 2 + (x * (number + 3) * 37 % 400 - 200) * height // 900)
            for x in range(0, width, 40)
        ]
        draw.line(points, colour, 2)
        draw.text((30, 30 + 24 * number), f"Ряд {number + 1}", colour, ImageFont.load_default(18))
    return picture
