"""Calls to the ledger that must go through, however long Redis is away."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, TypeVar

import structlog

from visionq.errors import QueueUnavailable
from visionq.redis_connection import TRANSIENT_ERRORS, mapping_transient_errors

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
log = structlog.get_logger(__name__)

_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 2.0


def retry_until_redis_returns(
    call: Callable[[], T], sleep: Callable[[float], None], patience: float = math.inf
) -> T:
    """Repeat a repeatable call until Redis takes it, or for `patience` seconds of pauses.

    Where a paid answer is at stake there is no end to patience: giving up would lose the answer,
    waiting only keeps one thread.

    Raises:
        QueueUnavailable: patience is at its end.
    """
    pause, slept = _FIRST_PAUSE, 0.0
    while True:
        try:
            with mapping_transient_errors():
                return call()
        except TRANSIENT_ERRORS as error:
            if slept >= patience:
                raise QueueUnavailable(f"Redis can't be used ({error})") from error
            log.warning("ledger.waiting_for_redis", error=str(error))
            sleep(pause)
            slept += pause
            pause = min(_LONGEST_PAUSE, pause * 2)
