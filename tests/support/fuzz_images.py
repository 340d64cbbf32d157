"""Damaged pictures by the thousand: `python -m tests.support.fuzz_images [COUNT [SEED]]`.

Each mutant is either sent, as a picture that passes its own check, or refused by one of our codes.
The same count and seed always give the same mutants.
"""

from __future__ import annotations

import functools
import random
import sys
import time
import zlib
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from PIL import Image

from tests.support.pictures import encoded, half, same
from tests.support.prepare_picture import prepare
from tests.support.ugly_pictures import ugly
from visionq.contract import Animated, PictureOptions
from visionq.errors import ImageError
from worker.images import ImageLimits, inspect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SEED = 20261122
LIMITS = ImageLimits(max_pixels=1_000_000)
#: The least a job may ask for, and the most.
OPTIONS = (
    PictureOptions(),
    PictureOptions(
        animated=Animated.FIRST_FRAME, convert=True, shrink=True, flatten=True, unterminated=True
    ),
)
#: Codes that come from the first bytes alone: a mutant refused so has tested nothing behind them.
HEADER_CODES = frozenset({"empty_file", "not_an_image", "unsupported_format"})
SIZES = (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\xff\xff", b"\x80\0\0\0")


@functools.cache
def corpus() -> tuple[tuple[str, bytes], ...]:
    """Return small valid files of every form that is taken or converted, by a name."""
    gradient = Image.linear_gradient("L").resize((40, 30))
    colour = Image.merge("RGB", (gradient, gradient.rotate(90), gradient.rotate(180)))
    clear = colour.convert("RGBA")
    clear.putalpha(gradient)
    exif = Image.Exif()
    exif[0x0112] = 6
    frames: dict[str, Any] = {"save_all": True, "append_images": [colour.rotate(180)]}
    return (
        ("jpeg exif", encoded(colour, "jpeg", exif=exif, comment=b"c")),
        ("jpeg progressive", encoded(colour, "jpeg", progressive=True)),
        ("jpeg cmyk", encoded(colour.convert("CMYK"), "jpeg")),
        ("jpeg grey", encoded(gradient, "jpeg")),
        ("jpeg mpo", encoded(colour, "mpo", **frames)),
        ("png exif", encoded(colour, "png", exif=exif)),
        ("png alpha", encoded(clear, "png")),
        ("png palette", encoded(colour.convert("P"), "png", transparency=3)),
        ("png 16 bit", encoded(Image.new("I;16", (40, 30), 30_000), "png")),
        ("png animated", encoded(colour, "png", **frames)),
        ("webp exif", encoded(colour, "webp", exif=exif)),
        ("webp alpha", encoded(clear, "webp", lossless=True)),
        ("webp animated", encoded(colour, "webp", **frames)),
        ("gif", encoded(colour, "gif", comment=b"c")),
        ("gif interlaced", encoded(colour.convert("P"), "gif", transparency=3, interlace=True)),
        ("gif animated", encoded(colour, "gif", **frames)),
        ("bmp", encoded(colour, "bmp")),
        ("tiff", encoded(colour, "tiff", compression="tiff_lzw")),
        ("tiff pages", encoded(colour.copy(), "tiff", save_all=True, append_images=[clear])),
        ("avif", encoded(colour, "avif", speed=10)),
        *ugly(),
    )


def mutant(chance: random.Random, data: bytes) -> bytes:
    """Change, remove, repeat, insert or cut at up to four places, mostly behind the first bytes."""
    changed = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        first = 0 if chance.random() < 0.05 else min(12, len(changed))
        position = chance.randint(first, len(changed))
        _change(chance, changed, position)
    return _with_checksums(bytes(changed)) if chance.random() < 0.5 else bytes(changed)


def _change(chance: random.Random, data: bytearray, position: int) -> None:
    length = chance.randint(1, 8)
    fresh = chance.choice(SIZES) if chance.random() < 0.3 else chance.randbytes(length)
    match chance.choice(("set", "set", "bit", "insert", "remove", "repeat", "cut")):
        case "set":
            data[position : position + len(fresh)] = fresh
        case "bit" if position < len(data):
            data[position] ^= 1 << chance.randrange(8)
        case "insert":
            data[position:position] = fresh
        case "remove":
            del data[position : position + length]
        case "repeat":
            data[position:position] = data[position : position + length * 20]
        case "cut" if chance.random() < 0.3:
            del data[position:]


def _with_checksums(data: bytes) -> bytes:
    """Make the checksums of a PNG right again, so that what is behind them is tested too."""
    if not data.startswith(b"\x89PNG"):
        return data
    mended, position = bytearray(data), 8
    while position + 12 <= len(data):
        end = position + 8 + int.from_bytes(data[position : position + 4])
        if end + 4 > len(data):
            break
        mended[end : end + 4] = zlib.crc32(mended[position + 4 : end]).to_bytes(4)
        position = end + 4
    return bytes(mended)


@dataclass
class Report:
    """What became of the mutants."""

    codes: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0

    @property
    def count(self) -> int:
        return self.codes.total()

    @property
    def past_header(self) -> float:
        """The share that was not refused by its first bytes."""
        stopped = sum(self.codes[code] for code in HEADER_CODES)
        return 1 - stopped / max(self.count, 1)

    def __str__(self) -> str:
        found = ", ".join(f"{code} {count:,}" for code, count in self.codes.most_common())
        return (
            f"{self.count:,} mutants, {self.past_header:.1%} past header detection, "
            f"slowest {self.slowest:.2f} s: {found}"
        )


def fates(data: bytes) -> Iterator[str]:
    """Prepare a file in all ways; give `sent` or the code for each."""
    for options in OPTIONS:
        for fit in (same, half):
            yield _fate(data, fit, options)


def _fate(data: bytes, fit: Callable[[int, int], tuple[int, int]], options: PictureOptions) -> str:
    try:
        sent = prepare(data, name="a", limits=LIMITS, fit=fit, options=options).sent
    except ImageError as error:
        assert error.image == "a", error  # noqa: PT017  # that it is raised is not what is tested
        return error.code
    assert 1 <= len(sent.data) <= LIMITS.max_bytes
    inspect(sent.data, name="a", limits=LIMITS)
    return "sent"


def run(count: int, seed: int = SEED) -> Report:
    """Try `count` mutants; any other error is raised, with how to repeat it."""
    chance, report = random.Random(seed), Report()
    files = [data for _, data in corpus()]
    for number in range(count):
        data = mutant(chance, files[number % len(files)])
        started = time.perf_counter()
        try:
            found = list(fates(data))
        except Exception as error:
            error.add_note(f"mutant {number} of seed {seed}: {data!r}")
            raise
        report.slowest = max(report.slowest, (time.perf_counter() - started) / len(found))
        # The most that any of the ways made of it.
        report.codes["sent" if "sent" in found else found[-1]] += 1
    return report


if __name__ == "__main__":
    print(run(*map(int, sys.argv[1:] or ["100000"])))  # noqa: T201  # its output
