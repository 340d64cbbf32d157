"""Encode a checked picture to the bytes that are sent.

Formats and qualities were chosen by measurement (`benchmarks/`).
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field, replace
from functools import partial
from math import sqrt
from typing import TYPE_CHECKING, Final

from PIL import Image

from visionq.crops import boxes_along, crop_boxes
from visionq.errors import TooLarge
from visionq.images.kinds import MIME_TYPES, Kind, own_kind
from visionq.pricing.vision import lost_detail, seen_size
from worker.images.advice import LOOK_SIDE, advise, glance, wanted
from worker.images.alike import hash_of
from worker.images.check import DEFAULTS
from worker.images.colour import (
    drop_opaque_alpha,
    is_srgb,
    on_clear_canvas,
    on_white,
    set_upright,
    to_srgb,
    widen,
)
from worker.images.decode import decode, taming
from worker.images.memory import affordable
from worker.images.scale import scale

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from visionq.contract import Detail, PictureOptions
    from visionq.crops import Box
    from visionq.images.kinds import Kind
    from visionq.images.perceptual_hash import PerceptualHash
    from visionq.pricing.vision import VisionRules
    from worker.images.layout import CheckedImage, ImageLimits

    Fit = Callable[[int, int], tuple[int, int]]

#: Photos: at 85 JPEG's losses are below what scaling does already.
_PHOTO_QUALITIES: Final = (85, 70, 50)
#: Screenshots and drawings that PNG does not suit go in WEBP: half the bytes of JPEG, with more of
#: the text legible, for five times the work. Large ones go in JPEG, in full colour resolution.
_DRAWING_QUALITIES: Final = (90, 75, 50)
#: A picture with this many colours or fewer is a drawing, a chart or a page of text.
_DRAWING_COLOURS: Final = 4096
#: Bytes below which a drawing is sent exact even if another format is smaller.
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
class EncoderChoice:
    """A format with its options, as Pillow knows them."""

    kind: Kind
    options: dict[str, int]

    def save(self, picture: Image.Image) -> bytes:
        """Return the encoded picture."""
        target = io.BytesIO()
        picture.save(target, self.kind.upper(), **self.options)
        return target.getvalue()


def encodings(picture: Image.Image, *, lossless: bool) -> Iterator[tuple[Kind, bytes]]:
    """Yield encodings from the best to the smallest; at least one.

    `lossless` tells that the source was: a screenshot or drawing, or a photo that was kept exact.
    """
    if picture.mode == "RGBA" or max(picture.size) > _JPEG_SIDE:
        choices = _for_transparency(picture)
    elif not lossless:
        choices = [EncoderChoice("jpeg", {"quality": quality}) for quality in _PHOTO_QUALITIES]
    else:
        pixels = picture.width * picture.height
        choices = [
            EncoderChoice("jpeg", {"quality": quality, "subsampling": 0})
            for quality in _DRAWING_QUALITIES
        ]
        if pixels <= _FEW_PIXELS and max(picture.size) <= _WEBP_SIDE:
            choices[0] = EncoderChoice("webp", {"quality": _WEBP_QUALITY, "method": 0})
        if pixels <= _MANY_PIXELS and picture.getcolors(_DRAWING_COLOURS) is not None:
            best = choices.pop(0)
            first, exact = best.save(picture), _png(pixels).save(picture)
            small = len(exact) <= max(len(first), _EXACT_BYTES)
            yield ("png", exact) if small else (best.kind, first)
    for choice in choices:
        yield choice.kind, choice.save(picture)


def _for_transparency(picture: Image.Image) -> list[EncoderChoice]:
    pixels = picture.width * picture.height
    fast = pixels > _FEW_PIXELS
    webp = EncoderChoice("webp", {"quality": _WEBP_QUALITY, **({"method": 0} if fast else {})})
    if max(picture.size) > _WEBP_SIDE:
        return [_png(pixels)]
    return [webp] if fast else [_png(pixels), webp]


def _png(pixels: int) -> EncoderChoice:
    return EncoderChoice("png", {"compress_level": 6 if pixels <= _FEW_PIXELS else 1})


#: Pixels of a transparent picture: PNG and WEBP of more take seconds.
_MAX_CLEAR_PIXELS: Final = 6_000_000
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
    #: Of the whole picture, if it was wanted and the picture is not too plain.
    perceptual_hash: PerceptualHash | None = None


def encode(
    checked: CheckedImage,
    *,
    fit: Fit,
    name: str,
    limits: ImageLimits,
    options: PictureOptions = DEFAULTS,
    hashes: bool = False,
) -> EncodedImage:
    """Return the picture upright, without metadata, in sRGB, and no larger than `fit` says.

    `fit(width, height)` gives the size that the model will see; a picture is never enlarged. One
    that fits already keeps its own pixels: its file is sent byte for byte, or without the parts
    that are no picture. Every picture is decoded wholly, once. `hashes` adds its perceptual hash.
    Call it inside a decode slot.

    Raises:
        CorruptImage, TooManyPixels: it breaks while it is decoded, or needs too much memory.
        TooLarge: it can't be brought below the limit on bytes.
        PictureRejected: it breaks a requirement that the job insists on.
    """
    size = (checked.width, checked.height)
    target = _clamp(fit(*size), size)
    if target == size and _may_pass(checked, limits, options):
        return _pass_through(checked, name=name, limits=limits, options=options, hashes=hashes)
    flatten = _is_flattened(checked, options)
    target, warnings = _bounded(target, clear=checked.layout.alpha and not flatten)
    plan = affordable(checked, target, name=name, max_bytes=limits.max_decode_bytes)
    picture = decode_in_srgb(checked, plan.size, flatten=flatten, name=name, limits=limits)
    advice = advise([picture], options, short_side=min(picture.size), name=name)
    looks = hash_of(picture) if hashes else None
    sent = _within_bytes(
        picture, lossless=checked.layout.lossless, name=name, max_bytes=limits.max_sent_bytes
    )
    lost = _lost(size, (sent.width, sent.height), options)
    said = (*warnings, *plan.warnings, *lost, *advice, *sent.warnings)
    return replace(sent, warnings=said, perceptual_hash=looks)


def encode_as_seen(
    checked: CheckedImage,
    *,
    rules: VisionRules,
    model: str,
    detail: Detail,
    name: str,
    limits: ImageLimits,
    options: PictureOptions,
    hashes: bool = False,
) -> tuple[EncodedImage, ...]:
    """Return the pictures to send: one, or the crops of it.

    `hashes` adds the perceptual hash to a picture that is not cut. Call it inside a decode slot.
    Raises what `encode` raises, and `TooManyPixels` for too many crops.
    """
    fit, limits = partial(seen_size, rules, model, detail), limits.within(rules.request_of(model))
    boxes: tuple[Box, ...] = ()
    if options.crops:
        boxes = crop_boxes(rules, model, detail, checked.width, checked.height, name=name)
    if boxes:
        return encode_crops(checked, boxes, fit=fit, name=name, limits=limits, options=options)
    return (encode(checked, fit=fit, name=name, limits=limits, options=options, hashes=hashes),)


def encode_crops(
    checked: CheckedImage,
    boxes: Sequence[Box],
    *,
    fit: Fit,
    name: str,
    limits: ImageLimits,
    options: PictureOptions = DEFAULTS,
) -> tuple[EncodedImage, ...]:
    """Return the encoded crops of a picture in order.

    `boxes` are two or more, as `visionq.crops.crop_boxes` makes them. The picture is scaled once,
    by as much as the model scales a crop, and cut then. The first
    crop carries all warnings. Call it inside a decode slot; it raises what `encode` raises.
    """
    size, crop = (checked.width, checked.height), _size(boxes[0])
    flatten = _is_flattened(checked, options)
    target, warnings = _bounded(
        _clamp(fit(*crop), crop), clear=checked.layout.alpha and not flatten
    )
    whole = _in_proportion(size, crop, target)
    plan = affordable(checked, whole, name=name, max_bytes=limits.max_decode_bytes)
    picture = decode_in_srgb(checked, plan.size, flatten=flatten, name=name, limits=limits)
    length = max(_in_proportion(target, whole, plan.size))
    places = boxes_along(*picture.size, length, len(boxes))
    advice = advise(map(picture.crop, places), options, short_side=min(target), name=name)
    sent: list[EncodedImage] = []
    left = limits.max_request_bytes // 4 * 3
    for place in places:
        sent.append(
            _within_bytes(
                picture.crop(place),
                lossless=checked.layout.lossless,
                name=name,
                max_bytes=limits.max_sent_bytes,
            )
        )
        left -= len(sent[-1].data)
        if left < 0:
            message = f"its crops are more than {limits.max_request_bytes:,} bytes in base64"
            raise TooLarge(f"{message}; send it smaller", image=name)
    lost = _lost(crop, _size(places[0]), options)
    sent[0] = replace(
        sent[0], warnings=(*warnings, *plan.warnings, *lost, *advice, *sent[0].warnings)
    )
    return tuple(sent)


def _size(box: Box) -> tuple[int, int]:
    left, top, right, bottom = box
    return right - left, bottom - top


def _in_proportion(
    size: tuple[int, int], before: tuple[int, int], after: tuple[int, int]
) -> tuple[int, int]:
    """Return a size scaled as another one was."""
    width, height = (
        max(1, round(side * new / old)) for side, old, new in zip(size, before, after, strict=True)
    )
    return width, height


def _lost(size: tuple[int, int], sent: tuple[int, int], options: PictureOptions) -> tuple[str, ...]:
    reduction = lost_detail(size, sent)
    if reduction is None:
        return ()
    width, height = sent
    warning = f"scaled down {reduction:.1f} times, to {width}x{height}: print is lost"
    way_out = "cut it into parts, or let the job do so (--crops, or pictures.crops)"
    return (warning if options.crops else f"{warning}; {way_out}",)


def _bounded(target: tuple[int, int], *, clear: bool) -> tuple[tuple[int, int], tuple[str, ...]]:
    """Return the size of a possibly transparent picture as sent, and warnings."""
    width, height = target
    if not clear or width * height <= _MAX_CLEAR_PIXELS:
        return target, ()
    shrink = sqrt(_MAX_CLEAR_PIXELS / (width * height))
    width, height = max(1, int(width * shrink)), max(1, int(height * shrink))
    warning = f"scaled down to {width}x{height}: transparent pictures take long to compress"
    return (width, height), (warning,)


def _clamp(wanted: tuple[int, int], size: tuple[int, int]) -> tuple[int, int]:
    width, height = (max(1, min(side, own)) for side, own in zip(wanted, size, strict=True))
    return width, height


def _is_flattened(checked: CheckedImage, options: PictureOptions) -> bool:
    """Return whether transparency is flattened onto white.

    Where the first frame of an animation draws nothing, people see the page that it is on.
    """
    return options.flatten or checked.frames > 1


def _may_pass(checked: CheckedImage, limits: ImageLimits, options: PictureOptions) -> bool:
    layout = checked.layout
    return (
        layout.plain
        and layout.orientation == 1
        and len(layout.content) <= limits.max_sent_bytes
        and not (layout.alpha and _is_flattened(checked, options))
        and (layout.profile is None or layout.tells_profile or is_srgb(layout.profile))
    )


def _pass_through(
    checked: CheckedImage,
    *,
    name: str,
    limits: ImageLimits,
    options: PictureOptions,
    hashes: bool,
) -> EncodedImage:
    affordable(checked, None, name=name, max_bytes=limits.max_decode_bytes)
    look_at = (LOOK_SIDE, LOOK_SIDE) if hashes or wanted(options) else None
    picture = decode(checked, shrunk_to=look_at, name=name, limits=limits)
    advice: tuple[str, ...] = ()
    looks = None
    if look_at is not None:
        with taming(name):
            picture = glance(picture)
            looks = hash_of(picture) if hashes else None
        short_side = min(checked.width, checked.height)
        advice = advise([picture], options, short_side=short_side, name=name)
    return EncodedImage(
        data=checked.layout.content,
        format=own_kind(checked.format),
        mime_type=MIME_TYPES[own_kind(checked.format)],
        width=checked.width,
        height=checked.height,
        passed_through=True,
        warnings=advice,
        perceptual_hash=looks,
    )


def decode_in_srgb(
    checked: CheckedImage,
    target: tuple[int, int],
    *,
    flatten: bool,
    name: str,
    limits: ImageLimits,
) -> Image.Image:
    """Return the picture upright and scaled to `target`, in L, RGB or RGBA.

    `flatten` puts it on white.

    Raises:
        CorruptImage, TooManyPixels: it breaks while it is decoded.
    """
    picture = _decode_upright(checked, target, name=name, limits=limits)
    picture = drop_opaque_alpha(to_srgb(picture, checked.layout.profile))
    return on_white(picture) if flatten else picture


def _decode_upright(
    checked: CheckedImage, target: tuple[int, int], *, name: str, limits: ImageLimits
) -> Image.Image:
    stored = target if not checked.sideways else (target[1], target[0])
    picture = decode(checked, shrunk_to=stored, name=name, limits=limits)
    with taming(name):  # palette and transparency still come from the file
        picture = widen(picture, checked.layout.values)
        if checked.layout.frame is not None:
            picture = on_clear_canvas(picture, checked.layout.frame)
    if picture.size != stored:
        picture = scale(picture, stored, lossless=checked.layout.lossless)
    return set_upright(picture, checked.layout.orientation)


def _within_bytes(
    picture: Image.Image, *, lossless: bool, name: str, max_bytes: int
) -> EncodedImage:
    """Encode well; if too large, lower quality, then size, with a warning."""
    picture.info.clear()  # Pillow would write a profile or comment found here
    size = picture.size
    while min(picture.size) >= _SMALLEST_SIDE or picture.size == size:
        least = 0
        for step, (kind, data) in enumerate(encodings(picture, lossless=lossless)):
            least = len(data)
            if least <= max_bytes:
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
        shrink = min(_SHRINK, sqrt(max_bytes / least))
        smaller = (max(1, int(picture.width * shrink)), max(1, int(picture.height * shrink)))
        if smaller == picture.size:
            break
        picture = picture.resize(smaller, Image.Resampling.BICUBIC)
    message = f"it can't be brought below {max_bytes:,} bytes; send it smaller"
    raise TooLarge(message, image=name)


def _lowered(size: tuple[int, int], sent: tuple[int, int], max_bytes: int) -> str:
    scaled = "" if sent == size else f" and scaled down to {sent[0]}x{sent[1]}"
    return f"compressed more strongly{scaled} to stay within {max_bytes:,} bytes"
