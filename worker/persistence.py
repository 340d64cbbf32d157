"""Calls to the ledger that must go through, however long Redis is away."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

import structlog
from redis import exceptions as redis_errors

from visionq.redis_connection import PASSING

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
log = structlog.get_logger(__name__)

_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 2.0
#: Refusals of a Redis that can't write to its disk, or to its replicas, now; scripts quote them.
_UNABLE: Final = ("MISCONF", "NOREPLICAS", "MASTERDOWN", "OOM command not allowed")


def persistently(call: Callable[[], T], sleep: Callable[[float], None]) -> T:
    """Repeat a repeatable call until Redis takes it.

    What is at stake is a paid answer: giving up would lose it, waiting only keeps one thread.
    """
    pause = _FIRST_PAUSE
    while True:
        try:
            return call()
        except redis_errors.RedisError as error:
            if not _passes(error):
                raise
            log.warning("ledger.waiting_for_redis", error=str(error))
            sleep(pause)
            pause = min(_LONGEST_PAUSE, pause * 2)


def _passes(error: redis_errors.RedisError) -> bool:
    return isinstance(error, PASSING) or any(word in str(error) for word in _UNABLE)
