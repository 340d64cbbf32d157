"""Whether what something costs grows in proportion to what it is given: in CPU time of a thread."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

#: CPU seconds below which growth can't be told from noise.
NOISE: Final = 0.02
#: From one size to the next, four times as large: a quadratic cost grows by 16, a linear one by 4.
MOST_GROWTH: Final = 8.0
#: CPU seconds that nothing may take, however slowly it got there.
TOO_LONG: Final = 1.0


def growth(calls: Iterable[tuple[int, Callable[[], object]]]) -> str | None:
    """Return at which of the sizes the time grows faster than they do, or None.

    Sizes rise, by four times at most; what looks too slow once is measured again.
    """
    least = last = NOISE / MOST_GROWTH
    for size, call in calls:
        spent = seconds(call, 1)
        if spent > min(MOST_GROWTH * last, TOO_LONG):
            spent = seconds(call, 3)
        if spent > min(MOST_GROWTH * last, TOO_LONG):
            return f"{spent:.3f} s at size {size}, {last:.3f} s at the size before"
        last = max(spent, least)
    return None


def seconds(call: Callable[[], object], tries: int) -> float:
    """Return the CPU time of this thread for a call, the least of a few."""
    spent = []
    # Following each line for the report of coverage takes longer than what is measured.
    follower = sys.gettrace()
    sys.settrace(None)
    try:
        for _ in range(tries):
            begun = time.thread_time()
            call()
            spent.append(time.thread_time() - begun)
    finally:
        sys.settrace(follower)
    return min(spent)
