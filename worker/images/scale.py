"""Scale pictures down: first in the JPEG decoder, then by SIMD.

`cykooz_resizer` wraps the Rust library fast_image_resize. It has no wheels for Linux on arm64:
there Pillow does the same in twice the time.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any, Final

import PIL
from PIL import Image, _imaging, features
from PIL.JpegImagePlugin import JpegImageFile

try:
    import cykooz_resizer as simd
except ImportError:
    simd = None

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Pillow's major versions whose pictures `cykooz_resizer` 4 reads in memory, by their C structure.
_KNOWN_PILLOWS: Final = frozenset({"12", "13"})
HAS_SIMD: Final = simd is not None and PIL.__version__.partition(".")[0] in _KNOWN_PILLOWS
#: Times smaller on both sides from which Pillow averages first, and then is the faster one.
_COARSE: Final = 6
_REDUCING_GAP: Final = 3.0

#: Eighths of its size in which libjpeg-turbo decodes a JPEG, from the largest. There are 5, 6 and 7
#: as well, but those take longer than the whole: no SIMD. Other libjpegs know no 3.
JPEG_EIGHTHS: Final = (8, 4, 3, 2, 1) if features.check_feature("libjpeg_turbo") else (8, 4, 2, 1)
_WHOLE: Final = 8
_ODD_EIGHTHS: Final = 3


#: Bytes from which the allocator maps fresh pages, which costs more than to fill used ones.
_MAPPED_BYTES: Final = 1 << 25
_new_buffer: Final = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_ssize_t)(
    ("PyByteArray_FromStringAndSize", ctypes.pythonapi)
)

#: Resizers kept after small pictures: their buffers need not be filled with zeros again.
_idle: Final[list[Any]] = []


def jpeg_eighths(size: Sequence[int], target: Sequence[int]) -> int:
    """Return the fewest eighths of `size` that are not below `target` on any side."""
    sides = list(zip(size, target, strict=True))
    fitting = (
        eighths
        for eighths in JPEG_EIGHTHS
        if all(own * eighths >= wanted * _WHOLE for own, wanted in sides)
    )
    return min(fitting, default=_WHOLE)


def in_eighths(side: int, eighths: int) -> int:
    """Return the pixels of a side as libjpeg decodes it."""
    return -(-side * eighths // _WHOLE)


def decode_smaller(picture: Image.Image, target: tuple[int, int]) -> None:
    """Set a JPEG up to be decoded in as few eighths as `target` takes."""
    if not isinstance(picture, JpegImageFile):
        return
    if jpeg_eighths(picture.size, target) != _ODD_EIGHTHS:
        picture.draft(None, target)
    else:
        # Pillow's `draft` knows powers of two only; libjpeg-turbo rounds a third up to 3 eighths.
        width, height = (in_eighths(side, _ODD_EIGHTHS) for side in picture.size)
        picture.tile = [picture.tile[0]._replace(extents=(0, 0, width, height))]
        picture._size = (width, height)  # noqa: SLF001  # as `draft` does
        picture.decoderconfig = (3, 0)
    picture.im = _unfilled(picture.mode, picture.size)


def _unfilled(mode: str, size: tuple[int, int]) -> _imaging.ImagingCore:
    """Return memory for pixels that are all written next, or thrown away with an error.

    Pillow fills new memory with zeros: as much work as a sixth of a decode.
    """
    stride = size[0] * (1 if mode == "L" else 4)
    if stride * size[1] >= _MAPPED_BYTES:
        made: _imaging.ImagingCore = _imaging.new(mode, size)
        return made
    buffer = _new_buffer(None, stride * size[1])
    mapped: _imaging.ImagingCore = _imaging.map_buffer(buffer, size, "raw", 0, (mode, stride, 1))
    return mapped


def scale(picture: Image.Image, size: tuple[int, int], *, lossless: bool) -> Image.Image:
    """Return a picture in L, RGB, RGBA or CMYK in a smaller size.

    `lossless` tells that its source was: the finest lines are kept then.
    """
    is_coarse = min(own // new for own, new in zip(picture.size, size, strict=True)) >= _COARSE
    way = scale_by_simd if HAS_SIMD and not is_coarse else scale_by_pillow
    return way(picture, size, lossless=lossless)


def scale_by_simd(picture: Image.Image, size: tuple[int, int], *, lossless: bool) -> Image.Image:
    """Scale by SIMD, where `HAS_SIMD`."""
    kernel = simd.FilterType.lanczos3 if lossless else simd.FilterType.catmull_rom
    options = simd.ResizeOptions(resize_alg=simd.ResizeAlg.convolution(kernel))
    smaller = picture._new(_unfilled(picture.mode, size))  # noqa: SLF001  # as its own `resize` does
    try:
        resizer = _idle.pop()
    except IndexError:
        resizer = simd.Resizer()
    resizer.resize_pil(picture, smaller, options)
    if picture.mode != "RGBA" and 4 * picture.width * picture.height < _MAPPED_BYTES:
        _idle.append(resizer)
    return smaller


def release_buffers() -> None:
    """Free buffers that are kept between pictures."""
    _idle.clear()


def scale_by_pillow(picture: Image.Image, size: tuple[int, int], *, lossless: bool) -> Image.Image:
    """Scale by Pillow, on any platform."""
    # After a reduced JPEG decode at most half remains to be done. Hamming is as sharp as bicubic
    # there, for the work of bilinear.
    kernel = Image.Resampling.LANCZOS if lossless else Image.Resampling.HAMMING
    return picture.resize(size, kernel, reducing_gap=_REDUCING_GAP)
