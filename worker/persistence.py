"""Calls to the ledger that must go through, however long Redis is away."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

import structlog

from visionq.redis_connection import PASSING

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
log = structlog.get_logger(__name__)

_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 2.0


def persistently(call: Callable[[], T], sleep: Callable[[float], None]) -> T:
    """Repeat a repeatable call until Redis takes it.

    What is at stake is a paid answer: giving up would lose it, waiting only keeps one thread.
    """
    pause = _FIRST_PAUSE
    while True:
        try:
            return call()
        except PASSING as error:
            log.warning("ledger.waiting_for_redis", error=str(error))
            sleep(pause)
            pause = min(_LONGEST_PAUSE, pause * 2)
