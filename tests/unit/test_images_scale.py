"""Scaling: by the JPEG decoder, by SIMD and by Pillow."""

from __future__ import annotations

import functools
import io
import json
import platform
import subprocess
import sys
from random import Random
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from benchmarks.fidelity import KINDS, TARGETS, compare
from benchmarks.formats import psnr
from benchmarks.pictures import encoded, photo
from visionq.errors import ImageError
from worker.images import ImageLimits, inspect, scale
from worker.images.advice import LOOK_SIDE, glance
from worker.images.colour import on_white
from worker.images.decode import decode
from worker.images.scale import (
    HAS_SIMD,
    JPEG_EIGHTHS,
    in_eighths,
    jpeg_eighths,
    scale_by_pillow,
    scale_by_simd,
)
from worker.malloc import MemoryTrim

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.unit

needs_simd = pytest.mark.skipif(not HAS_SIMD, reason="no wheel of cykooz-resizer here")
WAYS = [pytest.param(scale_by_simd, marks=needs_simd), scale_by_pillow]
LIMITS = ImageLimits()
SIDES = st.integers(1, 10_000)


@pytest.mark.skipif(
    (platform.system(), platform.machine()) != ("Linux", "x86_64"), reason="not required elsewhere"
)
def test_simd_is_there() -> None:
    """A wheel is used where there is one; a new major version of Pillow must be tried first."""
    assert HAS_SIMD


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "CMYK"])
@pytest.mark.parametrize("lossless", [True, False])
@pytest.mark.parametrize("way", WAYS)
def test_ways_agree(way: Callable[..., Image.Image], mode: str, *, lossless: bool) -> None:
    """Every mode keeps its mode, and its pixels are those of Lanczos but for its finest lines."""
    picture = photo(641, 400).convert(mode)
    if mode == "RGBA":
        picture.putalpha(Image.linear_gradient("L").resize(picture.size))
    made = way(picture, (400, 250), lossless=lossless)
    best = picture.resize((400, 250), Image.Resampling.LANCZOS)
    assert (made.mode, made.size) == (mode, (400, 250))
    assert psnr(on_white(made).convert("RGB"), on_white(best).convert("RGB")) > 38
    assert (
        mode != "RGBA" or psnr(*(one.getchannel("A").convert("RGB") for one in (made, best))) > 50
    )


@needs_simd
def test_buffers_are_kept_for_a_while() -> None:
    """One picture after another shares a buffer, large ones none, and the trim leaves none."""
    MemoryTrim().run()
    for size in ((640, 400), (300, 900)):
        scale_by_simd(photo(*size), (200, 200), lossless=False)
        assert len(scale._idle) == 1
    scale_by_simd(Image.new("RGB", (3000, 3000)), (200, 200), lossless=False)
    assert not scale._idle
    scale_by_simd(photo(64, 64).convert("RGBA"), (32, 32), lossless=False)
    assert not scale._idle
    scale_by_simd(photo(64, 64), (32, 32), lossless=False)
    MemoryTrim().run()
    assert not scale._idle


@needs_simd
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("kind", KINDS)
def test_simd_is_as_faithful_as_pillow(kind: str, target: tuple[int, int]) -> None:
    """Of no kind of picture does SIMD make less of colours and edges than Pillow."""
    data = KINDS[kind]()
    by_pillow, by_simd = (compare(data, target, simd=simd) for simd in (False, True))
    assert by_simd.psnr > min(by_pillow.psnr, 40) - 0.5
    assert by_simd.sharpness > by_pillow.sharpness - 0.03


@given(width=SIDES, height=SIDES, wide=SIDES, high=SIDES)
def test_eighths(width: int, height: int, wide: int, high: int) -> None:
    """A JPEG is decoded to no less than what is made of it, and in no more eighths than needed."""
    size, target = (width, height), (min(width, wide), min(height, high))
    eighths = jpeg_eighths(size, target)
    assert all(in_eighths(own, eighths) >= side for own, side in zip(size, target, strict=True))
    for fewer in (one for one in JPEG_EIGHTHS if one < eighths):
        assert any(own * fewer < side * 8 for own, side in zip(size, target, strict=True))


