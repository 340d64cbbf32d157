"""Inspect a picture cheaply: read the head of a file, and nothing of an address."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from producer.sources.bucket import SCHEME
from visionq.contract import Animated
from visionq.errors import (
    AnimatedImage,
    InputFileNotFound,
    TooLarge,
    TooManyPixels,
)
from visionq.http_checks import check_url_text
from visionq.images.headers import HEAD_BYTES, read_header
from visionq.images.kinds import CONVERTIBLE, KINDS, identify, recognise
from visionq.sdk.images import is_url
from visionq.submission import decode_data_url, is_data_url

if TYPE_CHECKING:
    from visionq.contract import PictureOptions
    from visionq.settings import Settings


@dataclass(frozen=True, slots=True)
class Seen:
    """The facts about one picture."""

    #: Pixels; None: not looked at, so that it counts as the largest.
    size: tuple[int, int] | None
    #: Equal for equal pictures; of a file, length and hash of the first bytes.
    likeness: str
    #: Whether equal likeness means equal content.
    certain: bool
    bytes: int = 0


def look(image: str, settings: Settings, options: PictureOptions) -> Seen:
    """Look at a picture of a row.

    Raises:
        ImageError: no worker would send it; the message does not name it.
        InvalidJob: a `data:` URL is malformed.
    """
    if is_data_url(image):
        content = decode_data_url(image, 0, _most_bytes(settings, options))
        size = _size(BytesIO(content), len(content), content[:HEAD_BYTES], settings, options)
        return Seen(size, hashlib.sha256(content).hexdigest(), certain=True, bytes=len(content))
    if is_url(image):
        check_url_text(image, image)
        return Seen(None, image, certain=True)
    if image.startswith(SCHEME):
        return Seen(None, image, certain=True)
    try:
        with Path(image).open("rb", buffering=0) as file:
            length = os.fstat(file.fileno()).st_size
            head = file.read(HEAD_BYTES)
            size = _size(file, length, head, settings, options)
    except OSError as error:
        missing = "there is no such file" if error.errno == _MISSING else f"{error.strerror}"
        raise InputFileNotFound(missing) from None
    except ValueError as error:  # a path with a NUL or a lone surrogate
        raise InputFileNotFound(f"not a file name: {error}") from None
    digest = hashlib.blake2b(head, digest_size=16).hexdigest()
    return Seen(size, f"{length}:{digest}", certain=False, bytes=length)


_MISSING = 2


def sha256_of_file(image: str) -> str:
    """Return the hash of a local picture, as cache keys use it."""
    if is_data_url(image):
        return hashlib.sha256(decode_data_url(image, 0, len(image))).hexdigest()
    try:
        with Path(image).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputFileNotFound(f"can't be read: {error.strerror}") from None


def _most_bytes(settings: Settings, options: PictureOptions) -> int:
    return settings.max_original_bytes if options.shrink else settings.max_image_bytes


def _size(
    file: BinaryIO, length: int, head: bytes, settings: Settings, options: PictureOptions
) -> tuple[int, int] | None:
    """Return the size, or raise if a worker would refuse the picture."""
    kind = recognise(head)
    most = _most_bytes(settings, options)
    if length > most:
        message = f"{length:,} bytes, the limit is {most:,}; save it smaller"
        if length <= settings.max_original_bytes:
            message += ", or let the job shrink it first (--shrink, or pictures.shrink)"
        raise TooLarge(message)
    if kind not in KINDS and not (options.convert and kind in CONVERTIBLE):
        identify(head)  # says what to do
    header = read_header(kind, file, length, head)
    if header.frames > 1 and options.animated is Animated.REFUSE:
        raise AnimatedImage(
            "several frames; send a still picture,"
            " or let the job take the first frame (--first-frame, or pictures.animated)"
        )
    if header.width * header.height > settings.max_image_pixels:
        raise TooManyPixels(
            f"{header.width}x{header.height}, {settings.max_image_pixels:,} pixels are taken"
        )
    return (header.width, header.height) if header.width and header.height else None
