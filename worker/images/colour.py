"""From the many ways to store pixels to the few that a model sees rightly."""

from __future__ import annotations

import io
from typing import Final

from PIL import Image, ImageCms

_TRANSPOSITIONS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
#: Colour space of an ICC profile → the pixels that it describes.
_PROFILED_MODES: Final = {"RGB": ("RGB", "RGBA"), "CMYK": ("CMYK",), "GRAY": ("L",)}
_OPAQUE: Final = 255


def set_upright(picture: Image.Image, orientation: int) -> Image.Image:
    """Apply an EXIF orientation (1 to 8)."""
    transposition = _TRANSPOSITIONS.get(orientation)
    return picture if transposition is None else picture.transpose(transposition)


def widen(picture: Image.Image) -> Image.Image:
    """Return the pixels as L, RGB, RGBA or CMYK, which can be scaled without loss of meaning."""
    if picture.mode == "I;16":
        # A plain conversion would clip 16 bits to white; the high byte is the value in 8 bits.
        return picture.point(lambda value: value * (1 / 256)).convert("L")
    if picture.has_transparency_data:
        return picture.convert("RGBA")
    if picture.mode in {"1", "LA"}:
        return picture.convert("L")
    return picture if picture.mode in {"L", "RGB", "CMYK"} else picture.convert("RGB")


def is_srgb(profile: bytes) -> bool:
    """Tell whether a profile says of itself that it is sRGB, so that it changes nothing."""
    try:
        opened = ImageCms.getOpenProfile(io.BytesIO(profile))
        return "srgb" in ImageCms.getProfileDescription(opened).lower()
    except (ImageCms.PyCMSError, OSError, ValueError):
        return False


def to_srgb(picture: Image.Image, profile: bytes | None) -> Image.Image:
    """Return the picture as L, RGB or RGBA in sRGB; a profile that does not fit it is ignored."""
    converted = None if profile is None else _through_profile(picture, profile)
    if converted is not None:
        return converted
    return picture.convert("RGB") if picture.mode == "CMYK" else picture


def _through_profile(picture: Image.Image, profile: bytes) -> Image.Image | None:
    try:
        opened = ImageCms.getOpenProfile(io.BytesIO(profile))
        if picture.mode not in _PROFILED_MODES.get(opened.profile.xcolor_space.strip(), ()):
            return None
        converted = ImageCms.profileToProfile(
            picture,
            opened,
            ImageCms.createProfile("sRGB"),
            outputMode="RGBA" if picture.mode == "RGBA" else "RGB",
        )
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None
    if converted is None:
        return None
    return converted.convert("L") if picture.mode == "L" else converted


def on_white(picture: Image.Image) -> Image.Image:
    """Return RGBA as RGB, as it looks on white paper."""
    if picture.mode != "RGBA":
        return picture
    paper = Image.new("RGB", picture.size, "white")
    paper.paste(picture, mask=picture.getchannel("A"))
    return paper


def drop_opaque_alpha(picture: Image.Image) -> Image.Image:
    """Return RGBA as RGB when no pixel is transparent."""
    if picture.mode != "RGBA" or picture.getchannel("A").getextrema()[0] != _OPAQUE:
        return picture
    return picture.convert("RGB")
