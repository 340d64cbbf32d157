"""Signals as something to wait for, beside a timeout and the end of an input."""

from __future__ import annotations

import os
import select
import signal
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from types import FrameType

_STOPPING: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Signals:
    """Counts requests to stop, and wakes a sleeping main loop for them and for ended children.

    Use it as a context manager in the main thread; handlers are put back at the end.
    """

    def __init__(self, end_with: int | None = None) -> None:
        """With `end_with`, the end of that input counts as one request to stop."""
        self.stops = 0
        self._end_with = end_with

    def __enter__(self) -> Self:
        self._reader, self._writer = os.pipe()
        for end in (self._reader, self._writer):
            os.set_blocking(end, False)
        self._old_wakeup = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        self._old = {number: signal.getsignal(number) for number in (*_STOPPING, signal.SIGCHLD)}
        for number in _STOPPING:
            # nohup ignores SIGHUP on purpose; a shell's `&` ignores SIGINT for no such reason.
            if number is not signal.SIGHUP or self._old[number] is not signal.SIG_IGN:
                signal.signal(number, self._stop)
        signal.signal(signal.SIGCHLD, self._wake)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._old_wakeup)
        os.close(self._reader)
        os.close(self._writer)

    def wait(self, seconds: float) -> None:
        """Sleep until something happens, at most so long."""
        inputs = [self._reader, *([] if self._end_with is None else [self._end_with])]
        for ready in select.select(inputs, [], [], max(0.0, seconds))[0]:
            if not os.read(ready, 4096) and ready == self._end_with:
                self._end_with = None
                self.stops += 1

    def _stop(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002  # a handler's signature
        self.stops += 1

    def _wake(self, number: int, frame: FrameType | None) -> None:
        """Exist: the byte in the pipe, written by Python's own handler, is what wakes."""
