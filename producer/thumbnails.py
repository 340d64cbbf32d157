"""Thumbnails of local pictures, for pages and tables that people look at."""

from __future__ import annotations

import io
import struct
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

from visionq.errors import InvalidJob
from visionq.submission import decode_data_url, is_data_url

if TYPE_CHECKING:
    from PIL import Image

#: What is decoded for a thumbnail. Pillow would hand EPS, under any name, to Ghostscript.
_FORMATS: Final = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
#: What Pillow raises for broken files, besides its own `DecompressionBombError`.
PILLOW_FAULTS: Final = (
    ArithmeticError,
    EOFError,
    LookupError,
    OSError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
)
_MOST_PIXELS: Final = 50_000_000
_QUALITY: Final = 75


def can_make_thumbnails() -> bool:
    """Return whether Pillow is installed; a plain install has none."""
    return find_spec("PIL") is not None


def small_copy(image: str | Path, side: int) -> Image.Image | None:
    """Return a file or data URL within `side` pixels, upright, on white.

    None: that can't be done.
    """
    if not can_make_thumbnails():
        return None
    from PIL import Image, ImageOps  # noqa: PLC0415  # optional

    try:
        source: Path | io.BytesIO = Path(image)
        if is_data_url(image):
            source = io.BytesIO(decode_data_url(str(image), 0, sys.maxsize))
        with Image.open(source, formats=_FORMATS) as opened:
            if opened.width * opened.height > _MOST_PIXELS:
                return None
            opened.draft("RGB", (side, side))
            small = ImageOps.exif_transpose(opened)
            small.thumbnail((side, side))
            if not small.has_transparency_data:
                return small.convert("RGB")
            clear = small.convert("RGBA")
            paper = Image.new("RGB", clear.size, "white")
            paper.paste(clear, mask=clear.getchannel("A"))
            return paper
    except (InvalidJob, *PILLOW_FAULTS, Image.DecompressionBombError):
        return None


def thumbnail(image: str | Path, side: int, encoding: str) -> bytes | None:
    """Return a local picture scaled into `side` pixels, upright; None if that can't be done.

    `encoding` is Pillow's name of a format, such as `WEBP`.
    """
    small = small_copy(image, side)
    if small is None:
        return None
    target = io.BytesIO()
    small.save(target, encoding, quality=_QUALITY)
    return target.getvalue()
