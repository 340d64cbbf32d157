"""Thresholds of the local advice: how well they separate sharp from blurred, bright from dark."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from PIL import Image, ImageEnhance, ImageFilter

from benchmarks.pictures import line_art, page, photo, scan, screenshot
from benchmarks.tables import Table
from worker.images.advice import LEAST_CONTRAST, LEAST_LIGHT, LEAST_SHARPNESS, LOOK_SIDE, look

if TYPE_CHECKING:
    from collections.abc import Callable

_SIZE: Final = (1024, 768)
_KINDS: Final[dict[str, Callable[[int, int], Image.Image]]] = {
    "photo": photo,
    "screenshot": screenshot,
    "scan": scan,
    "page of text": page,
    "line art": line_art,
}


def measure() -> list[Table]:
    """Return one table: each picture's figures unchanged, blurred, darkened and emptied."""
    rows: list[tuple[str | float | None, ...]] = []
    for kind, draw in _KINDS.items():
        picture = draw(*_SIZE)
        blurred = [_blurred(picture, sigma) for sigma in (0, 2, 4, 8)]
        dark = ImageEnhance.Brightness(picture).enhance(0.1)
        whole = look(picture, short_side=picture.height)
        rows.append(
            (
                kind,
                *(look(one, short_side=one.height).sharpness for one in blurred),
                whole.contrast,
                float(whole.light),
                float(look(dark, short_side=dark.height).light),
            )
        )
    columns = (
        "picture",
        "sharpness",
        "blurred by 2",
        "by 4",
        "by 8",
        "contrast",
        "light",
        "light at a tenth",
    )
    note = (
        f"Warns below: sharpness {LEAST_SHARPNESS}, contrast {LEAST_CONTRAST}, "
        f"light {LEAST_LIGHT}. Blur: Gaussian, in pixels at {LOOK_SIDE} across."
    )
    return [Table("Advice: figures of good and of spoiled pictures", columns, tuple(rows), note)]


def _blurred(picture: Image.Image, sigma: int) -> Image.Image:
    if not sigma:
        return picture
    return picture.filter(ImageFilter.GaussianBlur(sigma * max(picture.size) / LOOK_SIDE))
