"""Celery's result backend on Redis, which waits while Redis is down."""

from __future__ import annotations

from typing import Any, Final

from celery.backends.redis import RedisBackend
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

#: With the pauses below, some 20 s.
_ATTEMPTS: Final = 24
_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 1.0


class Backend(RedisBackend):
    """Repeats commands: Celery fails a chord for good where one of them meets a restart."""

    def __init__(self, *args: Any, **options: Any) -> None:  # noqa: ANN401  # Celery's signature
        super().__init__(*args, **options)
        self.connparams["retry"] = Retry(  # type: ignore[attr-defined]  # stubs lack it
            ExponentialBackoff(cap=_LONGEST_PAUSE, base=_FIRST_PAUSE), _ATTEMPTS
        )
