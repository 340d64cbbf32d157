"""Limits of HTTP traffic: deadlines of operations, body sizes, clean connections.

A deadline applies to the thread that sets it: each connect, read and write of its connections
respects it, if they go through `TimedBackend` or are `TimedStream`s.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

import httpcore2
import httpx2

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable, Iterator, Sequence


_Connection = TypeVar(
    "_Connection", httpcore2.ConnectionInterface, httpcore2.AsyncConnectionInterface
)

#: One for all clients of a process that trust the same: each takes 50 ms and 1 MB.
shared_ssl_context = cache(httpx2.create_ssl_context)

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
        """Read the available bytes, at most `max_bytes`."""
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
        """Return information about the connection from `inner`."""
        return self._inner.get_extra_info(info)


#: Bytes, also once unpacked. No answer is longer; a longer page is not read to its end.
LONGEST_BODY: Final = 16 * 1024 * 1024


class BodyTooLong(httpx2.ReadError):
    """There is more of a body than is taken."""


def pieces(response: httpx2.Response, most: int) -> Iterator[bytes]:
    """Yield at most `most` bytes of the unpacked body, in pieces.

    Raises:
        BodyTooLong: it is longer, packed or unpacked; nothing beyond is held in memory.
        httpx2.DecodingError: it can't be unpacked, or is packed more than once.
    """
    check_packing(response.headers.get("content-encoding", ""))
    size = 0
    for piece in response.iter_bytes():
        size += len(piece)
        _check_size(response, size, most)
        yield piece


async def read(response: httpx2.Response, most: int) -> bytes:
    """Return the unpacked body, at most `most` bytes of it; raises what `pieces` does."""
    check_packing(response.headers.get("content-encoding", ""))
    body, size = [], 0
    async for piece in response.aiter_bytes():
        size += len(piece)
        _check_size(response, size, most)
        body.append(piece)
    return b"".join(body)


#: Of bodies as they travel: their length and packing are not those of what has been read.
_OF_THE_LINE: Final = frozenset({b"content-encoding", b"content-length", b"transfer-encoding"})


def with_body(
    status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes, request: httpx2.Request
) -> httpx2.Response:
    """Return the response with its body, which has been read and unpacked."""
    own = [(name, value) for name, value in headers if name.lower() not in _OF_THE_LINE]
    return httpx2.Response(status, headers=own, content=body, request=request)


def check_packing(encoding: str) -> None:
    """Raise `httpx2.DecodingError` if a body is packed more than once.

    Then a few bytes could take minutes to unpack and bring nothing.
    """
    if "," in encoding:
        raise httpx2.DecodingError("the body is packed more than once")


def _check_size(response: httpx2.Response, size: int, most: int) -> None:
    if max(size, response.num_bytes_downloaded) > most:
        raise BodyTooLong("the body does not end")


def harden(client: httpx2.Client) -> None:
    """Apply deadlines to the client's connections, and reuse none with bytes left."""
    # There is no public way in (httpx2 2.16); tests with real sockets hold this one.
    for transport in (client._transport, *client._mounts.values()):  # noqa: SLF001  # see above
        pool = getattr(transport, "_pool", None)
        if pool is not None:  # a test's transport has none
            pool._network_backend = TimedBackend(pool._network_backend)  # noqa: SLF001  # see above
            close_if_bytes_are_left(pool)


def close_if_bytes_are_left(
    pool: httpcore2.ConnectionPool | httpcore2.AsyncConnectionPool,
) -> None:
    """Never reuse a connection that brought more than the answer.

    The pool itself closes one with bytes that it has not read yet.
    """
    own: Any = pool  # of either kind; only this one pool changes
    own.create_connection = partial(_create, own.create_connection)


def _create(
    create: Callable[[httpcore2.Origin], _Connection], origin: httpcore2.Origin
) -> _Connection:
    connection = create(origin)
    expired = connection.has_expired

    def has_expired() -> bool:
        return expired() or _has_bytes_left(connection)

    connection.has_expired = has_expired  # type: ignore[method-assign]  # asked before every reuse
    return connection


def _has_bytes_left(
    connection: httpcore2.ConnectionInterface | httpcore2.AsyncConnectionInterface,
) -> bool:
    if not connection.is_idle():
        return False
    inner: object = connection  # the connections to a host, and through a proxy, wrap one
    while (wrapped := getattr(inner, "_connection", None)) is not None:
        inner = wrapped
    http1 = getattr(inner, "_h11_state", None)
    return http1 is not None and bool(http1.trailing_data[0])
