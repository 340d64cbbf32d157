"""Calls that end in time, however slowly request or answer drip through the connection."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import httpcore2

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable, Iterator

    import httpx2


#: Bytes that are written before the time is looked at again.
_PIECE: Final = 65_536


class _OfThread(threading.local):
    deadline: float | None = None


class Deadlines:
    """When the call of each thread has to end: heeded by every read and write of its connection."""

    def __init__(self, client: httpx2.Client, clock: Callable[[], float]) -> None:
        """Put itself between the client and the network."""
        self._clock = clock
        self._this_call = _OfThread()
        # There is no public way in (httpx2 2.16); a test with a dripping provider holds this one.
        transports = [client._transport, *client._mounts.values()]  # noqa: SLF001  # see above
        for transport in transports:
            pool = getattr(transport, "_pool", None)
            if pool is not None:  # a test's transport has none
                pool._network_backend = _Backend(pool._network_backend, self)  # noqa: SLF001  # see above

    @contextmanager
    def until(self, deadline: float) -> Iterator[None]:
        """Hold what this thread does to the deadline, by the clock."""
        self._this_call.deadline = deadline
        try:
            yield
        finally:
            self._this_call.deadline = None

    def bounded(self, timeout: float | None, too_late: type[Exception]) -> float | None:
        """Return the timeout, or the time left where that is less; raises `too_late`."""
        deadline = self._this_call.deadline
        if deadline is None:
            return timeout
        left = deadline - self._clock()
        if left <= 0:
            raise too_late("the call took too long")
        return left if timeout is None else min(timeout, left)


class _Backend(httpcore2.NetworkBackend):
    def __init__(self, inner: httpcore2.NetworkBackend, deadlines: Deadlines) -> None:
        self._inner = inner
        self._deadlines = deadlines

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.NetworkStream:
        timeout = self._deadlines.bounded(timeout, httpcore2.ConnectTimeout)
        stream = self._inner.connect_tcp(host, port, timeout, local_address, socket_options)
        return _Stream(stream, self._deadlines)


class _Stream(httpcore2.NetworkStream):
    def __init__(self, inner: httpcore2.NetworkStream, deadlines: Deadlines) -> None:
        self._inner = inner
        self._deadlines = deadlines

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, self._deadlines.bounded(timeout, httpcore2.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        # In pieces: the inner write gives each piece that leaves the whole timeout again.
        for start in range(0, len(buffer), _PIECE):
            left = self._deadlines.bounded(timeout, httpcore2.WriteTimeout)
            self._inner.write(buffer[start : start + _PIECE], left)

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore2.NetworkStream:
        timeout = self._deadlines.bounded(timeout, httpcore2.ConnectTimeout)
        stream = self._inner.start_tls(ssl_context, server_hostname, timeout)
        return _Stream(stream, self._deadlines)

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401  # whatever the inner stream knows
        return self._inner.get_extra_info(info)
