"""Puts a network backend of ours under the HTTP client, by public interfaces alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpcore2
import httpx2

from worker.connections import close_if_bytes_are_left

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable, Iterator


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
