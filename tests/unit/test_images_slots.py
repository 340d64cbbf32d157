"""The places around the decode."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from worker.images import DecodeSlots, PrepareSlots
from worker.images.memory import SMALL_PIXELS


def test_no_more_work_at_once_than_slots() -> None:
    """However many threads ask, at most `count` are inside, and all get their turn."""
    slots, lock = DecodeSlots(2), threading.Lock()
    inside, most, done = 0, 0, 0

    def work() -> None:
        nonlocal inside, most, done
        with slots.held("a"):
            with lock:
                inside += 1
                most = max(most, inside)
            time.sleep(0.005)
            with lock:
                inside -= 1
                done += 1

    with ThreadPoolExecutor(16) as pool:
        for _ in range(32):
            pool.submit(work)
    assert (most, done) == (2, 32)


def test_a_slot_comes_back_after_an_error() -> None:
    """A picture that breaks inside a slot does not keep it."""
    slots = DecodeSlots(1)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), slots.held("a"):
            raise ZeroDivisionError
    with slots.held("b"):
        pass


def test_there_is_at_least_one_slot() -> None:
    """No slots would be no work for ever."""
    with pytest.raises(ValueError, match="at least one"):
        DecodeSlots(0)


def test_a_small_picture_waits_for_no_large_one() -> None:
    """While a tenant's large pictures take their time, small ones of anybody go on."""
    slots = DecodeSlots(1)
    with slots.held("greedy", 50_000_000), slots.held("greedy", SMALL_PIXELS):
        with slots.held("small", SMALL_PIXELS):
            pass
        assert not slots._small.take("greedy", timeout=0)  # however few are busy


def test_large_pictures_of_tenants_take_turns() -> None:
    """A freed slot goes to a tenant not served last, however many of the other wait."""
    slots, order = DecodeSlots(1), list[str]()

    def work(tenant: str) -> None:
        with slots.held(tenant):
            order.append(tenant)

    with slots.held("greedy"), ThreadPoolExecutor(8) as pool:
        for count, tenant in enumerate(["greedy"] * 5 + ["other"], 1):
            pool.submit(work, tenant)
            while slots._large.waiting < count:
                time.sleep(0.001)
        slots._large.give_back("greedy")
        while len(order) < 6:
            time.sleep(0.001)
        slots._large.take("greedy")
    assert order == ["other", *["greedy"] * 5]


def test_a_place_is_left_to_others() -> None:
    """A tenant that is alone so far leaves a place to the next."""
    places, entered = PrepareSlots(3), []
    for tenant in ("greedy", "greedy", "small"):
        place = places.slot(tenant)
        place.take()
        entered.append(place)
    assert not places._shares.take("greedy", timeout=0)
    entered[0].leave()
    entered[2].leave()
    assert not places._shares.take("greedy", 2, timeout=0)
    assert places._shares.take("greedy", timeout=0)
