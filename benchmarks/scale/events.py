"""Discrete event simulation: a clock, cores, and processes that share them."""

from __future__ import annotations

import heapq
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Clock:
    """Runs events in order of time."""

    def __init__(self) -> None:
        self.now = 0.0
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._number = 0

    def at(self, moment: float, act: Callable[[], None]) -> None:
        """Schedule an event; one in the past runs now."""
        self._number += 1
        heapq.heappush(self._heap, (max(self.now, moment), self._number, act))

    def run(self, until: float) -> None:
        """Run all events before a moment."""
        while self._heap and self._heap[0][0] < until:
            self.now, _, act = heapq.heappop(self._heap)
            act()
        self.now = until


class Cores:
    """The cores of a machine, assigned first come, first served."""

    def __init__(self, clock: Clock, count: int) -> None:
        self._clock = clock
        self._free = count
        self._ready: deque[Process] = deque()

    def join(self, process: Process) -> None:
        """Queue a process for a core."""
        self._ready.append(process)
        self._next()

    def _next(self) -> None:
        while self._free and self._ready:
            self._free -= 1
            process = self._ready.popleft()
            seconds, then = process.begin(self._clock.now)

            def done(process: Process = process, then: Callable[[], None] = then) -> None:
                self._free += 1
                if process.has_work():
                    self._ready.append(process)
                then()
                self._next()

            self._clock.at(self._clock.now + seconds, done)


class Process:
    """Runs one task at a time, like Redis, or Python under its GIL."""

    def __init__(self, clock: Clock, cores: Cores) -> None:
        self._clock = clock
        self._cores = cores
        self._queue: deque[tuple[float, float, Callable[[], None]]] = deque()
        self._active = False
        #: CPU seconds so far, and the wait of each task.
        self.busy = 0.0
        self.waits: list[float] = []

    def do(self, seconds: float, then: Callable[[], None]) -> None:
        """Append a task."""
        self._queue.append((self._clock.now, seconds, then))
        if not self._active:
            self._active = True
            self._cores.join(self)

    def begin(self, now: float) -> tuple[float, Callable[[], None]]:
        """Take the first task; return its seconds and its continuation."""
        asked, seconds, then = self._queue.popleft()
        self.waits.append(now - asked)
        self.busy += seconds
        return seconds, then

    def has_work(self) -> bool:
        """Return whether tasks remain; without any, the process becomes inactive."""
        self._active = bool(self._queue)
        return self._active
