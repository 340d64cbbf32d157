"""From a checked picture to the bytes that are sent: what the model will see, and nothing else."""

from __future__ import annotations

import io
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from PIL import Image

from visionq.errors import TooLarge
from worker.images.advice import LOOK_SIDE, advise, glance, wanted
from worker.images.check import DEFAULTS
from worker.images.colour import (
    drop_opaque_alpha,
    is_srgb,
    on_white,
    set_upright,
    to_srgb,
    widen,
)
from worker.images.decode import decode, taming
from worker.images.kinds import MIME_TYPES, Kind, own_kind
from worker.images.memory import affordable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from visionq.contract import PictureOptions
    from worker.images.models import CheckedImage, ImageLimits

    Fit = Callable[[int, int], tuple[int, int]]

#: Photos: at 85 JPEG's losses are below what scaling does already.
_PHOTO_QUALITIES: Final = (85, 70, 50)
#: Screenshots and drawings that PNG does not suit: full colour resolution keeps text legible.
_DRAWING_QUALITIES: Final = (90, 75, 50)
#: A picture of at most so many colours is a drawing, a chart or a page of text.
_DRAWING_COLOURS: Final = 4096
_SHRINK: Final = 0.7
_SMALLEST_SIDE: Final = 16


@dataclass(frozen=True)
class EncodedImage:
    """A picture ready to be sent."""

    data: bytes = field(repr=False)
    format: Kind
    mime_type: str
    width: int
    height: int
    #: Whether the pixels are the file's own, not encoded again.
    passed_through: bool
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Recipe:
    kind: Kind
    options: dict[str, int]

    def save(self, picture: Image.Image) -> bytes:
        target = io.BytesIO()
        picture.save(target, self.kind.upper(), **self.options)
        return target.getvalue()


def encode(
    checked: CheckedImage,
    *,
    fit: Fit,
    name: str,
    limits: ImageLimits,
    options: PictureOptions = DEFAULTS,
) -> EncodedImage:
    """Return the picture upright, without metadata, in sRGB, and no larger than `fit` says.

    `fit(width, height)` gives the size that the model will see; a picture is never enlarged. One
    that fits already keeps its own pixels: its file is sent byte for byte, or without the parts
    that are no picture. Every picture is decoded wholly, once. Call it inside a decode slot.

    Raises:
        CorruptImage, TooManyPixels: it breaks while it is decoded, or needs too much memory.
        TooLarge: it can't be brought below the limit on bytes.
        PictureRejected: it breaks a requirement that the job insists on.
    """
    size = (checked.width, checked.height)
    target = _clamp(fit(*size), size)
    if target == size and _may_pass(checked, limits, options):
        return _pass_through(checked, name=name, limits=limits, options=options)
    plan = affordable(checked, target, name=name, max_bytes=limits.max_decode_bytes)
    picture = _decode_upright(checked, plan.size, name=name, limits=limits)
    picture = drop_opaque_alpha(to_srgb(picture, checked.layout.profile))
    if options.flatten:
        picture = on_white(picture)
    advice = advise(picture, options, short_side=min(picture.size), name=name)
    sent = _within_bytes(
        picture, lossless=checked.layout.lossless, name=name, max_bytes=limits.max_sent_bytes
    )
    return replace(sent, warnings=(*plan.warnings, *advice, *sent.warnings))


def _clamp(wanted: tuple[int, int], size: tuple[int, int]) -> tuple[int, int]:
    width, height = (max(1, min(side, own)) for side, own in zip(wanted, size, strict=True))
    return width, height


def _may_pass(checked: CheckedImage, limits: ImageLimits, options: PictureOptions) -> bool:
    layout = checked.layout
    return (
        layout.plain
        and layout.orientation == 1
        and len(layout.content) <= limits.max_sent_bytes
        and not (layout.alpha and options.flatten)
        and (layout.profile is None or is_srgb(layout.profile))
    )


