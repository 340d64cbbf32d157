"""Check that an untrusted file is a picture that may be sent."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from visionq.contract import Animated, PictureOptions
from visionq.errors import (
    AnimatedImage,
    CorruptImage,
    TooLarge,
    TooManyPixels,
    UnsupportedFormat,
)
from visionq.images.containers import MalformedError, UnsupportedVariantError
from visionq.images.kinds import identify, is_convertible, recognise
from worker.images.decode import NOTE, decode, terminated
from worker.images.foreign import read_foreign
from worker.images.gif import read_gif
from worker.images.jpeg import read_jpeg
from worker.images.layout import CheckedImage, ImageLimits, Layout
from worker.images.png import read_png
from worker.images.webp import read_webp

if TYPE_CHECKING:
    from collections.abc import Callable

    from visionq.images.kinds import Kind

#: What a job that says nothing of its pictures asks for.
DEFAULTS: Final = PictureOptions()

_READERS: Final[dict[Kind, Callable[[bytes], Layout]]] = {
    "jpeg": read_jpeg,
    "png": read_png,
    "webp": read_webp,
    "gif": read_gif,
}


def inspect(
    data: bytes, *, name: str, limits: ImageLimits, options: PictureOptions = DEFAULTS
) -> CheckedImage:
    """Find out all that the container tells, decoding nothing.

    Raises:
        EmptyFile, NotAnImage, UnsupportedFormat, AnimatedImage, TooLarge, TooManyPixels,
        CorruptImage: what is wrong and what to do, with `image=name`.
    """
    most = limits.max_original_bytes if options.shrink else limits.max_bytes
    if len(data) > most:
        recognise(data, name=name)  # say so if it is no picture at all
        message = f"{len(data):,} bytes, the limit is {most:,}; save it smaller"
        if len(data) <= limits.max_original_bytes:
            message += ", or let the job shrink it first (--shrink, or pictures.shrink)"
        raise TooLarge(message, image=name)
    if options.convert and is_convertible(found := recognise(data, name=name)):
        kind = found.lower()
        layout = read_foreign(data, kind, name=name, limits=limits)
    else:
        kind = own = identify(data, name=name)
        layout = _read(own, data, name=name, options=options)
    _refuse(layout, name=name, limits=limits, options=options)
    return CheckedImage(format=kind, bytes=len(data), layout=layout, warnings=_warnings(layout))


def check(data: bytes, *, name: str, limits: ImageLimits) -> CheckedImage:
    """Inspect a file and decode it wholly, at the smallest size that its format offers.

    Call it inside a decode slot. Raises what `inspect` raises; a picture that breaks while it is
    decoded is a `CorruptImage`.
    """
    checked = inspect(data, name=name, limits=limits)
    decode(checked, shrunk_to=None, name=name, limits=limits)
    return checked


def _read(kind: Kind, data: bytes, *, name: str, options: PictureOptions) -> Layout:
    try:
        return _READERS[kind](data)
    except MalformedError as error:
        message = f"broken {kind.upper()}: {error}; send a whole copy"
        if (found := _read_unterminated(kind, data)) is not None:
            if options.unterminated:
                return found
            message += ", or let the job try this one (--unterminated, or pictures.unterminated)"
        raise CorruptImage(message, image=name) from None
    except UnsupportedVariantError as error:
        raise UnsupportedFormat(f"{error}; save it with 8 bits a sample", image=name) from None


def _read_unterminated(kind: Kind, data: bytes) -> Layout | None:
    for whole in terminated(data, kind):
        with suppress(MalformedError, UnsupportedVariantError):
            return replace(_READERS[kind](whole), unterminated=True, notes=(NOTE,))
    return None


def _refuse(layout: Layout, *, name: str, limits: ImageLimits, options: PictureOptions) -> None:
    if not layout.width or not layout.height:
        message = f"the size is {layout.width}x{layout.height}; send a whole copy"
        raise CorruptImage(message, image=name)
    if layout.frames > 1 and options.animated is Animated.REFUSE:
        message = (
            f"{layout.frames} frames; send a still picture, "
            "or let the job take the first frame (--first-frame, or pictures.animated)"
        )
        raise AnimatedImage(message, image=name)
    pixels = layout.width * layout.height
    if pixels > limits.max_pixels:
        message = (
            f"{layout.width}x{layout.height} is {pixels:,} pixels, "
            f"the limit is {limits.max_pixels:,}; scale it down"
        )
        raise TooManyPixels(message, image=name)
    if layout.frames * pixels > limits.max_frame_pixels:
        message = (
            f"{layout.frames} frames of {pixels:,} pixels, "
            f"the limit for all is {limits.max_frame_pixels:,}"
        )
        raise TooManyPixels(message, image=name)


def _warnings(layout: Layout) -> tuple[str, ...]:
    found = []
    if "ICC" in layout.stripped and layout.profile is None:
        found.append("the colour profile is broken and was ignored")
    if "further pictures" in layout.stripped:
        found.append("the file holds several pictures; the first one is sent")
    if layout.frames > 1:
        found.append(f"the first of {layout.frames} frames is sent")
    return (*found, *layout.notes)
