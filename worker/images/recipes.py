"""Which format and quality a picture is sent in: chosen by measurement (`benchmarks/`)."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from PIL import Image

    from worker.images.kinds import Kind

#: Photos: at 85 JPEG's losses are below what scaling does already.
_PHOTO_QUALITIES: Final = (85, 70, 50)
#: Screenshots and drawings that PNG does not suit go in WEBP: half the bytes of JPEG, with more of
#: the text legible, for five times the work. Large ones go in JPEG, in full colour resolution.
_DRAWING_QUALITIES: Final = (90, 75, 50)
#: A picture of at most so many colours is a drawing, a chart or a page of text.
_DRAWING_COLOURS: Final = 4096
#: Bytes below which a drawing is sent exact whatever else would be smaller.
_EXACT_BYTES: Final = 16_000
_WEBP_QUALITY: Final = 80
#: Longest sides of the formats (libjpeg-turbo, libwebp).
_JPEG_SIDE: Final = 65_500
_WEBP_SIDE: Final = 16_383
#: Pixels up to which good compression takes well below a second; noise takes a second for each
#: megapixel in PNG.
_FEW_PIXELS: Final = 3_000_000
#: Pixels above which PNG is not tried where there is another way.
_MANY_PIXELS: Final = 12_000_000


@dataclass(frozen=True)
class Recipe:
    """A format with its options, as Pillow knows them."""

    kind: Kind
    options: dict[str, int]

    def save(self, picture: Image.Image) -> bytes:
        """Return the encoded picture."""
        target = io.BytesIO()
        picture.save(target, self.kind.upper(), **self.options)
        return target.getvalue()


def attempts(picture: Image.Image, *, lossless: bool) -> Iterator[tuple[Kind, bytes]]:
    """Yield encodings from the best to the smallest; at least one.

    `lossless` tells that the source was: a screenshot or drawing, or a photo that was kept exact.
    """
    if picture.mode == "RGBA" or max(picture.size) > _JPEG_SIDE:
        recipes = _for_transparency(picture)
    elif not lossless:
        recipes = [Recipe("jpeg", {"quality": quality}) for quality in _PHOTO_QUALITIES]
    else:
        pixels = picture.width * picture.height
        recipes = [
            Recipe("jpeg", {"quality": quality, "subsampling": 0}) for quality in _DRAWING_QUALITIES
        ]
        if pixels <= _FEW_PIXELS and max(picture.size) <= _WEBP_SIDE:
            recipes[0] = Recipe("webp", {"quality": _WEBP_QUALITY, "method": 0})
        if pixels <= _MANY_PIXELS and picture.getcolors(_DRAWING_COLOURS) is not None:
            best = recipes.pop(0)
            first, exact = best.save(picture), _png(pixels).save(picture)
            small = len(exact) <= max(len(first), _EXACT_BYTES)
            yield ("png", exact) if small else (best.kind, first)
    for recipe in recipes:
        yield recipe.kind, recipe.save(picture)


def _for_transparency(picture: Image.Image) -> list[Recipe]:
    pixels = picture.width * picture.height
    fast = pixels > _FEW_PIXELS
    webp = Recipe("webp", {"quality": _WEBP_QUALITY, **({"method": 0} if fast else {})})
    if max(picture.size) > _WEBP_SIDE:
        return [_png(pixels)]
    return [webp] if fast else [_png(pixels), webp]


def _png(pixels: int) -> Recipe:
    return Recipe("png", {"compress_level": 6 if pixels <= _FEW_PIXELS else 1})
