"""Thumbnails of local pictures, for pages and tables that people look at."""

from __future__ import annotations

import io
from importlib.util import find_spec
from pathlib import Path
from typing import Final

#: What is decoded for a thumbnail. Pillow would hand EPS, under any name, to Ghostscript.
_FORMATS: Final = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
_MOST_PIXELS: Final = 50_000_000
_QUALITY: Final = 75


def can_make_thumbnails() -> bool:
    """Return whether Pillow is installed; a plain install has none."""
    return find_spec("PIL") is not None


def thumbnail(image: str | Path, side: int, encoding: str) -> bytes | None:
    """Return a local picture scaled into `side` pixels, upright; None if that can't be done.

    `encoding` is Pillow's name of a format, such as `WEBP`.
    """
    if not can_make_thumbnails():
        return None
    from PIL import Image, ImageOps  # noqa: PLC0415  # optional

    try:
        with Image.open(Path(image), formats=_FORMATS) as opened:
            if opened.width * opened.height > _MOST_PIXELS:
                return None
            opened.draft("RGB", (side, side))
            small = ImageOps.exif_transpose(opened).convert("RGB")
            small.thumbnail((side, side))
            target = io.BytesIO()
            small.save(target, encoding, quality=_QUALITY)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None
    return target.getvalue()
