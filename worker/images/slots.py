"""Never more full pictures in memory at once than there are slots, however many threads run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from visionq.fair_limiter import FairLimiter

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

#: Pixels of a picture that does not wait for large ones: tens of milliseconds, megabytes.
SMALL_PIXELS: Final = 2_000_000
#: Small pictures at once, of a tenant one.
_SMALL_SLOTS: Final = 2


class DecodeSlots:
    """Bounded numbers of places for work on pixels: for large pictures, and for small ones.

    Decoding releases the GIL, so as many slots as cores keep the machine busy, and more would only
    cost memory. Small pictures have slots of their own since a large one may take seconds: the
    system lets both go on at once. Don't nest: a thread that holds the last slot would wait for
    itself.
    """

    def __init__(self, count: int) -> None:
        """Make `count` slots for large pictures, at least one."""
        self._large = FairLimiter(count)
        self._small = FairLimiter(_SMALL_SLOTS, each=1)

    def held(self, tenant: str, pixels: int | None = None) -> AbstractContextManager[None]:
        """Hold a slot for a picture of so many pixels, however long that takes to be had.

        None: it is not known how many, so they may be many.
        """
        is_small = pixels is not None and pixels <= SMALL_PIXELS
        return (self._small if is_small else self._large).held(tenant)
