"""Connections that go nowhere but to a checked address, and no longer than the download may take.

The HTTP client asks for a host; this backend resolves it once, checks every address, and connects
to one of those it has checked. The client still names the host in `Host` and in TLS (SNI and
certificate), because it never learns the address.
"""

from __future__ import annotations

import socket
import time
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Thread
from typing import TYPE_CHECKING, Any, Protocol

import httpcore2

from visionq.errors import UnsafeUrl
from worker.fetch.addresses import is_public

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable, Iterator

#: When the download of this thread must have ended, by `time.monotonic`.
_deadline: ContextVar[float | None] = ContextVar("deadline", default=None)


class Resolve(Protocol):
    """Turns a host into its addresses."""

    def __call__(self, host: str, port: int) -> list[str]:
        """Return every address of `host`, as text; raises `OSError` if there is none."""


def resolve_by_system(host: str, port: int) -> list[str]:
    """Ask the system's resolver, for no longer than the download may take.

    The resolver can't be interrupted: past the deadline its thread is left to end by itself.
    """
    seconds = time_left()
    if seconds is None:
        return _look_up(host, port)
    answer: Future[list[str]] = Future()
    Thread(target=_answer, args=(answer, host, port), name="resolve", daemon=True).start()
    try:
        return answer.result(seconds)
    except FutureTimeoutError:
        raise httpcore2.ConnectTimeout("the host name is not resolved in time") from None


def _answer(answer: Future[list[str]], host: str, port: int) -> None:
    try:
        answer.set_result(_look_up(host, port))
    except Exception as error:  # noqa: BLE001  # handed over to the thread that waits
        answer.set_exception(error)


def _look_up(host: str, port: int) -> list[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


@contextmanager
def deadline_in(seconds: float) -> Iterator[None]:
    """Let every network operation of this thread end within `seconds` from now."""
    token = _deadline.set(time.monotonic() + seconds)
    try:
        yield
    finally:
        _deadline.reset(token)


def time_left() -> float | None:
    """Return the seconds that the download of this thread still has; None: no limit."""
    return _within_deadline(None, httpcore2.ConnectTimeout)


def _within_deadline(timeout: float | None, too_late: Callable[[str], Exception]) -> float | None:
    deadline = _deadline.get()
    if deadline is None:
        return timeout
    left = deadline - time.monotonic()
    if left <= 0:
        raise too_late("the download takes too long")
    return left if timeout is None else min(timeout, left)


class GuardedBackend(httpcore2.NetworkBackend):
    """Connects to checked addresses only."""

    def __init__(
        self,
        *,
        allow_private: bool,
        resolve: Resolve = resolve_by_system,
        backend: httpcore2.NetworkBackend | None = None,
    ) -> None:
        """Check what `resolve` answers, unless `allow_private`; connect through `backend`."""
        self._allow_private = allow_private
        self._resolve = resolve
        self._backend = httpcore2.SyncBackend() if backend is None else backend

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.NetworkStream:
        """Connect to the first address of `host` that answers.

        Raises:
            UnsafeUrl: one of its addresses is not public.
            httpcore2.ConnectError, httpcore2.ConnectTimeout: none can be reached.
        """
        failure: Exception = httpcore2.ConnectError("the host has no address")
        for address in self._checked(host, port):
            try:
                stream = self._backend.connect_tcp(
                    address,
                    port,
                    timeout=_within_deadline(timeout, httpcore2.ConnectTimeout),
                    local_address=local_address,
                    socket_options=socket_options,
                )
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = error
            else:
                return _TimedStream(stream)
        raise failure

    def _checked(self, host: str, port: int) -> list[str]:
        try:
            addresses = self._resolve(host, port)
        except (OSError, UnicodeError) as error:
            raise httpcore2.ConnectError("the host name can't be resolved") from error
        if not self._allow_private and not all(is_public(address) for address in addresses):
            message = "the host leads to an address that is not on the open internet"
            raise UnsafeUrl(message)
        return addresses

    def connect_unix_socket(
        self,
        path: str,  # noqa: ARG002  # the interface has it
        timeout: float | None = None,  # noqa: ARG002  # likewise
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,  # noqa: ARG002  # likewise
    ) -> httpcore2.NetworkStream:
        """Refuse: no URL leads to a socket file."""
        raise UnsafeUrl("socket files are not fetched from")


class _TimedStream(httpcore2.NetworkStream):
    """A connection whose every operation ends by the deadline of the download that uses it."""

    def __init__(self, stream: httpcore2.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _within_deadline(timeout, httpcore2.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _within_deadline(timeout, httpcore2.WriteTimeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore2.NetworkStream:
        limit = _within_deadline(timeout, httpcore2.ConnectTimeout)
        return _TimedStream(self._stream.start_tls(ssl_context, server_hostname, limit))

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401  # the interface has it
        return self._stream.get_extra_info(info)
