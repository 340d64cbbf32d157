"""Formats that are converted where a job asks for it: their headers, read by Pillow.

There are no readers of ours for these containers, so that a picture of them is never passed
through: whatever is no pixel stays behind when it is encoded anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from PIL import Image

from visionq.errors import TooManyPixels
from worker.images.decode import TimedFile, raise_ceiling, taming
from worker.images.layout import Layout

if TYPE_CHECKING:
    from worker.images.models import ImageLimits

#: AVIF: the frame as YUV and as RGB beside the picture; TIFF: a strip may be all of it.
_HELD_BYTES_A_PIXEL: Final = 8
_ORIENTATION: Final = 0x0112


def read_foreign(data: bytes, kind: str, *, name: str, limits: ImageLimits) -> Layout:
    """Return what the header tells of a BMP, TIFF or AVIF; decodes nothing.

    Raises:
        CorruptImage, TooManyPixels: the header can't be read, or tells of too many pixels.
    """
    raise_ceiling(limits.max_pixels)
    with taming(name):
        picture = Image.open(TimedFile(data, limits.max_seconds), formats=(kind.upper(),))
        # Pillow turns a TIFF upright by itself, and gives its size so.
        orientation = 1 if kind == "tiff" else picture.getexif().get(_ORIENTATION, 1)
        width, height = picture.size
        if width * height > limits.max_pixels:  # before anything asks for the frames
            message = f"{width}x{height} is more than {limits.max_pixels:,} pixels; scale it down"
            raise TooManyPixels(message, image=name)
        return Layout(
            width=width,
            height=height,
            frames=getattr(picture, "n_frames", 1),
            plain=False,
            lossless=kind != "avif",
            content=data,
            orientation=orientation if orientation in range(1, 9) else 1,
            profile=picture.info.get("icc_profile"),
            alpha=picture.has_transparency_data,
            convert_bytes=4,
            held_bytes=_HELD_BYTES_A_PIXEL * width * height,
        )
