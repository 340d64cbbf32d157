"""Convert the many pixel formats and profiles to 8-bit sRGB or grey."""

from __future__ import annotations

import io
import sys
from typing import Final

from PIL import Image, ImageChops, ImageCms

from visionq.images.containers import UnsupportedVariantError

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
_PROFILED_MODES: Final = {"RGB": ("RGB", "RGBA", "L"), "CMYK": ("CMYK",), "GRAY": ("L",)}
_SRGB: Final = ImageCms.createProfile("sRGB")
#: Colours that tell profiles apart: grey, and each colour fading into the next.
_RAMP: Final = Image.linear_gradient("L").resize((64, 64))
_SAMPLES: Final = {
    "GRAY": _RAMP,
    "RGB": Image.merge("RGB", (_RAMP, _RAMP.rotate(90), _RAMP.rotate(180))),
}
#: Of 255, by which profiles differ that all mean sRGB, such as those with curves of few entries.
_UNSEEN: Final = 4
_OPAQUE: Final = 255
#: Modes that need no conversion to be scaled.
_WIDE_MODES: Final = frozenset({"L", "RGB", "RGBA", "CMYK"})
#: Modes of one channel with more than 8 bits.
_DEEP_MODES: Final = frozenset({"I", "I;16", "I;16B", "F"})
_LARGEST_16_BITS: Final = 2**16 - 1
_LARGEST_SIGNED: Final = 2**31 - 1


def set_upright(picture: Image.Image, orientation: int) -> Image.Image:
    """Apply an EXIF orientation (1 to 8)."""
    transposition = _TRANSPOSITIONS.get(orientation)
    return picture if transposition is None else picture.transpose(transposition)


def widen(picture: Image.Image, values: tuple[float, float] | None = None) -> Image.Image:
    """Return the pixels as L, RGB, RGBA or CMYK, which can be scaled.

    `values` are those of black and white where a sample is not 8 bits.

    Raises:
        UnsupportedVariantError: nothing tells which values are black and white.
    """
    clear = picture.info.get("transparency")
    if picture.mode in _DEEP_MODES:
        grey = _grey(picture, values or (0, _LARGEST_16_BITS))
        return grey if clear is None else _without(grey, picture, clear)
    if values is not None and isinstance(clear, tuple):  # decoded to the upper 8 bits
        picture.info["transparency"] = tuple(sample >> 8 for sample in clear)
    if picture.mode == "La":  # multiplied by its alpha
        picture = picture.convert("LA")
    if picture.has_transparency_data and picture.mode != "RGBA":  # which would be copied
        return picture.convert("RGBA")
    if picture.mode in {"1", "LA"}:
        return picture.convert("L")
    return picture if picture.mode in _WIDE_MODES else picture.convert("RGB")


def _grey(picture: Image.Image, values: tuple[float, float]) -> Image.Image:
    """Scale samples to 8 bits; a plain conversion would clip them."""
    black, white = values
    if white > _LARGEST_SIGNED:  # read as signed, but the highest byte is that of the file
        highest = 3 if sys.byteorder == "little" else 0
        return Image.frombytes("L", picture.size, picture.tobytes()[highest::4])
    if picture.mode == "F" and {black, white} == {0, 1}:
        _check_range(picture)
    if picture.mode == "I;16B":
        picture = picture.convert("I")
    scale = _OPAQUE / (white - black)
    offset = 0.5 - black * scale
    return picture.point(lambda value: value * scale + offset).convert("L")


def _without(grey: Image.Image, picture: Image.Image, clear: int) -> Image.Image:
    """Return grey as RGBA, transparent where the 16-bit samples equal `clear`."""
    opaque = [_OPAQUE] * (_LARGEST_16_BITS + 1)
    opaque[clear] = 0
    mask = picture.convert("I").point(opaque, "L")
    return Image.merge("RGBA", (grey, grey, grey, mask))


def _check_range(picture: Image.Image) -> None:
    low, high = picture.getextrema()
    assert isinstance(low, float)  # noqa: S101  # of one channel
    assert isinstance(high, float)  # noqa: S101  # likewise
    if not 0 <= low <= high <= 1:
        variant = f"floating-point TIFF with values from {low:g} to {high:g} and no declared range"
        raise UnsupportedVariantError(variant)


def is_srgb(profile: bytes) -> bool:
    """Return whether a profile makes no visible change, regardless of its name."""
    try:
        opened = ImageCms.getOpenProfile(io.BytesIO(profile))
        space = opened.profile.xcolor_space.strip()
        if space not in _SAMPLES:
            return False
        before = _SAMPLES[space]
        after = ImageCms.profileToProfile(before, opened, _SRGB, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return False
    assert after is not None  # noqa: S101  # only in place there is nothing returned
    change = ImageChops.difference(before.convert("RGB"), after)
    return not any(change.point(lambda value: value > _UNSEEN).tobytes())


def to_srgb(picture: Image.Image, profile: bytes | None) -> Image.Image:
    """Return the picture in sRGB as L, RGB or RGBA; ignore unfit profiles."""
    if profile is not None and not is_srgb(profile):
        converted = _through_profile(picture, profile)
        if converted is not None:
            return converted
    return picture.convert("RGB") if picture.mode == "CMYK" else picture


def _through_profile(picture: Image.Image, profile: bytes) -> Image.Image | None:
    try:
        opened = ImageCms.getOpenProfile(io.BytesIO(profile))
        space = opened.profile.xcolor_space.strip()
        if picture.mode not in _PROFILED_MODES.get(space, ()):
            return None
        is_grey = picture.mode == "L"
        converted = ImageCms.profileToProfile(
            picture.convert("RGB") if is_grey and space == "RGB" else picture,
            opened,
            _SRGB,
            outputMode="RGBA" if picture.mode == "RGBA" else "RGB",
        )
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None
    if converted is None:
        return None
    return converted.convert("L") if is_grey else converted


def on_clear_canvas(picture: Image.Image, box: tuple[int, int, int, int]) -> Image.Image:
    """Return RGBA, transparent outside a box, which decoders fill differently."""
    canvas = Image.new("RGBA", picture.size, (0, 0, 0, 0))
    left, top, right, bottom = box
    inside = (left, top, min(right, picture.width), min(bottom, picture.height))
    if left < inside[2] and top < inside[3]:
        canvas.paste(picture.crop(inside), inside)
    return canvas


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
