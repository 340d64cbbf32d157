"""Redis: its address, connections that fail in bounded time, and what its errors mean."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from redis import Redis
from redis import asyncio as redis_asyncio
from redis import exceptions as redis_errors
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import ExponentialWithJitterBackoff
from redis.retry import Retry

from visionq.errors import QueueUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from urllib.parse import SplitResult

SCHEMES: Final = ("redis", "rediss", "unix")
#: Options of TLS that redis-py and Celery understand alike.
_TLS_OPTIONS: Final = ("ssl_cert_reqs", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_CERTIFICATE_CHECKS: Final = ("none", "optional", "required")
_HIGHEST_DATABASE: Final = 2**31 - 1
_HIGHEST_PORT: Final = 65535
#: Words of a Redis that can't write now: to its memory, its disk or its replicas. redis-py knows a
#: class for some of them, and for none where Redis 6.2 quotes them as the error of a script.
_UNABLE: Final = ("MISCONF", "NOREPLICAS", "MASTERDOWN", "OOM command not allowed", "READONLY You")


class UnableToWriteError(redis_errors.ResponseError):
    """Redis answers, and can't write for the time being."""


#: Errors after which the same call may go through later. All calls of ours can be repeated.
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
    connections: int = 50,
    patience: float = _PATIENCE,
) -> redis_asyncio.Redis:
    """Return the same for asyncio; a task waits while all connections are in use."""
    backoff = ExponentialWithJitterBackoff(base=0.05, cap=1)
    pool = redis_asyncio.BlockingConnectionPool.from_url(
        url,
        retry=AsyncRetry(backoff, retries),
        max_connections=connections,
        timeout=None,
        **_options(url, client_name, patience),
    )
    return redis_asyncio.Redis.from_pool(pool)


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


def parse_redis_url(url: str) -> str:
    """Return the address in its one spelling: the database in the path (`?db=` for a socket).

    Raises:
        ValueError: what is wrong with it, without repeating it; it may hold a password.
    """
    parts = _split(url)
    query = _query(parts)
    database = _database(parts, query.pop("db", None))
    for option in query:
        if option not in _TLS_OPTIONS:
            known = ", ".join(("db", *_TLS_OPTIONS))
            raise ValueError(f"the option {option!r} is not taken; known are {known}")
    if query and parts.scheme != "rediss":
        raise ValueError("options of TLS need rediss:// in front")
    if query.get("ssl_cert_reqs", "none") not in _CERTIFICATE_CHECKS:
        raise ValueError(f"ssl_cert_reqs is one of {', '.join(_CERTIFICATE_CHECKS)}")
    if parts.scheme == "unix":
        return f"unix://{parts.netloc}{parts.path}" + (f"?db={database}" if database else "")
    return urlunsplit(parts._replace(path=f"/{database}", query=urlencode(query)))


def celery_url(url: str) -> str:
    """Return what Celery takes for broker and result backend, of a URL in its one spelling.

    A socket has another scheme there, with its database as `virtual_host`; and TLS has to say that
    certificates are checked, which redis-py does by itself.
    """
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))
    if parts.scheme == "unix":
        # As it stands in the address: percent-encoded already.
        login = f"{parts.username or ''}:{parts.password}@" if parts.password else ""
        return f"redis+socket://{login}{parts.path}?virtual_host={query.get('db', '0')}"
    if parts.scheme == "rediss":
        query.setdefault("ssl_cert_reqs", "required")
        return urlunsplit(parts._replace(query=urlencode(query)))
    return url


def _split(url: str) -> SplitResult:
    parts = urlsplit(url)
    if parts.scheme not in SCHEMES or "://" not in url:
        raise ValueError("it must begin with redis://, rediss:// or unix://")
    if any(character.isspace() or not character.isprintable() for character in url):
        raise ValueError("it holds a blank or a control character; write it as %20 or the like")
    if parts.fragment or "#" in url:
        raise ValueError("a # in a password is written as %23")
    try:
        port = parts.port
    except ValueError:
        port = 0
    if port is not None and not 0 < port <= _HIGHEST_PORT:
        raise ValueError(f"the port is a number from 1 to {_HIGHEST_PORT}")
    if parts.scheme == "unix":
        if parts.hostname or not parts.path.strip("/"):
            raise ValueError("a socket is given as unix:///absolute/path")
    elif not parts.hostname:
        raise ValueError("it names no host")
    return parts


def _query(parts: SplitResult) -> dict[str, str]:
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    query = dict(pairs)
    if len(query) < len(pairs):
        raise ValueError("an option is given twice")
    return query


def _database(parts: SplitResult, option: str | None) -> int:
    path = None if parts.scheme == "unix" else parts.path.strip("/") or None
    given = {text for text in (path, option) if text is not None}
    if len(given) > 1:
        raise ValueError("the path and ?db= name different databases")
    text = given.pop() if given else "0"
    if not (text.isascii() and text.isdecimal()) or int(text[:11]) > _HIGHEST_DATABASE:
        raise ValueError("the database is a number, as in redis://host:6379/0")
    return int(text)
