"""Decode untrusted bytes: the only place that calls a decoder.

Files that lack nothing but their end marker, because they were cut by a byte or two or padded with
zeros, can be given one.
"""

from __future__ import annotations

import functools
import io
import time
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Final

from PIL import Image

from visionq.errors import CorruptImage, ImageError, TooManyPixels, UnsupportedFormat
from visionq.images.containers import MalformedError, UnsupportedVariantError
from visionq.images.kinds import CONVERTIBLE, HEIC_PACKAGE
from worker.images.scale import decode_smaller

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from visionq.images.kinds import Kind
    from worker.images.layout import CheckedImage, ImageLimits

NOTE: Final = "the file lacks its end marker; its picture decodes wholly"
_END_OF_IMAGE: Final = b"\xff\xd9"
_TRAILER: Final = b"\x3b"
_OWN_ZEROS: Final = 2
#: Decoded where data is missing, ignored where none is; without a marker.
_FILLER: Final = bytes(range(1, 255)) * 32


def terminated(data: bytes, kind: Kind) -> Iterator[bytes]:
    """Yield the file with its end marker at each place where it may belong."""
    unpadded = data.rstrip(b"\0")
    if kind == "jpeg":
        half_a_marker = unpadded.endswith(b"\xff") and len(unpadded) == len(data)
        # A scan may end in zeros of its own; where it does not, they are passed over.
        body = unpadded[:-1] if half_a_marker else data[: len(unpadded) + _OWN_ZEROS]
        yield body + _END_OF_IMAGE
    elif kind == "gif":
        yield data + _TRAILER
        yield unpadded + b"\0" + _TRAILER  # the zero ends the last block


def check_end(jpeg: bytes) -> None:
    """Check that the last scan of a JPEG with a new end marker is complete.

    A decoder fills what is missing, and does not say so. So something else is given to it to decode
    there: where this changes the picture, data is missing. An eighth of the size tells.

    Raises:
        MalformedError: the scan is cut off, or progressive, of which an eighth tells nothing.
    """
    body = jpeg[: -len(_END_OF_IMAGE)]
    first, second = (_small(body + filler + _END_OF_IMAGE) for filler in (b"", _FILLER))
    if first != second:
        raise MalformedError("the file is cut off inside its picture")


def _small(jpeg: bytes) -> bytes:
    picture = Image.open(io.BytesIO(jpeg), formats=("JPEG",))
    if "progressive" in picture.info:
        raise MalformedError("a progressive file has no end marker")
    picture.draft(None, (1, 1))
    return picture.tobytes()


def decode(
    checked: CheckedImage,
    *,
    shrunk_to: tuple[int, int] | None,
    name: str,
    limits: ImageLimits,
    clock: Callable[[], float] = time.thread_time,
) -> Image.Image:
    """Decode a picture wholly and return its pixels as they are stored, not yet upright.

    A JPEG comes in as few eighths as can be, but not below `shrunk_to` (width, height as stored;
    None: in one). Every byte of its scans is read all the same, so a cut file is found out.

    Raises:
        CorruptImage: the picture breaks on the way.
        TooManyPixels: the decoder finds more pixels than the header says, or is too slow.
    """
    raise_ceiling(limits.max_pixels)
    layout = checked.layout
    with taming(name):
        if layout.unterminated and checked.format == "jpeg":
            check_end(layout.content)
        source = TimedFile(layout.content, limits.max_seconds, clock)
        picture = Image.open(source, formats=(plugin(checked.format),))
        if picture.size != (layout.width, layout.height):
            message = "its headers contradict each other; send a whole copy"
            raise CorruptImage(message, image=name)
        decode_smaller(picture, shrunk_to or (1, 1))
        picture.load()
    return picture._new(picture.im)  # noqa: SLF001  # without its decoder, which holds frames of its own


def plugin(kind: str) -> str:
    """Return the name of Pillow's plugin; the extra `heic` brings that of HEIC."""
    if kind == "heic":
        _register_heic()
    return CONVERTIBLE.get(kind.upper(), kind.upper())


@functools.cache
def _register_heic() -> None:
    import_module(HEIC_PACKAGE).register_heif_opener(
        thumbnails=False, depth_images=False, aux_images=False, decode_threads=1
    )


class _TooSlowError(Exception):
    """The decode has had its time."""


class TimedFile(io.BytesIO):
    """A file that stops giving bytes when its time is over, and so ends the decode.

    Pillow feeds its decoders of JPEG, PNG and GIF in pieces of 64 KB, none of which takes long.
    WEBP, AVIF and TIFF are decoded in one go: there the limits on pixels are the limit on time.
    Time is that of the processor, so that a busy machine refuses no picture.
    """

    def __init__(
        self, content: bytes, seconds: float, clock: Callable[[], float] = time.thread_time
    ) -> None:
        super().__init__(content)
        self._clock = clock
        self._end = clock() + seconds

    def read(self, size: int | None = -1, /) -> bytes:
        """Read on, unless the time is over."""
        if self._clock() > self._end:
            raise _TooSlowError
        return super().read(size)


@contextmanager
def taming(name: str) -> Iterator[None]:
    """Map any exception of a decoder to our own errors."""
    try:
        yield
    except ImageError:
        raise
    except UnsupportedVariantError as error:
        raise UnsupportedFormat(f"{error}; save it with 8 bits a sample", image=name) from None
    except _TooSlowError as error:
        raise TooManyPixels("it takes too long to decode; scale it down", image=name) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning, MemoryError) as error:
        raise TooManyPixels("more pixels than may be decoded; scale it down", image=name) from error
    except Exception as error:  # decoders raise anything at broken files: it is all one answer
        message = "it does not decode wholly; send a whole copy, or save it again"
        raise CorruptImage(message, image=name) from error


def raise_ceiling(max_pixels: int) -> None:
    """Keep Pillow's own ceiling, one number for the whole process, from lying below ours.

    It is only ever raised, so threads can't harm each other; ours has been enforced before.
    """
    if Image.MAX_IMAGE_PIXELS is not None and max_pixels > Image.MAX_IMAGE_PIXELS:
        Image.MAX_IMAGE_PIXELS = max_pixels
