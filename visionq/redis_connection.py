"""Connections to Redis that fail in bounded time, and what its errors mean to a caller."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from redis import Redis
from redis import asyncio as redis_asyncio
from redis import exceptions as redis_errors
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import ExponentialWithJitterBackoff
from redis.retry import Retry

from visionq.errors import QueueUnavailable
from visionq.multiplexed_redis import MultiplexedRedis

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Words of a Redis that can't write now: to its memory, its disk or its replicas. redis-py knows a
#: class for some of them, and for none where Redis 6.2 quotes them as the error of a script.
_UNABLE: Final = ("MISCONF", "NOREPLICAS", "MASTERDOWN", "OOM command not allowed", "READONLY You")


class UnableToWriteError(redis_errors.ResponseError):
    """Redis answers, and can't write for the time being."""


#: Errors after which the same call may go through later. All our calls can be repeated.
TRANSIENT_ERRORS: Final = (
    redis_errors.ConnectionError,
    redis_errors.TimeoutError,
    redis_errors.BusyLoadingError,
    redis_errors.ReadOnlyError,
    redis_errors.TryAgainError,
    redis_errors.OutOfMemoryError,
    UnableToWriteError,
)

_RETRIES: Final = 3
#: Seconds for one reply.
_PATIENCE: Final = 10.0


def _options(url: str, client_name: str, patience: float) -> dict[str, Any]:
    # A local socket has no network to keep it alive through, and redis-py refuses the word for it.
    keepalive = {} if url.startswith("unix:") else {"socket_keepalive": True}
    return {
        **keepalive,
        "socket_timeout": patience,
        "socket_connect_timeout": 3,
        "health_check_interval": 15,
        "client_name": client_name,
        "retry_on_error": [redis_errors.BusyLoadingError],
    }


def connect(
    url: str,
    client_name: str,
    *,
    retries: int = _RETRIES,
    connections: int = 256,
    patience: float = _PATIENCE,
) -> Redis:
    """Return a client for `redis://`, `rediss://` or `unix://`; it connects at its first use."""
    backoff = ExponentialWithJitterBackoff(base=0.05, cap=1)
    client: Redis = Redis.from_url(
        url,
        retry=Retry(backoff, retries),
        max_connections=connections,
        **_options(url, client_name, patience),
    )
    return client


def connect_async(
    url: str,
    client_name: str,
    *,
    retries: int = _RETRIES,
    patience: float = _PATIENCE,
) -> redis_asyncio.Redis:
    """Return an asyncio client; a task waits while all connections are in use."""
    return redis_asyncio.Redis.from_pool(_pool(url, client_name, retries, 50, patience))


def connect_multiplexed(
    url: str, client_name: str, *, retries: int = _RETRIES, patience: float = _PATIENCE
) -> MultiplexedRedis:
    """Return a client whose commands share one connection, for the tasks of one event loop."""
    pool = _pool(url, client_name, retries, 8, patience)
    return MultiplexedRedis.from_pool(pool)  # type: ignore[return-value]  # of the class it is asked of


def _pool(
    url: str, client_name: str, retries: int, connections: int, patience: float
) -> redis_asyncio.ConnectionPool:
    backoff = ExponentialWithJitterBackoff(base=0.05, cap=1)
    return redis_asyncio.BlockingConnectionPool.from_url(
        url,
        retry=AsyncRetry(backoff, retries),
        max_connections=connections,
        timeout=None,
        **_options(url, client_name, patience),
    )


@contextmanager
def mapping_transient_errors() -> Iterator[None]:
    """Raise errors that say "not now" as one of `TRANSIENT_ERRORS`, where redis-py has no class."""
    try:
        yield
    except redis_errors.ResponseError as error:
        if not isinstance(error, TRANSIENT_ERRORS) and any(word in str(error) for word in _UNABLE):
            raise UnableToWriteError(str(error)) from error
        raise


@contextmanager
def as_queue_unavailable() -> Iterator[None]:
    """Turn every error of Redis into `QueueUnavailable`, saying what to do."""
    try:
        yield
    except redis_errors.AuthenticationError as error:
        raise QueueUnavailable(
            f"Redis refused the credentials in VISIONQ_REDIS_URL: {error}"
        ) from error
    except redis_errors.NoPermissionError as error:
        raise QueueUnavailable(_closed(error)) from error
    except redis_errors.OutOfMemoryError as error:
        raise QueueUnavailable(
            "Redis is at its memory limit and takes no jobs; raise maxmemory or wait"
        ) from error
    except redis_errors.RedisError as error:
        raise QueueUnavailable(
            f"Redis can't be used ({error}); is it running, and is VISIONQ_REDIS_URL right?"
        ) from error


def _closed(error: redis_errors.NoPermissionError) -> str:
    if "'script" in str(error):  # what follows upon a script that Redis does not have
        return (
            "Redis does not have a script of this release: no worker of this release runs, or Redis"
            " was just restarted; try again in a few seconds, or start a worker of this release"
        )
    return (
        f"Redis can't be used ({error}); give the user in VISIONQ_REDIS_URL the rights in docs/acl"
    )
