"""What tenants share inside a process."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING

import hypothesis.strategies as st
from hypothesis import given

from visionq.fair_limiter import TIMES_FREE, FairLimiter
from worker.images import MemoryLimiter

if TYPE_CHECKING:
    from collections.abc import Callable

TENANTS = st.sampled_from("abc")


def begin(act: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    return thread


def until_in_line(shares: FairLimiter, count: int) -> None:
    pause = threading.Event()
    while shares.waiting < count:
        pause.wait(0.001)


def test_one_tenant_alone_takes_all() -> None:
    """Nothing is kept for others where there are none."""
    shares = FairLimiter(4)
    assert all(shares.take("a", timeout=0) for _ in range(4))
    assert not shares.take("a", timeout=0)


def test_a_part_stays_for_others() -> None:
    """A tenant that takes all that it gets leaves a quarter; two such leave a part to a third."""
    shares = FairLimiter(64)
    assert shares.take("small", timeout=0)
    shares.give_back("small")
    first = sum(shares.take("first", timeout=0) for _ in range(64))
    assert first == 48
    second = sum(shares.take("second", timeout=0) for _ in range(64))
    assert 0 < second < 64 - first
    assert shares.take("small", timeout=0)


def test_who_holds_least_is_next() -> None:
    """A freed slot goes to the tenant that holds least, however long others have waited."""
    shares, order = FairLimiter(2), list[str]()
    shares.take("greedy")
    shares.take("other")

    def work(tenant: str) -> None:
        shares.take(tenant)
        order.append(tenant)
        shares.give_back(tenant)

    threads = []
    for place, tenant in enumerate(("greedy", "greedy", "small"), 1):
        threads.append(begin(partial(work, tenant)))
        until_in_line(shares, place)
    shares.give_back("other")
    for thread in threads:
        thread.join(5)
    assert order == ["small", "greedy", "greedy"]


def test_who_gives_up_leaves_the_line() -> None:
    """Someone whose time is up is not given what comes free."""
    shares = FairLimiter(1)
    shares.take("a")
    assert not shares.take("b", timeout=0.01)
    assert shares.waiting == 0
    shares.give_back("a")
    assert shares.take("c", timeout=0)


@given(st.integers(1, 20), st.lists(st.tuples(TENANTS, st.booleans()), max_size=60))
def test_never_more_than_there_are(total: int, moves: list[tuple[str, bool]]) -> None:
    """However they take and give back: the total holds, nobody has all, and all of it returns."""
    shares, held = FairLimiter(total), dict.fromkeys("abc", 0)
    shares.take("x")
    shares.give_back("x")
    for tenant, takes in moves:
        if takes and shares.take(tenant, timeout=0):
            held[tenant] += 1
            free = total - sum(held.values())
            assert free >= 0
            assert held[tenant] <= TIMES_FREE * (free + 1)
        elif not takes and held[tenant]:
            shares.give_back(tenant)
            held[tenant] -= 1
    for tenant, count in held.items():
        for _ in range(count):
            shares.give_back(tenant)
    assert shares.take("x", total - total // 4, timeout=0)


async def test_bytes_beyond_the_total_keep_nobody_waiting() -> None:
    """A job that holds more than there is, for long, leaves others what they had before."""
    budget = MemoryLimiter(100)
    small, slow = budget.reservation("small"), budget.reservation("slow")
    await small.hold(1)
    await small.hold(0)
    await slow.hold(500)
    others = [budget.reservation("slow") for _ in range(100)]
    got = sum(one.adds_at_once(1) for one in others)
    assert 70 <= got <= 80
    assert small.adds_at_once(10)
    assert budget.used == 500 + got + 10
    await slow.hold(0)
    await small.hold(0)
    for one in others:
        await one.hold(0)
    assert budget.used == 0
