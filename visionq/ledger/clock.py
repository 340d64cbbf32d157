"""The time that all who share a Redis have in common: its own."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis import Redis
    from redis.asyncio import Redis as AsyncRedis

#: Seconds after which Redis is asked again: clocks drift, and machines sleep.
_REST: Final = 60.0


class RedisClock:
    """Redis's time in seconds, told by the machine's own in between, which may be a day off.

    Days of budgets turn by it, for everybody in the same moment.
    """

    def __init__(self, own: Callable[[], float] = time.time) -> None:
        """`own` goes as fast as Redis's clock does."""
        self._own = own
        self._ahead = 0.0
        self._asked: float | None = None

    def now(self, redis: Redis) -> float:
        """Return the time; raises redis-py's errors."""
        if self._is_old:
            self._set(redis.time())
        return self._own() + self._ahead

    async def now_async(self, redis: AsyncRedis) -> float:
        """Return the same to asyncio."""
        if self._is_old:
            self._set(await redis.time())
        return self._own() + self._ahead

    @property
    def _is_old(self) -> bool:
        # Also when the machine's clock was put back.
        return self._asked is None or not 0 <= self._own() - self._asked < _REST

    def _set(self, told: Any) -> None:  # noqa: ANN401  # seconds and microseconds
        seconds, microseconds = told
        self._asked = self._own()
        self._ahead = seconds + microseconds / 1_000_000 - self._asked
