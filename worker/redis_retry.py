"""Repeat calls to the ledger until Redis is back."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final, TypeVar

import structlog

from visionq import sans_io
from visionq.errors import QueueUnavailable
from visionq.redis_connection import TRANSIENT_ERRORS, mapping_transient_errors

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from visionq.sans_io import Steps

T = TypeVar("T")
log = structlog.get_logger(__name__)

_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 2.0


def retry_until_redis_returns(
    call: Callable[[], T], sleep: Callable[[float], None], patience: float = math.inf
) -> T:
    """Repeat a repeatable call until Redis takes it, or for `patience` seconds of pauses.

    Raises:
        QueueUnavailable: patience is at its end.
    """
    return sans_io.run(_retrying(call, sleep, patience))


async def retry_until_redis_returns_async(
    call: Callable[[], Awaitable[T]], sleep: Callable[[float], Awaitable[None]]
) -> T:
    """Retry in a task until Redis returns, without a time limit.

    A paid answer may be at stake: giving up would lose it, waiting keeps one task.
    """
    return await sans_io.run_async(_retrying(call, sleep, math.inf))


def _retrying(call: Callable[[], Any], sleep: Callable[[float], Any], patience: float) -> Steps[T]:
    pause, slept = _FIRST_PAUSE, 0.0
    while True:
        try:
            with mapping_transient_errors():
                result: T = yield call()
                return result
        except TRANSIENT_ERRORS as error:
            if slept >= patience:
                raise QueueUnavailable(f"Redis can't be used ({error})") from error
            log.warning("ledger.waiting_for_redis", error=str(error))
        yield sleep(pause)
        slept += pause
        pause = min(_LONGEST_PAUSE, pause * 2)
