"""The one place where a decoder meets bytes that nobody vouches for."""

from __future__ import annotations

import io
from contextlib import contextmanager
from typing import TYPE_CHECKING

from PIL import Image

from visionq.errors import CorruptImage, ImageError, TooManyPixels

if TYPE_CHECKING:
    from collections.abc import Iterator

    from worker.images.models import CheckedImage, ImageLimits


def decode(
    checked: CheckedImage,
    *,
    shrunk_to: tuple[int, int] | None,
    name: str,
    limits: ImageLimits,
) -> Image.Image:
    """Decode a picture wholly and return its pixels as they are stored, not yet upright.

    A JPEG comes reduced by 1, 2, 4 or 8, but not below `shrunk_to` (width, height as stored; None:
    as small as can be). Every byte of its scans is read all the same, so a cut file is found out.

    Raises:
        CorruptImage: the picture breaks on the way.
        TooManyPixels: the decoder finds more pixels than the header told, or no memory for them.
    """
    _raise_ceiling(limits.max_pixels)
    layout = checked.layout
    with taming(name):
        picture = Image.open(io.BytesIO(layout.content), formats=(checked.format.upper(),))
        if picture.size != (layout.width, layout.height):
            message = "its headers contradict each other; send a whole copy"
            raise CorruptImage(message, image=name)
        picture.draft(None, shrunk_to or (1, 1))
        picture.load()
    return picture


@contextmanager
def taming(name: str) -> Iterator[None]:
    """Turn whatever a decoder raises at a hostile file into an error of ours."""
    try:
        yield
    except ImageError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning, MemoryError) as error:
        raise TooManyPixels("more pixels than may be decoded; scale it down", image=name) from error
    except Exception as error:  # decoders raise anything at broken files: it is all one answer
        message = "it does not decode wholly; send a whole copy, or save it again"
        raise CorruptImage(message, image=name) from error


def _raise_ceiling(max_pixels: int) -> None:
    """Keep Pillow's own ceiling, one number for the whole process, from lying below ours.

    It is only ever raised, so threads can't harm each other; ours has been enforced before.
    """
    if Image.MAX_IMAGE_PIXELS is not None and max_pixels > Image.MAX_IMAGE_PIXELS:
        Image.MAX_IMAGE_PIXELS = max_pixels
