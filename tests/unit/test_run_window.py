"""The window of jobs that are out: bounded in number and bytes, and never stuck."""

from __future__ import annotations

import threading

from hypothesis import given
from hypothesis import strategies as st

from producer.run.feeder import Out, Window
from producer.run.run_record import RowAttempt
from producer.sources import Row
from visionq.contract import parse_job
from visionq.ledger import NewJob

DOCUMENT = parse_job({"prompt": "What?", "images": [{"url": "https://example.com"}]})


def out(number: int, size: int = 0) -> Out:
    row = Row(number, str(number), ())
    return Out(NewJob(str(number), DOCUMENT), row, RowAttempt(number, row.id), size, created=True)


@given(sizes=st.lists(st.integers(0, 50), max_size=60), most=st.integers(1, 5))
def test_it_never_holds_too_much(sizes: list[int], most: int) -> None:
    """However jobs come and go, it holds its number and its bytes, or one job alone."""
    window = Window(most_jobs=most, most_bytes=40)
    inside: dict[str, int] = {}
    for number, size in enumerate(sizes):
        while inside and (len(inside) + 1 > most or sum(inside.values()) + size > 40):
            oldest = next(iter(inside))
            assert [one.job.id for one in window.take([oldest, "unknown"])] == [oldest]
            del inside[oldest]
        assert window.wait_for_room(1, size)
        window.add([out(number, size)])
        inside[str(number)] = size
        assert list(window.ids()) == list(inside)


def test_pictures_that_went_make_room() -> None:
    """Pictures that Redis has let go count no more; their job does."""
    window = Window(most_jobs=2, most_bytes=40)
    window.add([out(1, 40)])
    assert window.with_pictures(["1", "unknown"]) == ["1"]
    window.release(["1", "unknown"])
    assert window.with_pictures(["1"]) == []
    assert window.wait_for_room(1, 40)
    window.add([out(2, 40)])
    (taken,) = window.take(["1"])
    assert taken.is_released
    assert list(window.ids()) == ["2"]


def test_waits_until_there_is_room() -> None:
    """A producer that finds it full goes on as soon as a job was taken out."""
    window = Window(most_jobs=1)
    window.add([out(1)])
    went = threading.Event()

    def wait() -> None:
        if window.wait_for_room(1, 0):
            went.set()

    thread = threading.Thread(target=wait)
    thread.start()
    assert not went.wait(0.05)
    window.take(["1"])
    assert went.wait(5)
    thread.join()


def test_nobody_waits_at_a_closed_one() -> None:
    """A producer that waits for room learns that none will come."""
    window = Window(most_jobs=1)
    window.add([out(1)])
    window.close()
    assert not window.wait_for_room(1, 0)
