"""Nothing that a file can contain escapes as another error than ours."""

from __future__ import annotations

import functools
from typing import Any

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from PIL import Image

from tests.support.pictures import encoded, half, same
from tests.support.prepare_picture import prepare
from visionq.errors import ImageError
from worker.images import ImageLimits, inspect

LIMITS = ImageLimits(max_pixels=1_000_000)


@functools.cache
def corpus() -> tuple[bytes, ...]:
    gradient = Image.linear_gradient("L").resize((40, 30))
    colour = Image.merge("RGB", (gradient, gradient.rotate(90), gradient.rotate(180)))
    clear = colour.convert("RGBA")
    clear.putalpha(gradient)
    exif = Image.Exif()
    exif[0x0112] = 6
    frames: dict[str, Any] = {"save_all": True, "append_images": [colour.rotate(180)]}
    return (
        encoded(colour, "jpeg", exif=exif, comment=b"c"),
        encoded(colour, "jpeg", progressive=True),
        encoded(colour.convert("CMYK"), "jpeg"),
        encoded(gradient, "jpeg"),
        encoded(colour, "mpo", **frames),
        encoded(colour, "png", exif=exif),
        encoded(clear, "png"),
        encoded(colour.convert("P"), "png", transparency=3),
        encoded(Image.new("I;16", (40, 30), 30_000), "png"),
        encoded(colour, "png", **frames),
        encoded(colour, "webp", exif=exif),
        encoded(clear, "webp", lossless=True),
        encoded(colour, "webp", **frames),
        encoded(colour, "gif", comment=b"c"),
        encoded(colour.convert("P"), "gif", transparency=3, interlace=True),
    )


def survives(data: bytes) -> bool:
    """Prepare a file in both ways; tell whether it came through."""
    through = False
    for fit in (same, half):
        try:
            sent = prepare(data, name="a", limits=LIMITS, fit=fit).sent
        except ImageError as error:
            assert error.image == "a"  # noqa: PT017  # that it is raised is not what is tested
            continue
        through = True
        assert 1 <= len(sent.data) <= LIMITS.max_bytes
        inspect(sent.data, name="a", limits=LIMITS)
    return through


@st.composite
def mutants(draw: st.DrawFn) -> bytes:
    """Change, remove, repeat or insert a few bytes of a valid file."""
    data = bytearray(draw(st.sampled_from(corpus())))
    for _ in range(draw(st.integers(1, 4))):
        position = draw(st.integers(0, max(0, len(data) - 1)))
        length = draw(st.integers(0, 8))
        kind = draw(st.sampled_from(["set", "insert", "remove", "repeat", "cut"]))
        fresh = draw(st.sampled_from([b"\0\0\0\0", b"\xff\xff\xff\xff"]) | st.binary(max_size=8))
        if kind == "set":
            data[position : position + len(fresh)] = fresh
        elif kind == "insert":
            data[position:position] = fresh
        elif kind == "remove":
            del data[position : position + length]
        elif kind == "repeat":
            data[position:position] = data[position : position + length * 20]
        elif length == 0:
            del data[position:]
    return bytes(data)


@seed(20261122)
@settings(
    max_examples=400,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(mutants())
def test_mutants_never_raise_anything_but_our_errors(data: bytes) -> None:
    """A damaged file is either sent, as a picture that passes its own check, or refused by name."""
    survives(data)


@seed(20261122)
@settings(max_examples=200, database=None)
@given(
    st.sampled_from([b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"RIFF\0\1\0\0WEBPVP8 "]),
    st.binary(max_size=200),
)
def test_noise_behind_a_signature_is_refused(signature: bytes, noise: bytes) -> None:
    """A signature followed by noise is never a picture."""
    assert not survives(signature + noise)


def test_the_corpus_itself_passes() -> None:
    """The valid files are valid, so that the mutants begin where it hurts; animations are not."""
    assert sum(survives(data) for data in corpus()) == len(corpus()) - 2


@pytest.mark.parametrize("data", corpus())
def test_polyglots_lose_their_tail(data: bytes) -> None:
    """Data appended to a picture is not sent."""
    tail = b"PK\x03\x04<script>alert(1)</script>"
    try:
        result = prepare(data + tail, name="a", limits=LIMITS, fit=same)
    except ImageError as error:
        assert error.code == "animated_image"  # noqa: PT017  # the corpus holds animations
        return
    assert b"script" not in result.sent.data
