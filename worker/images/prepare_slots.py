"""How many jobs prepare their pictures at once, each with its originals in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from visionq.fair_limiter import FairLimiter

if TYPE_CHECKING:
    from collections.abc import Callable

#: One decodes while the others fetch what comes next; more would hold originals and wait. Enough
#: for small pictures from an object store, where fetching takes longer than anything else.
PLACES: Final = 6


class PrepareSlots:
    """A number of places that jobs share."""

    def __init__(self, count: int = PLACES) -> None:
        """Make `count` places, one of which is never had by a tenant that has the others."""
        self._shares = FairLimiter(count, each=max(1, count - 1))

    def place(self, tenant: str) -> PrepareSlot:
        """Return a place that is not taken yet."""
        return PrepareSlot(self._shares, tenant)


class PrepareSlot:
    """The place of one job. Used by one thread.

    Take it before any share of memory: who waits for a place holds nothing that others wait for.
    """

    def __init__(self, shares: FairLimiter, tenant: str) -> None:
        self._shares = shares
        self._tenant = tenant
        self._taken = False

    def take(self, *, waiting: Callable[[], None] = lambda: None) -> None:
        """Wait until a place is free; `waiting` is called now and then meanwhile."""
        if not self._taken:
            self._taken = self._shares.take(self._tenant, waiting=waiting)

    def leave(self) -> None:
        """Let another job have it; one that was not taken may be left."""
        if self._taken:
            self._taken = False
            self._shares.give_back(self._tenant)