def _pass_through(
    checked: CheckedImage, *, name: str, limits: ImageLimits, options: PictureOptions
) -> EncodedImage:
    affordable(checked, None, name=name, max_bytes=limits.max_decode_bytes)
    look_at = (LOOK_SIDE, LOOK_SIDE) if wanted(options) else None
    picture = decode(checked, shrunk_to=look_at, name=name, limits=limits)
    advice: tuple[str, ...] = ()
    if look_at is not None:
        with taming(name):
            picture = glance(picture)
        short_side = min(checked.width, checked.height)
        advice = advise(picture, options, short_side=short_side, name=name)
    return EncodedImage(
        data=checked.layout.content,
        format=own_kind(checked.format),
        mime_type=MIME_TYPES[own_kind(checked.format)],
        width=checked.width,
        height=checked.height,
        passed_through=True,
        warnings=advice,
    )


def _decode_upright(
    checked: CheckedImage, target: tuple[int, int], *, name: str, limits: ImageLimits
) -> Image.Image:
    stored = target if not checked.sideways else (target[1], target[0])
    picture = decode(checked, shrunk_to=stored, name=name, limits=limits)
    with taming(name):  # palette and transparency still come from the file
        picture = widen(picture)
    if picture.size != stored:
        # After a reduced JPEG decode at most half remains to be done, where bicubic is enough.
        lossless = checked.layout.lossless
        kernel = Image.Resampling.LANCZOS if lossless else Image.Resampling.BICUBIC
        picture = picture.resize(stored, kernel, reducing_gap=3.0)
    return set_upright(picture, checked.layout.orientation)


def _within_bytes(
    picture: Image.Image, *, lossless: bool, name: str, max_bytes: int
) -> EncodedImage:
    """Encode well; if that is too many bytes, lower the quality, then the size, and say so."""
    picture.info.clear()  # Pillow would write a profile or comment found here
    size = picture.size
    while min(picture.size) >= _SMALLEST_SIDE or picture.size == size:
        for step, (kind, data) in enumerate(_attempts(picture, lossless=lossless)):
            if len(data) <= max_bytes:
                lowered = step > 0 or picture.size != size
                return EncodedImage(
                    data=data,
                    format=kind,
                    mime_type=MIME_TYPES[kind],
                    width=picture.width,
                    height=picture.height,
                    passed_through=False,
                    warnings=(_lowered(size, picture.size, max_bytes),) if lowered else (),
                )
        smaller = tuple(max(1, int(side * _SHRINK)) for side in picture.size)
        if smaller == picture.size:
            break
        picture = picture.resize(smaller, Image.Resampling.BICUBIC)
    message = f"it can't be brought below {max_bytes:,} bytes; send it smaller"
    raise TooLarge(message, image=name)


def _lowered(size: tuple[int, int], sent: tuple[int, int], max_bytes: int) -> str:
    scaled = "" if sent == size else f" and scaled down to {sent[0]}x{sent[1]}"
    return f"compressed more strongly{scaled} to stay within {max_bytes:,} bytes"


def _attempts(picture: Image.Image, *, lossless: bool) -> Iterator[tuple[Kind, bytes]]:
    """Yield encodings from the best to the smallest."""
    if picture.mode == "RGBA":
        recipes = [_Recipe("png", {"compress_level": 6}), _Recipe("webp", {"quality": 80})]
    elif not lossless:
        recipes = [_Recipe("jpeg", {"quality": quality}) for quality in _PHOTO_QUALITIES]
    else:
        recipes = [
            _Recipe("jpeg", {"quality": quality, "subsampling": 0})
            for quality in _DRAWING_QUALITIES
        ]
        if picture.getcolors(_DRAWING_COLOURS) is not None:
            first = recipes.pop(0).save(picture)
            exact = _Recipe("png", {"compress_level": 6}).save(picture)
            yield ("png", exact) if len(exact) <= len(first) else ("jpeg", first)
    for recipe in recipes:
        yield recipe.kind, recipe.save(picture)
