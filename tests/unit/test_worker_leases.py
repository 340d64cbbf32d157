"""Which claims a process still needs, by an injected clock."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from tests.support.worker_parts import Clock, claim
from worker.threads.heartbeat import Leases


def test_held_while_worked_on() -> None:
    """A claim is renewed under its own token from the first moment to the last, and no longer."""
    leases = Leases(Clock())
    with leases.hold(claim(id="a"), 10), leases.hold(claim(id="b"), 10):
        assert sorted(leases.to_renew()) == [("a", "t-a"), ("b", "t-b")]
        assert len(leases) == 2
    assert leases.to_renew() == []
    assert len(leases) == 0


def test_a_hung_stage_is_dropped() -> None:
    """A stage beyond its time is renewed no more, but still fills its slot."""
    clock = Clock()
    leases = Leases(clock)
    with leases.hold(claim(), 10):
        clock.now += 9.999
        assert leases.to_renew()
        clock.now += 0.001
        assert leases.to_renew() == []
        assert len(leases) == 1


def test_the_next_stage_extends() -> None:
    """Each stage counts from its own beginning, also where that shortens what was left."""
    clock = Clock()
    leases = Leases(clock)
    with leases.hold(claim(), 60) as lease:
        lease.extend(5)
        clock.now += 5
        assert leases.to_renew() == []
        lease.extend(5)
        assert leases.to_renew() == [("job-1", "t-job-1")]


def test_let_go_at_an_error() -> None:
    """A claim whose work breaks is not held for ever."""
    leases = Leases(Clock())
    with pytest.raises(RuntimeError), leases.hold(claim(), 10):
        raise RuntimeError
    assert len(leases) == 0


def test_the_same_job_twice() -> None:
    """A job that was taken over and came back to this process is two claims, each with its end."""
    leases = Leases(Clock())
    again = replace(claim(id="x"), token="another")  # noqa: S106  # of a claim, not of a person
    with leases.hold(claim(id="x"), 10):
        with leases.hold(again, 10):
            assert len(leases) == 2
        assert leases.to_renew() == [("x", "t-x")]


def test_many_threads() -> None:
    """Claims come and go in many threads while another reads them."""
    leases = Leases(Clock())
    begin = threading.Barrier(9)

    def work(number: int) -> None:
        begin.wait()
        for turn in range(200):
            with leases.hold(claim(id=f"{number}-{turn}"), 10):
                pass

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    begin.wait()
    while any(thread.is_alive() for thread in threads):
        assert len(leases.to_renew()) <= 8
    assert len(leases) == 0
