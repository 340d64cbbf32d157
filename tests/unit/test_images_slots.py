"""The places around the decode."""

from __future__ import annotations

import asyncio
import threading

import pytest

from worker.images import DecodeSlots, PrepareSlots
from worker.images.memory import SMALL_PIXELS


async def test_no_more_work_at_once_than_slots() -> None:
    """However many tasks ask, at most `count` are inside, and all get their turn."""
    slots = DecodeSlots(2)
    inside, most, done = 0, 0, 0

    async def work() -> None:
        nonlocal inside, most, done
        async with slots.held("a"):
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0.005)
            inside -= 1
            done += 1

    await asyncio.gather(*(work() for _ in range(32)))
    assert (most, done) == (2, 32)


async def test_work_is_done_beside_the_loop() -> None:
    """As many pictures as there are slots are worked on at once, each in a thread of its own."""
    slots, all_in = DecodeSlots(2), threading.Barrier(4)
    sizes = [None, None, SMALL_PIXELS, SMALL_PIXELS]

    async def work(tenant: str, pixels: int | None) -> None:
        async with slots.held(tenant, pixels):
            await slots.run(lambda: all_in.wait(10))

    await asyncio.gather(*map(work, "abcd", sizes))
    slots.close()


async def test_a_slot_comes_back_after_an_error() -> None:
    """A picture that breaks inside a slot does not keep it."""
    slots = DecodeSlots(1)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            async with slots.held("a"):
                raise ZeroDivisionError
    async with slots.held("b"):
        pass


def test_there_is_at_least_one_slot() -> None:
    """No slots would be no work for ever."""
    with pytest.raises(ValueError, match="at least one"):
        DecodeSlots(0)


async def test_a_small_picture_waits_for_no_large_one() -> None:
    """While a tenant's large pictures take their time, small ones of anybody go on."""
    slots = DecodeSlots(1)
    async with slots.held("greedy", 50_000_000), slots.held("greedy", SMALL_PIXELS):
        async with slots.held("small", SMALL_PIXELS):
            pass
        assert not slots._small.take("greedy", timeout=0)  # however few are busy


async def test_large_pictures_of_tenants_take_turns() -> None:
    """A freed slot goes to a tenant not served last, however many of the other wait."""
    slots, order = DecodeSlots(1), list[str]()

    async def work(tenant: str) -> None:
        async with slots.held(tenant):
            order.append(tenant)

    async with slots.held("greedy"):
        tasks = [asyncio.create_task(work(tenant)) for tenant in ["greedy"] * 5 + ["other"]]
        await asyncio.sleep(0)  # each takes its place in line at once
        assert slots._large.waiting == len(tasks)
    await asyncio.gather(*tasks)
    assert order == ["other", *["greedy"] * 5]


async def test_a_place_is_left_to_others() -> None:
    """A tenant that is alone so far leaves a place to the next."""
    places, entered = PrepareSlots(3), []
    for tenant in ("greedy", "greedy", "small"):
        place = places.slot(tenant)
        await place.take()
        entered.append(place)
    assert not places._shares.take("greedy", timeout=0)
    entered[0].leave()
    entered[2].leave()
    assert not places._shares.take("greedy", 2, timeout=0)
    assert places._shares.take("greedy", timeout=0)
