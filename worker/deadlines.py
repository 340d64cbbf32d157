"""Network operations that end in time, however slowly request or answer drip through.

A deadline holds for the thread that sets it: every connect, read and write of its connections heeds
it, as far as these go through `TimedBackend` or are `TimedStream`s.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

import httpcore2

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable, Iterator

#: Bytes that are written before the time is looked at again.
_PIECE: Final = 65_536

#: When what this thread does must have ended, and the clock that this is by.
_end: ContextVar[tuple[float, Callable[[], float]] | None] = ContextVar("deadline", default=None)


@contextmanager
def until(deadline: float, clock: Callable[[], float] = time.monotonic) -> Iterator[None]:
    """Hold what this thread does to the deadline, by the clock, and to one that holds already."""
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
        """Read what is there, at most so many bytes."""
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

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401  # whatever the inner stream knows
        """Return what `inner` knows of the connection."""
        return self._inner.get_extra_info(info)
