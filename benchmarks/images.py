"""Time and memory of one picture: visionq, plain Pillow, and libjpeg-turbo as the floor."""

from __future__ import annotations

import io
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from PIL import Image

from benchmarks.comparison import in_turns, median_ratio, peak_megabytes
from benchmarks.pictures import encoded, photo_file, screenshot
from benchmarks.tables import Table, goal, goals
from tests.support.prepare_picture import prepare
from visionq.contract import Detail, PictureOptions, Policy
from visionq.pricing.vision import load_rules, seen_size
from worker.images import ImageLimits
from worker.malloc import MemoryTrim, tune_malloc

if TYPE_CHECKING:
    from collections.abc import Callable

_MODEL: Final = "gpt-6-luna"
_ROUNDS: Final = 15
_LIMITS: Final = ImageLimits()
_QUIET: Final = PictureOptions(blur=Policy.OFF, blank=Policy.OFF, dark=Policy.OFF, tiny=Policy.OFF)
_JPEG_SCALES: Final = (8, 4, 2, 1)


@dataclass(frozen=True)
class _Sample:
    name: str
    data: bytes
    size: tuple[int, int]
    is_jpeg: bool

    @property
    def target(self) -> tuple[int, int]:
        return _fit(*self.size)


def _fit(width: int, height: int) -> tuple[int, int]:
    return seen_size(load_rules(), _MODEL, Detail.HIGH, width, height)


def _samples() -> list[_Sample]:
    photos = {
        "photo 3000x2000": (3000, 2000),
        "photo 12 MP": (4000, 3000),
        "photo 48 MP": (8000, 6000),
    }
    found = [_Sample(name, photo_file(*size), size, is_jpeg=True) for name, size in photos.items()]
    shot = encoded(screenshot(2560, 1600), "PNG")
    return [*found, _Sample("screenshot 4 MP", shot, (2560, 1600), is_jpeg=False)]


def _ours(sample: _Sample, options: PictureOptions) -> object:
    return prepare(
        sample.data,
        name=sample.name,
        limits=_LIMITS,
        fit=_fit,
        options=options,
    )


def _plain(sample: _Sample) -> object:
    """Open, thumbnail and save, as tutorials do."""
    picture = Image.open(io.BytesIO(sample.data))
    picture.thumbnail(sample.target)
    return encoded(picture.convert("RGB"), "JPEG", quality=85)


def _floor(sample: _Sample) -> Callable[[], object] | None:
    """Return a function that only decodes and encodes with libjpeg-turbo."""
    if not sample.is_jpeg:
        return None
    try:
        import simplejpeg  # type: ignore[import-untyped]  # noqa: PLC0415  # may not be installed
    except ImportError:
        return None
    (width, height), (target_width, target_height) = sample.size, sample.target
    scale = next(
        scale
        for scale in _JPEG_SCALES
        if width // scale >= target_width and height // scale >= target_height
    )
    least = {"min_width": width // scale, "min_height": height // scale}

    def run() -> object:
        pixels = simplejpeg.decode_jpeg(sample.data, min_factor=1, **least)
        if pixels.shape[1] != -(-width // scale):
            raise RuntimeError(f"decoded to {pixels.shape}")
        return simplejpeg.encode_jpeg(pixels, quality=85, colorsubsampling="420")

    return run


def measure() -> list[Table]:
    """Return the table of costs and the table of goals."""
    tune_malloc()  # as a worker does
    samples = _samples()
    rows, reached = [], []
    for sample in samples:
        ways: dict[str, Callable[[], object]] = {
            "ours": lambda s=sample: _ours(s, PictureOptions()),  # type: ignore[misc]  # bound early
            "ours without advice": lambda s=sample: _ours(s, _QUIET),  # type: ignore[misc]  # likewise
            "plain Pillow": lambda s=sample: _plain(s),  # type: ignore[misc]  # likewise
        }
        if floor := _floor(sample):
            ways["libjpeg-turbo floor"] = floor
        taken = in_turns(ways, _ROUNDS)
        peaks = {name: _peak(way) for name, way in ways.items()}
        for name, times in taken.items():
            rows.append((sample.name, name, statistics.median(times), peaks[name]))
        reached += _goals(sample, taken)
    reached.append(_threads(samples[0]))
    return [
        Table("Pictures: cost of one", ("picture", "way", "CPU ms", "peak MB"), tuple(rows)),
        goals(
            "Pictures: goals",
            reached,
            note="Ratios are medians of rounds in which each way ran once.",
        ),
    ]


def _peak(way: Callable[[], object]) -> float | None:
    MemoryTrim().run()  # buffers kept for the next picture would hide this one's memory
    return peak_megabytes(way)


def _goals(sample: _Sample, taken: dict[str, list[float]]) -> list[tuple[str | float | None, ...]]:
    faster = median_ratio(taken["plain Pillow"], taken["ours"])
    found = [goal(f"{sample.name}: faster than plain Pillow", faster, 2.0, at_least=True)]
    if "libjpeg-turbo floor" in taken:
        over = median_ratio(taken["ours"], taken["libjpeg-turbo floor"])
        found.append(goal(f"{sample.name}: times the floor", over, 1.3, at_least=False))
    return found


def _threads(sample: _Sample) -> tuple[str | float | None, ...]:
    ratios = [_wall(sample, 1) / _wall(sample, 2) for _ in range(7)]
    name = f"{sample.name}: two threads against one"
    return goal(name, statistics.median(ratios), 1.8, at_least=True)


def _wall(sample: _Sample, threads: int, count: int = 12) -> float:

    def one(_: int) -> object:
        return prepare(sample.data, name="a", limits=_LIMITS, fit=_fit)

    with ThreadPoolExecutor(threads) as pool:
        started = time.perf_counter()
        list(pool.map(one, range(count)))
        return time.perf_counter() - started
