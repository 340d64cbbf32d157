"""Colour and sharpness of the pictures sent, for each kind of picture and scaling method."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from unittest.mock import patch

from PIL import Image, ImageDraw, ImageFilter, ImageStat

from benchmarks.formats import psnr
from benchmarks.pictures import encoded, page, photo
from benchmarks.tables import Table
from worker.images import ImageLimits, inspect, scale
from worker.images.colour import on_white
from worker.images.encode import decode_in_srgb
from worker.images.profiles import Primaries, gamma_curve, profile_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from worker.images import CheckedImage

_SIZE: Final = (1500, 1000)
#: JPEG decodes at eighths: the first target matches none, the second is just below 3/8.
TARGETS: Final = ((960, 640), (548, 365))
_LIMITS: Final = ImageLimits()
_WIDE: Final = Primaries((0.680, 0.320), (0.265, 0.690), (0.150, 0.060))
_LAPLACIAN: Final = ImageFilter.Kernel((3, 3), (0, 1, 0, 1, -4, 1, 0, 1, 0), scale=1, offset=128)


@dataclass(frozen=True)
class Fidelity:
    """Closeness of a scaled picture to Lanczos on all of its pixels."""

    psnr: float
    #: Standard deviation of its edges, divided by that of the reference.
    sharpness: float


@functools.cache
def _photo() -> Image.Image:
    return photo(*_SIZE)


def _text() -> Image.Image:
    return page(*_SIZE, size=28)


def _transparent() -> bytes:
    clear = _photo().convert("RGBA")
    alpha = Image.linear_gradient("L").resize(_SIZE)
    ImageDraw.Draw(alpha).ellipse((200, 200, 900, 800), fill=0)
    clear.putalpha(alpha)
    return encoded(clear, "PNG", compress_level=1)


def _deep() -> bytes:
    grey = Image.linear_gradient("L").resize(_SIZE, Image.Resampling.BICUBIC).convert("I")
    return encoded(grey.point(lambda value: value * 257).convert("I;16"), "PNG")


def _with_profile() -> bytes:
    wide = profile_of(_WIDE, [gamma_curve(2.2)] * 3)
    return encoded(_photo(), "JPEG", quality=88, icc_profile=wide)


#: Kind of picture → a file.
KINDS: Final[dict[str, Callable[[], bytes]]] = {
    "photo": lambda: encoded(_photo(), "JPEG", quality=88),
    "text, JPEG": lambda: encoded(_text(), "JPEG", quality=92, subsampling=0),
    "text, PNG": lambda: encoded(_text(), "PNG"),
    "transparent": _transparent,
    "grey": lambda: encoded(_photo().convert("L"), "JPEG", quality=88),
    "CMYK": lambda: encoded(_photo().convert("CMYK"), "JPEG", quality=88),
    "16 bits": _deep,
    "palette": lambda: encoded(_photo().quantize(200), "PNG"),
    "with profile": _with_profile,
}


def compare(data: bytes, target: tuple[int, int], *, simd: bool) -> Fidelity:
    """Compare a scaled picture with the best possible scaling."""
    checked = inspect(data, name="a", limits=_LIMITS)
    with patch.object(scale, "HAS_SIMD", simd):
        made = _made(checked, target)
    whole = _made(checked, (checked.width, checked.height))
    best = on_white(whole.resize(target, Image.Resampling.LANCZOS)).convert("RGB")
    return Fidelity(psnr(best, made), _edges(made) / _edges(best))


def _made(checked: CheckedImage, size: tuple[int, int]) -> Image.Image:
    flatten = size != (checked.width, checked.height)
    made = decode_in_srgb(checked, size, flatten=flatten, name="a", limits=_LIMITS)
    return made.convert("RGB") if flatten else made


def _edges(picture: Image.Image) -> float:
    return float(ImageStat.Stat(picture.convert("L").filter(_LAPLACIAN)).stddev[0])


def measure() -> list[Table]:
    """Return one table: each kind at two sizes, scaled by Pillow and by SIMD."""
    rows: list[tuple[str | float | None, ...]] = []
    for kind, make in KINDS.items():
        data = make()
        for target in TARGETS:
            pillow = compare(data, target, simd=False)
            simd = compare(data, target, simd=True) if scale.HAS_SIMD else None
            rows.append(
                (
                    kind,
                    f"{target[0]}x{target[1]}",
                    pillow.psnr,
                    simd.psnr if simd else None,
                    pillow.sharpness,
                    simd.sharpness if simd else None,
                )
            )
    columns = ("picture", "sent as", "PSNR dB, Pillow", "by SIMD", "sharpness, Pillow", "by SIMD ")
    note = (
        f"Of {_SIZE[0]}x{_SIZE[1]}, against Lanczos on all pixels; before encoding. Sharpness: "
        "standard deviation of the edges, divided by that of the reference."
    )
    return [Table("Fidelity of scaling", columns, tuple(rows), note)]
