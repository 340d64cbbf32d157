"""The loop of a worker, and how its blocks are noticed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from tests.support.waiting import until
from worker.event_loop import BLOCKED_AFTER, EventLoop, LoopBlocks

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def loop() -> Iterator[EventLoop]:
    loop = EventLoop(2)
    loop.start()
    yield loop
    loop.stop()


class Counters:
    """Stands for Redis: counts, or fails."""

    def __init__(self) -> None:
        self.counted: list[tuple[str, str, int]] = []
        self.error: Exception | None = None

    def hincrby(self, key: str, field: str, amount: int) -> None:
        if self.error is not None:
            raise self.error
        self.counted.append((key, field, amount))


def test_runs_for_other_threads(loop: EventLoop) -> None:
    """A thread that waits for a task gets its result, or its error."""

    async def answer(number: int) -> int:
        await asyncio.sleep(0)
        return 1 // number

    assert loop.run(answer(1)) == 1
    with pytest.raises(ZeroDivisionError):
        loop.run(answer(0))


def test_a_loop_that_waits_is_not_blocked(loop: EventLoop) -> None:
    """However long its tasks wait, a loop that could go on is no concern."""
    loop.run(asyncio.sleep(5 * BLOCKED_AFTER))
    assert loop.silence < BLOCKED_AFTER
    counters: Any = Counters()
    LoopBlocks(loop, counters).run()
    assert counters.counted == []


def test_a_block_is_counted_and_logged_with_its_place(loop: EventLoop) -> None:
    """Code that keeps the loop is named once, with every later time only counted."""

    def keeps_the_loop() -> None:
        until(lambda: loop.silence > BLOCKED_AFTER)

    async def block() -> None:
        keeps_the_loop()

    with structlog.testing.capture_logs() as logs:
        for _ in range(2):
            loop.run(block())
            until(lambda: not loop.silence)
    (line,) = logs
    assert (line["event"], line["log_level"]) == ("loop.blocked", "warning")
    assert "tests/unit/test_worker_event_loop.py" in line["where"]
    assert "keeps_the_loop" in line["where"]
    counters: Any = Counters()
    counters.error = ConnectionError()
    with pytest.raises(ConnectionError):
        LoopBlocks(loop, counters).run()
    counters.error = None
    for _ in range(2):
        LoopBlocks(loop, counters).run()
    assert counters.counted == [("visionq:metrics", "loop_blocked", 2)]


def test_lost_errors_are_logged_without_values(loop: EventLoop) -> None:
    """An error in a callback is logged by its kind: what the callback was given is a job's."""

    def fail(_: str) -> None:
        raise ValueError

    with structlog.testing.capture_logs() as logs:
        loop.call_soon(fail, "a prompt")
        loop.run(asyncio.sleep(0))
    (line,) = logs
    assert line["event"] == "loop.error"
    assert isinstance(line["exc_info"], ValueError)
    assert "a prompt" not in str({**line, "exc_info": None})


def test_ends_with_tasks_that_do_not() -> None:
    """Stopping abandons what still runs, and may come before the start."""
    EventLoop(1).stop()
    loop = EventLoop(1)
    loop.start()
    ended: list[bool] = []

    async def forever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    kept: list[asyncio.Task[None]] = []
    loop.call_soon(lambda: kept.append(asyncio.get_running_loop().create_task(forever())))
    loop.run(asyncio.sleep(0))
    loop.stop()
    assert ended == [True]
