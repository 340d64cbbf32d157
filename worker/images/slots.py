"""Never more full pictures in memory at once than there are slots, however many threads run."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType


class DecodeSlots:
    """A bounded number of places for work on pixels; `with slots:` takes one and gives it back.

    Decoding releases the GIL, so as many slots as cores keep the machine busy, and more would
    only cost memory. Don't nest: a thread that holds the last slot would wait for itself.
    """

    def __init__(self, count: int) -> None:
        """Make `count` slots, at least one."""
        if count < 1:
            raise ValueError("at least one decode slot is needed")
        self.count = count
        self._free = threading.BoundedSemaphore(count)

    def __enter__(self) -> Self:
        self._free.acquire()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._free.release()
