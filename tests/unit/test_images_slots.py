"""The places around the decode."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from worker.images import DecodeSlots


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
