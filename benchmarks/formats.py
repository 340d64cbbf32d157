"""Formats and qualities: size, time and remaining quality, for each kind of picture."""

from __future__ import annotations

import io
import math
import os
import re
import shutil
import subprocess
import time
from typing import TYPE_CHECKING, Final

from PIL import Image, ImageChops, ImageStat

from benchmarks.pictures import encoded, line_art, page, photo, scan, screenshot
from benchmarks.tables import Table
from worker.images.encode import encodings

if TYPE_CHECKING:
    from collections.abc import Callable

_SIZE: Final = (1152, 768)
_KINDS: Final[dict[str, tuple[Callable[[int, int], Image.Image], bool]]] = {
    "photo": (photo, False),
    "screenshot": (screenshot, True),
    "scan": (scan, False),
    "page of text": (page, True),
    "line art": (line_art, True),
}
_WITH_TEXT: Final = frozenset({"screenshot", "scan", "page of text"})
_WAYS: Final[tuple[tuple[str, dict[str, int]], ...]] = (
    ("JPEG", {"quality": 70}),
    ("JPEG", {"quality": 85}),
    ("JPEG", {"quality": 85, "subsampling": 0}),
    ("JPEG", {"quality": 90, "subsampling": 0}),
    ("WEBP", {"quality": 80, "method": 0}),
    ("WEBP", {"quality": 80}),
    ("PNG", {"compress_level": 6}),
)
_SECONDS: Final = 60
_WORD: Final = re.compile(r"\w{3,}")


def measure() -> list[Table]:
    """Return one table: each kind of picture in each format, and the format chosen."""
    rows: list[tuple[str | float | None, ...]] = []
    for kind, (draw, lossless) in _KINDS.items():
        picture = draw(*_SIZE)
        wanted = _words(encoded(picture, "PNG")) if kind in _WITH_TEXT else None
        for form, options in _WAYS:
            started = time.process_time()
            data = encoded(picture, form, **options)
            spent = (time.process_time() - started) * 1000
            name = " ".join([form, *(f"{key} {value}" for key, value in options.items())])
            rows.append((kind, name, *_row(picture, data, spent, wanted)))
        started = time.process_time()
        form_sent, data = next(encodings(picture, lossless=lossless))
        spent = (time.process_time() - started) * 1000
        rows.append((kind, f"chosen: {form_sent}", *_row(picture, data, spent, wanted)))
    columns = ("picture", "way", "KB", "CPU ms", "PSNR dB", "words still read")
    note = "Words: share of those Tesseract reads in the original; none without Tesseract or text."
    return [Table("Formats for a picture of 1152x768", columns, tuple(rows), note)]


def _row(
    picture: Image.Image, data: bytes, spent: float, wanted: set[str] | None
) -> tuple[float | None, ...]:
    shown = Image.open(io.BytesIO(data)).convert("RGB")
    return (len(data) / 1000, spent, psnr(picture, shown), _legible(data, wanted))


def psnr(one: Image.Image, other: Image.Image) -> float:
    """Return the PSNR of two RGB pictures in decibels; 99 if they are equal."""
    squares = ImageStat.Stat(ImageChops.difference(one, other)).sum2
    mean = sum(squares) / (3 * one.width * one.height)
    return 10 * math.log10(255**2 / mean) if mean else 99.0


def _legible(data: bytes, wanted: set[str] | None) -> float | None:
    if not wanted:
        return None
    return len(wanted & (_words(data) or set())) / len(wanted)


def _words(data: bytes) -> set[str] | None:
    """Return the words that Tesseract reads, or None where it is not installed."""
    program = shutil.which("tesseract")
    if program is None:
        return None
    command = [program, "stdin", "stdout", "-l", "rus+eng", "--psm", "6"]
    read = subprocess.run(  # noqa: S603  # found on PATH
        command,
        input=data,
        capture_output=True,
        check=False,
        timeout=_SECONDS,
        env={**os.environ, "OMP_THREAD_LIMIT": "1"},  # more threads slow each other down
    )
    return set(_WORD.findall(read.stdout.decode("utf-8", "replace")))
