"""Never more full pictures in memory at once than there are slots, however many threads run."""

from __future__ import annotations

from visionq.fair_limiter import FairLimiter


class DecodeSlots(FairLimiter):
    """A bounded number of places for work on pixels; `with slots.held(tenant):` takes one.

    Decoding releases the GIL, so as many slots as cores keep the machine busy, and more would
    only cost memory. Don't nest: a thread that holds the last slot would wait for itself.
    """
