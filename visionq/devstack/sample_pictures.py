"""Small sample pictures, drawn by rule: the same bytes on every run of one Pillow.

Some are as they should be, one for each format that the provider takes; some are what people send
by mistake, each with the code under which it is refused.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from PIL import Image, ImageDraw, ImageFilter

if TYPE_CHECKING:
    from pathlib import Path

Colour = tuple[int, int, int]

#: Drawn this much larger and scaled down, for smooth edges.
OVERSAMPLING: Final = 2
#: EXIF tag, and the value that says: turn by 90° clockwise to show.
ORIENTATION: Final = 0x0112
TURN_RIGHT: Final = 6

NIGHT: Final = (38, 34, 98)
DUSK: Final = (239, 108, 87)
SUN: Final = (255, 214, 120)
SKY: Final = (120, 190, 235)
HAZE: Final = (232, 243, 250)
SEA: Final = (24, 98, 150)
FOAM: Final = (70, 160, 190)
WALL: Final = (247, 236, 214)
WOOD: Final = (150, 100, 62)
LEAF: Final = (62, 142, 92)
BRICK: Final = (198, 74, 60)
WHITE: Final = (250, 250, 248)
INK: Final = (40, 44, 60)


@dataclass(frozen=True)
class SamplePicture:
    """A file as a user might send it."""

    name: str
    content: bytes
    #: Why it can't be sent; `None`: it can.
    refused_as: str | None = None


def sample_pictures() -> tuple[SamplePicture, ...]:
    """Return all samples: six pictures to ask about, then five that are refused."""
    drawn = _sunset()
    sunset = _jpeg(drawn)
    return (
        SamplePicture("sunset.jpg", sunset),
        SamplePicture("lighthouse-turned.jpg", _turned_jpeg(_lighthouse())),
        SamplePicture("table.png", _saved(_table(apples=3), "PNG", optimize=True)),
        SamplePicture("table-changed.png", _saved(_table(apples=2), "PNG", optimize=True)),
        SamplePicture("sailing.webp", _saved(_sailing(), "WEBP", quality=85)),
        SamplePicture("balloon.gif", _saved(_balloon(0), "GIF")),
        SamplePicture("balloon-animated.gif", _animated(), "animated_image"),
        SamplePicture("notes.jpg", "Список покупок: хлеб, молоко, чай.\n".encode(), "not_an_image"),
        SamplePicture("empty.jpg", b"", "empty_file"),
        SamplePicture("cut-off.jpg", sunset[: len(sunset) // 2], "corrupt_image"),
        SamplePicture("sunset.bmp", _saved(drawn.resize((120, 80)), "BMP"), "unsupported_format"),
    )


def write_sample_pictures(folder: Path) -> dict[str, Path]:
    """Write the samples into `folder`, creating it; return their paths by name."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = {}
    for sample in sample_pictures():
        paths[sample.name] = folder / sample.name
        paths[sample.name].write_bytes(sample.content)
    return paths


class _Canvas:
    """A picture being drawn, in units of its final size."""

    def __init__(self, width: int, height: int, top: Colour, bottom: Colour) -> None:
        size = (width * OVERSAMPLING, height * OVERSAMPLING)
        shade = Image.linear_gradient("L").resize(size, Image.Resampling.BICUBIC)
        self._image = Image.composite(
            Image.new("RGB", size, bottom), Image.new("RGB", size, top), shade
        )
        self._draw = ImageDraw.Draw(self._image)
        self._size = (width, height)

    def disc(self, x: float, y: float, radius: float, colour: Colour, squeeze: float = 1) -> None:
        """Draw a disc, or an ellipse `squeeze` times as high as wide."""
        high = radius * squeeze
        self._draw.ellipse(_scaled(x - radius, y - high, x + radius, y + high), fill=colour)

    def box(self, left: float, top: float, right: float, bottom: float, colour: Colour) -> None:
        """Draw a rectangle with slightly rounded corners."""
        area = _scaled(left, top, right, bottom)
        self._draw.rounded_rectangle(area, radius=3 * OVERSAMPLING, fill=colour)

    def shape(self, colour: Colour, *points: tuple[float, float]) -> None:
        """Draw a filled polygon."""
        self._draw.polygon([_scaled(*point) for point in points], fill=colour)

    def line(self, colour: Colour, width: float, *points: tuple[float, float]) -> None:
        """Draw a line through the points."""
        path = [_scaled(*point) for point in points]
        self._draw.line(path, fill=colour, width=round(width * OVERSAMPLING), joint="curve")

    def glow(self, x: float, y: float, radius: float, colour: Colour) -> None:
        """Lay a soft light over what is there."""
        mask = Image.new("L", self._image.size, 0)
        area = _scaled(x - radius, y - radius, x + radius, y + radius)
        ImageDraw.Draw(mask).ellipse(area, fill=150)
        mask = mask.filter(ImageFilter.GaussianBlur(radius * OVERSAMPLING / 2))
        self._image.paste(colour, mask=mask)

    def finished(self) -> Image.Image:
        """Return the picture at its final size."""
        return self._image.resize(self._size, Image.Resampling.LANCZOS)


def _scaled(*values: float) -> tuple[float, ...]:
    return tuple(value * OVERSAMPLING for value in values)


