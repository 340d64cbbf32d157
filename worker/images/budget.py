"""How many bytes of pictures and requests a process holds at once, whatever its concurrency."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

#: Seconds between two signs of life of somebody who waits.
_SIGN_EVERY: Final = 20.0


class ByteBudget:
    """A number of bytes that jobs share; who needs more than is left waits.

    One job at a time may go beyond: it never waits, so it comes to its end and gives everything
    back. Hence no two jobs can wait for each other.
    """

    def __init__(self, total: int) -> None:
        """Share out `total` bytes."""
        self.total = total
        self.used = 0
        self._changed = threading.Condition()
        self._beyond: Share | None = None  # the job that may go beyond

    def share(self) -> Share:
        """Return a share of nothing yet."""
        return Share(self)

    def _hold(self, share: Share, wanted: int, waiting: Callable[[], None]) -> None:
        with self._changed:
            while not self._admits(share, wanted - share.held):
                self._changed.wait(_SIGN_EVERY)
                waiting()
            self.used += wanted - share.held
            share.held = wanted
            if self._beyond is share and self.used <= self.total:
                self._beyond = None
            self._changed.notify_all()

    def _admits(self, share: Share, more: int) -> bool:
        if more <= 0 or self.used + more <= self.total or self._beyond is share:
            return True
        if self._beyond is None:
            self._beyond = share
            return True
        return False


class Share:
    """The bytes that one job holds. Used by one thread."""

    def __init__(self, budget: ByteBudget) -> None:
        self._budget = budget
        self.held = 0

    def hold(self, wanted: int, *, waiting: Callable[[], None] = lambda: None) -> None:
        """Hold so many bytes from now on, more or fewer than before; wait until there are.

        `waiting` is called now and then meanwhile.
        """
        self._budget._hold(self, wanted, waiting)  # noqa: SLF001  # two halves of one thing

    def add(self, more: int, *, waiting: Callable[[], None] = lambda: None) -> None:
        """Hold so many bytes more."""
        self.hold(self.held + more, waiting=waiting)
