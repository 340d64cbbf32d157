"""Formats that are converted where a job asks for it: their headers, read by Pillow.

There are no readers of ours for these containers, so that a picture of them is never passed
through: whatever is no pixel stays behind when it is encoded anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from PIL import Image

from visionq.errors import TooManyPixels
from worker.images import bmp
from worker.images.decode import TimedFile, plugin, raise_ceiling, taming
from worker.images.layout import Layout, UnsupportedVariantError, read_orientation
from worker.images.tiff import read_samples

if TYPE_CHECKING:
    from worker.images.models import ImageLimits

#: AVIF: the frame as YUV and as RGB beside the picture; TIFF: a strip may be all of it.
_HELD_BYTES_A_PIXEL: Final = 8


def read_foreign(data: bytes, kind: str, *, name: str, limits: ImageLimits) -> Layout:
    """Return what the header tells of a BMP, TIFF, AVIF or HEIC; decodes nothing.

    Raises:
        CorruptImage, TooManyPixels: the header can't be read, or tells of too many pixels.
        UnsupportedFormat: a variant that is not read, or would be read wrongly; it is named.
    """
    raise_ceiling(limits.max_pixels)
    with taming(name):
        values = read_samples(data).values() if kind == "tiff" else None
        picture = _open(data, kind, limits)
        width, height = picture.size
        if width * height > limits.max_pixels:  # before anything asks for the frames
            message = f"{width}x{height} is more than {limits.max_pixels:,} pixels; scale it down"
            raise TooManyPixels(message, image=name)
        profile = bmp.read_profile(data) if kind == "bmp" else picture.info.get("icc_profile")
        return Layout(
            width=width,
            height=height,
            frames=getattr(picture, "n_frames", 1),
            plain=False,
            lossless=kind not in {"avif", "heic"},
            content=data,
            # TIFF and HEIC are turned upright when they are opened, and give their size so. Of an
            # AVIF Pillow tells what the container says as if it were EXIF; XMP says nothing of how
            # a picture is shown.
            orientation=read_orientation(picture.info.get("exif", b"")) if kind == "avif" else 1,
            profile=profile,
            alpha=picture.has_transparency_data,
            values=values,
            convert_bytes=4,
            held_bytes=_HELD_BYTES_A_PIXEL * width * height,
        )


def _open(data: bytes, kind: str, limits: ImageLimits) -> Image.Image:
    """Open a picture; one that Pillow does not know is named by what its header says."""
    try:
        return Image.open(TimedFile(data, limits.max_seconds), formats=(plugin(kind),))
    except (OSError, KeyError):  # no such variant, depth or compression
        if kind in {"avif", "heic"}:
            raise
    variant = bmp.name_variant(data) if kind == "bmp" else str(read_samples(data))
    raise UnsupportedVariantError(variant)
