"""Connect to checked addresses only, within the download's time.

The HTTP client asks for a host; the backend resolves it once, checks every address, and connects
to one of those that it checked. The client still names the host in `Host` and in TLS (SNI and
certificate), because it never learns the address.
"""

from __future__ import annotations

import socket
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from threading import Thread
from typing import TYPE_CHECKING, Protocol

import httpcore2
import httpx2

from visionq.errors import UnsafeUrl
from worker.fetch.guard import is_public, refusal
from worker.http_limits import TimedStream, bounded, close_if_bytes_are_left

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable, Iterator, Sequence

    from worker.fetch.guard import Range


class Resolve(Protocol):
    """Turns a host into its addresses."""

    def __call__(self, host: str, port: int) -> list[str]:
        """Return every address of `host`, as text; raises `OSError` if there is none."""


def resolve_by_system(host: str, port: int) -> list[str]:
    """Ask the system's resolver, for no longer than the download may take.

    The resolver can't be interrupted: past the deadline its thread is left to end by itself.
    """
    seconds = bounded(None, httpcore2.ConnectTimeout)
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


class GuardedBackend(httpcore2.NetworkBackend):
    """Connects to checked addresses only."""

    def __init__(
        self,
        *,
        allow_private: bool,
        trusted: Sequence[Range] = (),
        resolve: Resolve = resolve_by_system,
        backend: httpcore2.NetworkBackend | None = None,
    ) -> None:
        """Check what `resolve` answers, unless `allow_private`; connect through `backend`.

        Ranges of addresses that are `trusted` are taken for public.
        """
        self._allow_private = allow_private
        self._trusted = trusted
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
                    timeout=bounded(timeout, httpcore2.ConnectTimeout),
                    local_address=local_address,
                    socket_options=socket_options,
                )
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = error
            else:
                return TimedStream(stream)
        raise failure

    def _checked(self, host: str, port: int) -> list[str]:
        try:
            addresses = self._resolve(host, port)
        except (OSError, UnicodeError) as error:
            raise httpcore2.ConnectError("the host name can't be resolved") from error
        if not self._allow_private:
            for address in addresses:
                if not is_public(address, self._trusted):
                    raise UnsafeUrl(f"the host leads to {refusal(address)}")
        return addresses

    def connect_unix_socket(
        self,
        path: str,  # noqa: ARG002  # the interface has it
        timeout: float | None = None,  # noqa: ARG002  # likewise
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,  # noqa: ARG002  # likewise
    ) -> httpcore2.NetworkStream:
        """Refuse: no URL leads to a socket file."""
        raise UnsafeUrl("socket files are not fetched from")


class PoolTransport(httpx2.BaseTransport):
    """Sends requests through a pool of connections made by `backend`.

    Errors of the network stay those of httpcore2.
    """

    def __init__(
        self,
        backend: httpcore2.NetworkBackend,
        *,
        max_connections: int,
        ssl_context: ssl.SSLContext,
    ) -> None:
        """Keep at most `max_connections` open, idle ones for a few seconds."""
        self._pool = httpcore2.ConnectionPool(
            ssl_context=ssl_context,
            max_connections=max_connections,
            max_keepalive_connections=max_connections,
            keepalive_expiry=5,
            network_backend=backend,
        )
        close_if_bytes_are_left(self._pool)

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send one request and return the answer, its body still to be read."""
        url = httpcore2.URL(
            scheme=request.url.raw_scheme,
            host=request.url.raw_host,
            port=request.url.port,
            target=request.url.raw_path,
        )
        response = self._pool.handle_request(
            httpcore2.Request(
                method=request.method,
                url=url,
                headers=request.headers.raw,
                content=request.stream,
                extensions=request.extensions,
            )
        )
        return httpx2.Response(
            status_code=response.status,
            headers=response.headers,
            stream=_Body(response),
            extensions=response.extensions,
        )

    def close(self) -> None:
        """Close every connection."""
        self._pool.close()


class _Body(httpx2.SyncByteStream):
    def __init__(self, response: httpcore2.Response) -> None:
        self._response = response

    def __iter__(self) -> Iterator[bytes]:
        stream: Iterable[bytes] = self._response.iter_stream()
        yield from stream

    def close(self) -> None:
        self._response.close()
