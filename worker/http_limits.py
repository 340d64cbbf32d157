"""Bounds on HTTP traffic: deadlines for every operation, body sizes, clean connections.

A deadline applies to the thread that sets it: each connect, read and write of its connections
respects it, if they go through `TimedBackend` or are `TimedStream`s.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import httpcore2
import httpx2

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable, Iterator


#: Bytes that are written before the time is looked at again.
_PIECE: Final = 65_536

#: When what this thread does must have ended, and the clock that this is by.
_end: ContextVar[tuple[float, Callable[[], float]] | None] = ContextVar("deadline", default=None)


@contextmanager
def until(deadline: float, clock: Callable[[], float] = time.monotonic) -> Iterator[None]:
    """Apply a deadline to this thread, unless an earlier one applies already."""
    outer = _end.get()
    if outer is not None:
        outer_deadline, outer_clock = outer
        deadline = min(deadline, clock() + outer_deadline - outer_clock())
    token = _end.set((deadline, clock))
    try:
        yield
    finally:
        _end.reset(token)


def bounded(timeout: float | None, too_late: Callable[[str], Exception]) -> float | None:
    """Return the timeout, or the time left where that is less; raises `too_late`."""
    end = _end.get()
    if end is None:
        return timeout
    deadline, clock = end
    left = deadline - clock()
    if left <= 0:
        raise too_late("it takes too long")
    return left if timeout is None else min(timeout, left)


class TimedBackend(httpcore2.NetworkBackend):
    """Opens connections whose every operation ends by the deadline of the thread that uses it."""

    def __init__(self, inner: httpcore2.NetworkBackend) -> None:
        """Connect through `inner`."""
        self._inner = inner

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.NetworkStream:
        """Connect; raises what `inner` does, and `httpcore2.ConnectTimeout`."""
        left = bounded(timeout, httpcore2.ConnectTimeout)
        return TimedStream(self._inner.connect_tcp(host, port, left, local_address, socket_options))


class TimedStream(httpcore2.NetworkStream):
    """A connection whose every operation ends by the deadline of the thread that uses it."""

    def __init__(self, inner: httpcore2.NetworkStream) -> None:
        """Read and write through `inner`."""
        self._inner = inner

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Read what is there, at most `max_bytes`."""
        return self._inner.read(max_bytes, bounded(timeout, httpcore2.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Write in pieces: `inner` gives each piece that leaves the whole timeout again."""
        for start in range(0, len(buffer), _PIECE):
            left = bounded(timeout, httpcore2.WriteTimeout)
            self._inner.write(buffer[start : start + _PIECE], left)

    def close(self) -> None:
        """Close the connection."""
        self._inner.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore2.NetworkStream:
        """Return the connection under TLS."""
        left = bounded(timeout, httpcore2.ConnectTimeout)
        return TimedStream(self._inner.start_tls(ssl_context, server_hostname, left))

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401  # depends on the inner stream
        """Return what `inner` knows of the connection."""
        return self._inner.get_extra_info(info)


class BodyTooLong(httpx2.ReadError):
    """There is more of a body than is taken."""


def pieces(response: httpx2.Response, most: int) -> Iterator[bytes]:
    """Yield at most `most` bytes of the unpacked body, in pieces.

    Raises:
        BodyTooLong: it is longer, packed or unpacked; nothing beyond is held in memory.
        httpx2.DecodingError: it can't be unpacked, or is packed more than once: then a few bytes
            could take minutes and bring nothing.
    """
    if "," in response.headers.get("content-encoding", ""):
        raise httpx2.DecodingError("the body is packed more than once")
    size = 0
    for piece in response.iter_bytes():
        size += len(piece)
        if max(size, response.num_bytes_downloaded) > most:
            raise BodyTooLong("the body does not end")
        yield piece


def harden(client: httpx2.Client) -> None:
    """Apply deadlines to the client's connections, and reuse none with bytes left."""
    # There is no public way in (httpx2 2.16); tests with real sockets hold this one.
    for transport in (client._transport, *client._mounts.values()):  # noqa: SLF001  # see above
        pool = getattr(transport, "_pool", None)
        if pool is not None:  # a test's transport has none
            pool._network_backend = TimedBackend(pool._network_backend)  # noqa: SLF001  # see above
            close_if_bytes_are_left(pool)


def close_if_bytes_are_left(pool: httpcore2.ConnectionPool) -> None:
    """Never reuse a connection that brought more than the answer.

    The pool itself closes one with bytes that it has not read yet.
    """
    pool.create_connection = partial(_create, pool.create_connection)  # type: ignore[method-assign]  # of this one pool


def _create(
    create: Callable[[httpcore2.Origin], httpcore2.ConnectionInterface], origin: httpcore2.Origin
) -> httpcore2.ConnectionInterface:
    connection = create(origin)
    expired = connection.has_expired

    def has_expired() -> bool:
        return expired() or _has_bytes_left(connection)

    connection.has_expired = has_expired  # type: ignore[method-assign]  # asked before every reuse
    return connection


def _has_bytes_left(connection: httpcore2.ConnectionInterface) -> bool:
    if not connection.is_idle():
        return False
    inner: object = connection  # the connections to a host, and through a proxy, wrap one
    while (wrapped := getattr(inner, "_connection", None)) is not None:
        inner = wrapped
    http1 = getattr(inner, "_h11_state", None)
    return http1 is not None and bool(http1.trailing_data[0])
