"""The event loop of a worker's jobs, and the thread that detects when it is blocked."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import structlog

from visionq.ledger.metrics import note_loop_blocked
from worker.threads import BackgroundThread

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from types import FrameType

    from redis import Redis

T = TypeVar("T")
log = structlog.get_logger(__name__)

#: Seconds between two turns that the loop takes by itself, and two looks at them.
_TURN: Final = 0.05
#: Seconds without a turn after which the loop counts as blocked.
BLOCKED_AFTER: Final = 0.1
#: Seconds within which one place in the code is logged once, and the innermost calls of it.
_LOG_EVERY: Final = 60.0
_CALLS: Final = 6
_PACKAGES: Final = Path(__file__).parents[1]


class EventLoop:
    """An event loop in a dedicated thread."""

    def __init__(self, blocking_threads: int) -> None:
        """Do nothing before `start`; bound the blocking calls that run at a time."""
        self._blocking_threads = blocking_threads
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="visionq-loop", daemon=True)
        self._started = threading.Event()
        self._watch = _Watch(self._thread)

    def start(self) -> None:
        """Begin, and wait until tasks are taken."""
        self._thread.start()
        self._started.wait()
        self._watch.start()

    def call_soon(self, call: Callable[..., object], *arguments: Any) -> None:  # noqa: ANN401  # the call's own
        """Make a call in the loop; from any thread."""
        self._running.call_soon_threadsafe(call, *arguments)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a task to its end, from another thread, which waits."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._running).result()

    @property
    def silence(self) -> float:
        """Return the seconds since the loop took a turn; a frozen process does not count."""
        return self._watch.silence

    def report_blocks(self, redis: Redis) -> None:
        """Add the blocks since the last report to the fleet's counter."""
        blocks = self._watch.blocks
        if blocks:
            note_loop_blocked(redis, blocks)
            self._watch.blocks -= blocks

    def stop(self, close: Callable[[], Coroutine[Any, Any, None]] | None = None) -> None:
        """End, after a call of `close` in the loop; tasks that run are abandoned."""
        if self._loop is not None:
            self._watch.stop()
            self._loop.call_soon_threadsafe(self._loop.create_task, self._finish(close))
            self._thread.join(timeout=5)

    async def _finish(self, close: Callable[[], Coroutine[Any, Any, None]] | None) -> None:
        try:
            if close is not None:
                await close()
        finally:
            self._running.stop()

    @property
    def _running(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            raise RuntimeError("the event loop has not been started")
        return self._loop

    def _run(self) -> None:
        with asyncio.Runner() as runner:
            loop = self._loop = runner.get_loop()
            loop.set_exception_handler(_log_error)
            # Threads that wait cost memory alone.
            threads = ThreadPoolExecutor(self._blocking_threads, "visionq-blocking")
            loop.set_default_executor(threads)
            loop.call_soon(self._started.set)
            loop.call_soon(self._turn)
            loop.run_forever()

    def _turn(self) -> None:
        self._watch.turns += 1
        self._running.call_later(_TURN, self._turn)


@dataclass(frozen=True)
class LoopBlocks:
    """Reports the blocks of the loop, every few seconds."""

    loop: EventLoop
    redis: Redis

    def run(self) -> None:
        """Add those since the last time to the fleet's counter."""
        self.loop.report_blocks(self.redis)


class _Watch(BackgroundThread):
    """Counts the times that the loop is blocked, and logs where."""

    def __init__(self, thread: threading.Thread) -> None:
        super().__init__("visionq-loop-watch")
        self._watched = thread
        self.turns = 0
        self.silence = 0.0
        self.blocks = 0
        self._logged: dict[str, float] = {}

    def _run(self) -> None:
        seen, looked, is_counted = self.turns, time.monotonic(), False
        while not self._stopped.wait(_TURN):
            now, turns = time.monotonic(), self.turns
            if turns != seen:
                seen, is_counted, self.silence = turns, False, 0.0
            else:
                # No more than a look should take: this thread itself may not have run.
                self.silence += min(now - looked, 2 * _TURN)
            looked = now
            if self.silence > BLOCKED_AFTER and not is_counted:
                is_counted = self._note(now)

    def _note(self, now: float) -> bool:
        """Count a block, unless the loop waits for events.

        Then the machine has no time for it. Return whether it was counted.
        """
        frame = sys._current_frames().get(self._watched.ident or 0)  # noqa: SLF001  # documented, in spite of its name
        if frame is None or frame.f_code.co_name == "select":
            return False
        self.blocks += 1
        where = _where(frame)
        if now - self._logged.get(where, -_LOG_EVERY) >= _LOG_EVERY:
            self._logged[where] = now
            log.warning("loop.blocked", seconds=round(self.silence, 2), where=where)
        return True


def _log_error(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log an error that no task raises, without values."""
    what = str(context["message"]).partition("(")[0]
    log.error("loop.error", what=what, exc_info=context.get("exception"))


def _where(frame: FrameType) -> str:
    """Return the innermost calls of a stack, outermost first: places, never values."""
    calls = traceback.extract_stack(frame, limit=None)[-_CALLS:]
    return " > ".join(f"{_short(call.filename)}:{call.lineno} {call.name}" for call in calls)


def _short(filename: str) -> str:
    path = Path(filename)
    try:
        return str(path.relative_to(_PACKAGES))
    except ValueError:
        return path.name