@pytest.mark.parametrize("eighths", JPEG_EIGHTHS)
@pytest.mark.parametrize("size", [(640, 480), (801, 533), (1023, 7), (9, 9)])
@pytest.mark.parametrize(
    "options",
    [
        {"subsampling": 0},
        {"subsampling": 2},
        {"progressive": True},
        {"mode": "L"},
        {"mode": "CMYK"},
    ],
)
def test_every_eighth_is_the_same_picture(
    eighths: int, size: tuple[int, int], options: Any
) -> None:
    """A JPEG reduced by its decoder is the whole one, averaged: nothing is cut off or shifted."""
    drawn = Image.linear_gradient("L").resize(size, Image.Resampling.BICUBIC)
    options = dict(options)
    drawn = drawn.convert(options.pop("mode", "RGB"))
    data = encoded(drawn, "JPEG", quality=95, **options)
    checked = inspect(data, name="a", limits=LIMITS)
    target = max(1, size[0] * eighths // 8), max(1, size[1] * eighths // 8)
    if jpeg_eighths(size, target) != eighths:
        pytest.skip("too small to tell")
    made = decode(checked, shrunk_to=target, name="a", limits=LIMITS)
    assert made.size == tuple(in_eighths(side, eighths) for side in size)
    if min(size) > 400:  # smaller ones are too steep
        whole = Image.open(io.BytesIO(data)).resize(made.size, Image.Resampling.BOX)
        assert psnr(made.convert("RGB"), whole.convert("RGB")) > 30


@given(seed=st.integers(0, 2**32), progressive=st.booleans(), target=st.integers(1, 200))
def test_no_pixel_is_left_from_before(seed: int, target: int, *, progressive: bool) -> None:
    """However a JPEG is broken: it is refused, or all of its pixels are its own."""
    broken = bytearray(_small_jpeg(progressive=progressive))
    random = Random(seed)
    for _ in range(random.randint(1, 8)):
        broken[random.randrange(len(broken) // 2, len(broken))] = random.randrange(256)
    made = []
    for fill in (b"\x00", b"\xaa"):
        with patch.object(scale, "_new_buffer", lambda _, size, fill=fill: bytearray(fill * size)):
            try:
                checked = inspect(bytes(broken), name="a", limits=LIMITS)
                shrunk_to = (target, target)
                made.append(decode(checked, shrunk_to=shrunk_to, name="a", limits=LIMITS).tobytes())
            except ImageError:
                made.append(b"")
    assert made[0] == made[1]


@functools.cache
def _small_jpeg(*, progressive: bool) -> bytes:
    return encoded(photo(200, 200), "JPEG", progressive=progressive)


@pytest.mark.parametrize(
    "before",
    ["sys.modules['cykooz_resizer'] = None", "import PIL.Image; PIL.__version__ = '99.0.0'"],
)
def test_pillow_does_it_elsewhere(before: str) -> None:
    """Without the library, or with a Pillow that it may not know, scaling goes on by Pillow."""
    program = f"""
import sys
{before}
import io
from PIL import Image
from tests.support.prepare_picture import prepare
from worker.images import ImageLimits
from worker.images.scale import HAS_SIMD
file = io.BytesIO()
Image.new("RGB", (900, 600), "teal").save(file, "JPEG")
half = lambda width, height: (width * 2 // 3, height * 2 // 3)
sent = prepare(file.getvalue(), name="a", limits=ImageLimits(), fit=half).sent
print(HAS_SIMD, sent.width, sent.height)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False", "600", "400"]


_PEAKS = """
import ctypes, json, sys
from unittest.mock import patch
from PIL import Image
from benchmarks.comparison import peak_megabytes
from benchmarks.pictures import encoded, photo
from worker.images import ImageLimits, inspect, scale
from worker.images.encode import decode_in_srgb

target = (675, 506)
drawn = photo(1000, 750).resize((1800, 1350))
clear = drawn.convert("RGBA")
clear.putalpha(Image.linear_gradient("L").resize(drawn.size))
opaque = drawn.convert("RGBA")
files = {
    "JPEG": encoded(drawn, "JPEG"), "PNG": encoded(drawn, "PNG", compress_level=1),
    "grey PNG": encoded(drawn.convert("L"), "PNG", compress_level=1),
    "clear PNG": encoded(clear, "PNG", compress_level=1),
    "opaque RGBA PNG": encoded(opaque, "PNG", compress_level=1),
    "palette": encoded(drawn.quantize(64), "PNG", compress_level=1),
}
del drawn, clear, opaque
limits, found = ImageLimits(max_bytes=99_000_000), {}
for name, data in files.items():
    checked = inspect(data, name=name, limits=limits)
    eighths = scale.jpeg_eighths((1800, 1350), target) if name == "JPEG" else 8
    claimed = checked.layout.memory(eighths=eighths, sent_pixels=target[0] * target[1]) / 2**20
    def make():
        decode_in_srgb(checked, target, flatten=False, name=name, limits=limits)
    for simd in {False, scale.HAS_SIMD}:
        with patch.object(scale, "HAS_SIMD", simd):
            make()  # tables and the like
            ctypes.CDLL(None).malloc_trim(0)
            found[f"{name}, {'SIMD' if simd else 'Pillow'}"] = (peak_megabytes(make), claimed)
print(json.dumps(found))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="measured as Linux counts")
def test_pictures_take_no_more_memory_than_forecast() -> None:
    """The peak of decoding and scaling stays within what the header reported, both ways."""
    done = subprocess.run(
        [sys.executable, "-c", _PEAKS], capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout)
    over = {name: pair for name, pair in found.items() if pair[0] > pair[1] * 1.05 + 1}
    assert found
    assert not over, found


@pytest.mark.parametrize("size", [(1003, 777), (385, 3), (40, 9001)])
def test_a_transparent_picture_is_reduced_in_strips_to_the_same_pixels(
    size: tuple[int, int],
) -> None:
    """Advice looks at what Pillow's own `reduce` makes, which copies the whole picture first."""
    noise = [Image.effect_noise(size, 90) for _ in range(4)]
    picture = Image.merge("RGBA", noise)
    assert glance(picture) == picture.reduce(-(-max(size) // LOOK_SIDE))
