"""How many jobs prepare their pictures at once, each with its originals in memory."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

#: One decodes while the others fetch what comes next; more would hold originals and wait. Enough
#: for small pictures from an object store, where fetching takes longer than anything else.
PLACES: Final = 6
#: Seconds between two signs of life of somebody who waits.
_SIGN_EVERY: Final = 20.0


class Places:
    """A number of places that jobs share."""

    def __init__(self, count: int = PLACES) -> None:
        """Make `count` places."""
        self._free = threading.BoundedSemaphore(count)

    def place(self) -> Place:
        """Return a place that is not taken yet."""
        return Place(self._free)


class Place:
    """The place of one job. Used by one thread.

    Take it before any share of memory: who waits for a place holds nothing that others wait for.
    """

    def __init__(self, free: threading.BoundedSemaphore) -> None:
        self._free = free
        self._taken = False

    def take(self, *, waiting: Callable[[], None] = lambda: None) -> None:
        """Wait until a place is free; `waiting` is called now and then meanwhile."""
        if self._taken:
            return
        while not self._free.acquire(timeout=_SIGN_EVERY):
            waiting()
        self._taken = True

    def leave(self) -> None:
        """Let another job have it; one that was not taken may be left."""
        if self._taken:
            self._taken = False
            self._free.release()
