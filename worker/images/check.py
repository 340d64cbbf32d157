"""Whether a file is a picture that may be sent, found out without trusting a byte of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from visionq.errors import (
    AnimatedImage,
    CorruptImage,
    TooLarge,
    TooManyPixels,
    UnsupportedFormat,
)
from worker.images.decode import decode
from worker.images.gif import read_gif
from worker.images.jpeg import read_jpeg
from worker.images.kinds import identify
from worker.images.layout import Layout, MalformedError, UnsupportedVariantError
from worker.images.models import CheckedImage, ImageLimits
from worker.images.png import read_png
from worker.images.webp import read_webp

if TYPE_CHECKING:
    from collections.abc import Callable

    from worker.images.kinds import Kind

_READERS: Final[dict[Kind, Callable[[bytes], Layout]]] = {
    "jpeg": read_jpeg,
    "png": read_png,
    "webp": read_webp,
    "gif": read_gif,
}


def inspect(data: bytes, *, name: str, limits: ImageLimits) -> CheckedImage:
    """Find out all that the container tells, decoding nothing.

    Raises:
        EmptyFile, NotAnImage, UnsupportedFormat, AnimatedImage, TooLarge, TooManyPixels,
        CorruptImage: what is wrong and what to do, with `image=name`.
    """
    kind = identify(data, name=name)
    if len(data) > limits.max_bytes:
        message = (
            f"{len(data):,} bytes, the limit is {limits.max_bytes:,}; "
            "save it smaller or with stronger compression"
        )
        raise TooLarge(message, image=name)
    layout = _read(kind, data, name=name)
    _refuse(layout, name=name, limits=limits)
    return CheckedImage(format=kind, bytes=len(data), layout=layout, warnings=_warnings(layout))


def check(data: bytes, *, name: str, limits: ImageLimits) -> CheckedImage:
    """Inspect a file and decode it wholly, at the smallest size that its format offers.

    Call it inside a decode slot. Raises what `inspect` raises; a picture that breaks while it is
    decoded is a `CorruptImage`.
    """
    checked = inspect(data, name=name, limits=limits)
    decode(checked, shrunk_to=None, name=name, limits=limits)
    return checked


def _read(kind: Kind, data: bytes, *, name: str) -> Layout:
    try:
        return _READERS[kind](data)
    except MalformedError as error:
        message = f"broken {kind.upper()}: {error}; send a whole copy"
        raise CorruptImage(message, image=name) from None
    except UnsupportedVariantError as error:
        raise UnsupportedFormat(f"{error}; save it with 8 bits a sample", image=name) from None


def _refuse(layout: Layout, *, name: str, limits: ImageLimits) -> None:
    if not layout.width or not layout.height:
        message = f"the size is {layout.width}x{layout.height}; send a whole copy"
        raise CorruptImage(message, image=name)
    if layout.frames > 1:
        message = f"{layout.frames} frames; send a still picture, for example the first frame"
        raise AnimatedImage(message, image=name)
    if layout.width * layout.height > limits.max_pixels:
        message = (
            f"{layout.width}x{layout.height} is {layout.width * layout.height:,} pixels, "
            f"the limit is {limits.max_pixels:,}; scale it down"
        )
        raise TooManyPixels(message, image=name)


def _warnings(layout: Layout) -> tuple[str, ...]:
    found = []
    if "ICC" in layout.stripped and layout.profile is None:
        found.append("the colour profile is broken and was ignored")
    if "further pictures" in layout.stripped:
        found.append("the file holds several pictures; the first one is sent")
    return tuple(found)
