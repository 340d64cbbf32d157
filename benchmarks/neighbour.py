"""Latency of one tenant's small pictures beside another's slow ones in one worker process."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import Final

from PIL import Image

from benchmarks.pictures import encoded, photo
from benchmarks.tables import Table, goal, goals
from tests.support.prepare_picture import prepare
from visionq.contract import Detail
from visionq.pricing.vision import load_rules, seen_size
from worker.images import DecodeSlots, ImageLimits, PrepareSlots
from worker.malloc import tune_malloc

_MODEL: Final = "gpt-6-luna"
_SMALL: Final = (1000, 750)
_SLOW: Final = (8000, 6000)
_NEIGHBOURS: Final = 64
_LIMITS: Final = ImageLimits()


def measure(*, quick: bool = False) -> list[Table]:
    """Return the latencies of small pictures, alone and beside slow ones, with the goal."""
    tune_malloc()
    count = 20 if quick else 60
    drawn = photo(*_SMALL)
    small = encoded(drawn, "JPEG", quality=88)
    large = drawn.resize(_SLOW, Image.Resampling.BILINEAR)
    slow = encoded(large, "JPEG", quality=92, progressive=True)
    del large
    alone, beside, slowest = asyncio.run(_latencies(small, slow, count))
    rows = [
        (name, float(len(found)), found[len(found) // 2] * 1000, _p95(found) * 1000)
        for name, found in (("alone", alone), ("beside 64 slow ones", beside), ("slow", slowest))
    ]
    ratio = _p95(beside) / _p95(alone)
    return [
        Table(
            "Neighbour: milliseconds for a picture", ("pictures", "n", "median", "p95"), (*rows,)
        ),
        goals("Neighbour: goals", [goal("p95 beside, of alone", ratio, 3, at_least=False)]),
    ]


async def _latencies(
    small: bytes, slow: bytes, count: int
) -> tuple[list[float], list[float], list[float]]:
    """Return the latencies of small pictures, alone and beside slow ones, and of those."""
    slots, places = DecodeSlots(1), PrepareSlots()

    async def one(tenant: str, data: bytes, size: tuple[int, int]) -> float:
        started = time.monotonic()
        place = places.slot(tenant)
        await place.take()
        async with slots.held(tenant, size[0] * size[1]):
            await slots.run(partial(prepare, data, name="a", limits=_LIMITS, fit=_fit))
        place.leave()
        return time.monotonic() - started

    async def ask() -> list[float]:
        return sorted([await one("small", small, _SMALL) for _ in range(count)])

    async def neighbour() -> None:
        while True:
            slowest.append(await one("slow", slow, _SLOW))

    slowest = list[float]()
    await ask()
    alone = await ask()
    neighbours = [asyncio.create_task(neighbour()) for _ in range(_NEIGHBOURS)]
    await asyncio.sleep(1)  # every slot is busy by now
    beside = await ask()
    for task in neighbours:
        task.cancel()
    await asyncio.wait(neighbours)
    slots.close()
    return alone, beside, sorted(slowest)


def _fit(width: int, height: int) -> tuple[int, int]:
    return seen_size(load_rules(), _MODEL, Detail.HIGH, width, height)


def _p95(found: list[float]) -> float:
    return found[int(0.95 * (len(found) - 1))]