def _mixed(one: Colour, other: Colour, share: float) -> Colour:
    """Return `one` with a `share` of `other` in it."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return red, green, blue


def _sunset() -> Image.Image:
    """Sun between four ranges of hills, 720x480."""
    canvas = _Canvas(720, 480, NIGHT, DUSK)
    canvas.glow(430, 260, 110, SUN)
    canvas.disc(430, 260, 46, SUN)
    for row in range(4):
        base = 290 + 48 * row
        colour = _mixed(_mixed(DUSK, NIGHT, 0.45), (16, 14, 44), row / 3)
        peaks = [
            (x, base + 26 * ((x // 90 * (5 + row * 2) + row) % 3 - 1) - (x * 7 % 19))
            for x in range(-60, 841, 90)
        ]
        canvas.shape(colour, (-60, 480), *peaks, (840, 480))
    return canvas.finished()


def _lighthouse() -> Image.Image:
    """Striped lighthouse by the sea, 480x640, upright."""
    canvas = _Canvas(480, 640, SKY, HAZE)
    canvas.glow(250, 150, 90, SUN)
    canvas.box(-10, 470, 490, 650, SEA)
    for row in range(4):
        for column in range(6):
            x = column * 96 - 40 * (row % 2)
            canvas.line(FOAM, 3, (x, 500 + row * 36), (x + 44, 500 + row * 36))
    canvas.shape(INK, (60, 540), (130, 455), (350, 450), (440, 540))
    canvas.shape(WHITE, (200, 460), (220, 190), (280, 190), (300, 460))
    for stripe in range(3):
        top, edge = 230 + stripe * 80, 217 - stripe * 6
        left, right = edge, 500 - edge
        canvas.shape(BRICK, (left, top), (right, top), (right + 3, top + 40), (left - 3, top + 40))
    canvas.box(212, 178, 288, 192, INK)
    canvas.box(226, 136, 274, 180, SUN)
    canvas.shape(BRICK, (216, 138), (250, 104), (284, 138))
    return canvas.finished()


def _table(apples: int) -> Image.Image:
    """Draw a plant and apples on a table, 640x480; the changed one lacks an apple."""
    canvas = _Canvas(640, 480, WALL, _mixed(WALL, DUSK, 0.25))
    canvas.box(70, 60, 250, 240, WHITE)
    canvas.box(82, 72, 238, 228, SKY)
    canvas.box(156, 66, 164, 234, WHITE)
    canvas.box(-10, 360, 650, 490, WOOD)
    canvas.box(-10, 360, 650, 372, _mixed(WOOD, WHITE, 0.25))
    for lean, height in ((-64, 190), (-34, 150), (0, 130), (36, 152), (66, 196)):
        canvas.line(LEAF, 7, (460, 300), (460 + lean * 0.6, height + 50), (460 + lean, height))
        canvas.disc(460 + lean, height, 22, LEAF, squeeze=1.3)
    canvas.shape(BRICK, (410, 280), (510, 280), (494, 372), (426, 372))
    canvas.box(402, 268, 518, 290, _mixed(BRICK, INK, 0.15))
    for number in range(apples):
        x = 130 + 76 * number
        canvas.disc(x, 346, 32, _mixed(BRICK, SUN, 0.12 * number))
        canvas.disc(x - 11, 334, 7, _mixed(BRICK, WHITE, 0.6))
        canvas.line(INK, 4, (x, 318), (x + 6, 302))
    return canvas.finished()


def _sailing() -> Image.Image:
    """Sailing boat under clouds, 640x400."""
    canvas = _Canvas(640, 400, SKY, HAZE)
    for x, y, size in ((120, 90, 26), (160, 78, 34), (200, 92, 24), (480, 60, 22), (512, 54, 28)):
        canvas.disc(x, y, size, WHITE, squeeze=0.7)
    canvas.box(-10, 270, 650, 410, SEA)
    canvas.shape(WHITE, (330, 70), (330, 250), (450, 250))
    canvas.shape(DUSK, (318, 96), (318, 250), (236, 250))
    canvas.box(321, 60, 327, 270, WOOD)
    canvas.shape(INK, (220, 262), (470, 262), (430, 306), (260, 306))
    for row in range(3):
        points = [(x, 312 + row * 30 + 6 * (x // 40 % 2)) for x in range(-40, 700, 40)]
        canvas.line(FOAM, 4, *points)
    return canvas.finished()


def _balloon(lift: int) -> Image.Image:
    """Hot-air balloon, `lift` pixels up, 320x400, in few enough colours for a GIF."""
    canvas = _Canvas(320, 400, SKY, HAZE)
    y = 170 - lift
    canvas.shape(INK, (132, y + 70), (140, y + 150), (180, y + 150), (188, y + 70))
    canvas.shape(HAZE, (142, y + 80), (148, y + 146), (172, y + 146), (178, y + 80))
    canvas.box(136, y + 142, 184, y + 178, WOOD)
    for radius, colour in ((100, BRICK), (68, SUN), (30, BRICK)):
        canvas.disc(160, y, radius, colour, squeeze=100 / radius)
    canvas.box(-10, 380, 330, 410, LEAF)
    return canvas.finished().quantize(64)


def _animated() -> bytes:
    frames = [_balloon(lift) for lift in (0, 8, 16)]
    return _saved(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=200, loop=0)


def _turned_jpeg(upright: Image.Image) -> bytes:
    """Return a picture as a camera held sideways stores it: turned, and saying so."""
    turned = upright.transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[ORIENTATION] = TURN_RIGHT
    return _jpeg(turned, exif=exif)


def _saved(image: Image.Image, form: str, **options: object) -> bytes:
    target = io.BytesIO()
    image.save(target, form, **options)
    return target.getvalue()


_jpeg = partial(_saved, form="JPEG", quality=88)
