"""Latency of one tenant's small pictures beside another's slow ones in one worker process."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from PIL import Image

from benchmarks.pictures import encoded, photo
from benchmarks.tables import Table, goal, goals
from visionq.contract import Detail
from visionq.pricing.vision import load_rules, seen_size
from worker.images import DecodeSlots, ImageLimits, PrepareSlots, prepare
from worker.malloc import tune_malloc

if TYPE_CHECKING:
    from collections.abc import Callable

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
    slots, places, stopped = DecodeSlots(1), PrepareSlots(), threading.Event()

    def one(tenant: str, data: bytes, size: tuple[int, int]) -> float:
        started = time.monotonic()
        place = places.slot(tenant)
        place.take()
        if not stopped.is_set():
            held = slots.held(tenant, size[0] * size[1])
            prepare(data, name="a", limits=_LIMITS, fit=_fit, slots=held)
        place.leave()
        return time.monotonic() - started

    def ask() -> list[float]:
        return sorted(one("small", small, _SMALL) for _ in range(count))

    ask()
    alone = ask()
    beside, slowest = _beside(ask, lambda: one("slow", slow, _SLOW), stopped)
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


def _beside(
    ask: Callable[[], list[float]], slow: Callable[[], float], stopped: threading.Event
) -> tuple[list[float], list[float]]:
    """Return the result of `ask` while slow pictures queue up, and their latencies."""
    slowest = list[float]()

    def neighbour() -> None:
        while not stopped.is_set():
            taken = slow()
            if not stopped.is_set():
                slowest.append(taken)

    with ThreadPoolExecutor(_NEIGHBOURS) as pool:
        for _ in range(_NEIGHBOURS):
            pool.submit(neighbour)
        time.sleep(1)  # every slot is busy by now
        found = ask()
        stopped.set()
    return found, sorted(slowest)


def _fit(width: int, height: int) -> tuple[int, int]:
    return seen_size(load_rules(), _MODEL, Detail.HIGH, width, height)


def _p95(found: list[float]) -> float:
    return found[int(0.95 * (len(found) - 1))]
