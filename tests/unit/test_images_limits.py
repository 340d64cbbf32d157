"""Memory and time of a decode, and the bytes that all jobs share."""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import Any

import pytest
from PIL import Image

from tests.support.hostile_pictures import cheap
from tests.support.pictures import encoded, half, same
from tests.support.prepare_picture import prepare
from visionq.errors import ImageError, TooManyPixels
from worker.images import ImageLimits, MemoryLimiter, PrepareSlots, inspect
from worker.images.decode import decode

LIMITS = ImageLimits()
CHEAP = {file.name: file for file in cheap()}


@pytest.mark.parametrize("name", CHEAP)
@pytest.mark.parametrize("fit", [same, half])
def test_hostile_files_end_in_their_code(name: str, fit: Any) -> None:
    """Each hostile file has one of its codes, within seconds, for any option."""
    file, started = CHEAP[name], time.monotonic()
    try:
        prepare(file.data, name="a", limits=LIMITS, fit=fit)
        code = "sent"
    except ImageError as error:
        code = error.code
    assert code in file.codes
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("kind", "options", "a_pixel"),
    [
        ("png", {}, 5),
        ("webp", {}, 16),
        ("jpeg", {"progressive": True, "subsampling": 0}, 10),
    ],
)
def test_memory_is_known_before_the_decode(kind: str, options: Any, a_pixel: int) -> None:
    """A picture whose pixels would take more memory than allowed is refused by its header."""
    data = encoded(Image.new("RGB", (1000, 1000), "navy"), kind, **options)
    needed = inspect(data, name="a", limits=LIMITS).layout.memory(sent_pixels=1)
    assert needed == pytest.approx(a_pixel * 1_000_000, rel=0.01)
    eighths = 1 if kind == "jpeg" else 8
    least = inspect(data, name="a", limits=LIMITS).layout.memory(eighths=eighths, sent_pixels=1)
    with pytest.raises(TooManyPixels, match="MB of memory"):
        prepare(
            data,
            name="a",
            limits=ImageLimits(max_decode_bytes=least - 100),
            fit=half,
        )


def test_a_jpeg_is_made_smaller_instead() -> None:
    """A JPEG that is too much at its size is decoded reduced, and the report says so."""
    data = encoded(Image.new("RGB", (1600, 1200), "navy"), "jpeg")
    limits = ImageLimits(max_decode_bytes=8_000_000)
    turned = Image.Exif()
    turned[0x0112] = 6
    data = encoded(Image.new("RGB", (1600, 1200), "navy"), "jpeg", exif=turned)
    result = prepare(data, name="a", limits=limits, fit=same)
    assert (result.sent.width, result.sent.height) == (600, 800)
    assert "scaled down to 600x800: more would need too much memory" in result.warnings


@pytest.mark.parametrize("kind", ["jpeg", "png", "gif"])
def test_a_decode_ends_in_time(kind: str) -> None:
    """A decoder that has had its time gets no more bytes."""
    data = encoded(Image.effect_noise((800, 800), 90), kind)
    ticks = itertools.count()
    checked = inspect(data, name="a", limits=LIMITS)
    with pytest.raises(TooManyPixels, match="takes too long"):
        decode(checked, shrunk_to=None, name="a", limits=LIMITS, clock=lambda: next(ticks))


def test_a_side_that_jpeg_can_not_hold() -> None:
    """A line longer than JPEG's longest is sent in PNG."""
    turned = Image.Exif()
    turned[0x0112] = 6
    data = encoded(Image.new("RGB", (65_530, 2), "teal"), "png", exif=turned)
    sent = prepare(data, name="a", limits=LIMITS, fit=same).sent
    assert (sent.format, sent.width, sent.height) == ("png", 2, 65_530)


async def test_a_share_waits_for_bytes_that_others_hold() -> None:
    """Bytes beyond the total are waited for, except by one job at a time, which then gives back."""
    budget = MemoryLimiter(100)
    first, second, third = (budget.reservation() for _ in range(3))
    await first.hold(80)
    await second.hold(60)  # goes beyond: one may
    waits = asyncio.create_task(third.hold(50))
    await asyncio.sleep(0.05)
    assert not waits.done()
    await second.hold(0)
    assert budget.used <= 130
    await first.hold(0)
    await asyncio.wait_for(waits, 5)
    assert budget.used == 50


async def test_jobs_never_wait_for_each_other() -> None:
    """Many jobs that grow step by step far beyond the total all come to their end."""
    budget, done = MemoryLimiter(10), []

    async def job() -> None:
        share = budget.reservation()
        for size in (5, 9, 14, 20):
            await share.hold(size)
            await asyncio.sleep(0.001)
        await share.hold(0)
        done.append(share)

    await asyncio.wait_for(asyncio.gather(*(job() for _ in range(16))), 10)
    assert len(done) == 16
    assert budget.used == 0


async def test_places_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """No more jobs have a place than there are, and who waits for one shows signs of life."""
    monkeypatch.setattr("visionq.fair_limiter._SIGN_EVERY", 0.01)
    places, signs = PrepareSlots(3), []
    first, second, third = (places.slot("a") for _ in range(3))
    await first.take()
    await first.take()  # its own already
    await second.take()
    second.leave()
    second.leave()  # nobody's
    await second.take()

    def leave_late() -> None:
        signs.append(1)
        if len(signs) == 3:
            second.leave()

    await third.take(waiting=leave_late)
    assert len(signs) == 3
