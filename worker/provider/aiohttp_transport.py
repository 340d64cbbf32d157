"""HTTP for the event loop: limited in time and size, exact about whether a request was sent.

`openai` brings an aiohttp transport of its own (3.54), which is not used: it reports a connection
that broke after the request as one that was never made, and such a call may have been paid.
"""

from __future__ import annotations

import asyncio
import select
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakSet

import aiohttp
import httpx2
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.payload import AsyncIterablePayload

from worker.http_limits import (
    LONGEST_BODY,
    BodyTooLong,
    check_packing,
    close_if_bytes_are_left,
    read,
    shared_ssl_context,
    with_body,
)

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable, Iterator

    from aiohttp.client_proto import ResponseHandler
    from aiohttp.connector import Connection
    from aiohttp.tracing import Trace
    from httpx2._types import CertTypes

#: Seconds that an idle connection is kept. Servers close theirs after 5 s or more, and a call sent
#: into a closing connection is a call whose billing is unknown.
KEEP_ALIVE: Final = 3.0
#: Bytes of one header, and headers: far more than servers send.
_LONGEST_HEADER: Final = 65_536
_MOST_HEADERS: Final = 1_000
#: A longer body is written in pieces, so that what a slow connection has not taken is not copied.
_LONGEST_WRITE: Final = 1 << 20
_PIECE: Final = 1 << 17


@dataclass(slots=True)
class _Exchange:
    """One call: until it has a connection, nothing of it was sent."""

    connected: bool = False
    transport: asyncio.Transport | None = None

    def abort(self) -> None:
        """Abort the connection: closing would first send the rest of the request."""
        if self.transport is not None:
            self.transport.abort()


_exchange: ContextVar[_Exchange] = ContextVar("exchange")


class OutgoingBody(httpx2.AsyncByteStream):
    """The body of one call. It is let go once it is sent: while the call waits, nothing keeps it.

    Nothing may be left that would send it again: neither a retry nor a redirect.
    """

    def __init__(self, content: bytes, on_sent: Callable[[], None] = lambda: None) -> None:
        """Send these bytes; call `on_sent` once the connection has taken all of them."""
        #: What is still to be sent; empty once that has begun.
        self.content = content
        self.size = len(content)
        self._on_sent = on_sent

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the bytes, once; many of them in pieces."""
        content, self.content = self.content, b""
        if self.size <= _LONGEST_WRITE:
            yield content
        else:
            for start in range(0, self.size, _PIECE):
                yield content[start : start + _PIECE]
        self._on_sent()


class _Connector(aiohttp.TCPConnector):
    """Connects in time; never reuses a connection that is closed or brought more than asked for."""

    def __init__(self, patience: float) -> None:
        # No limit: there are as many connections as calls.
        resolver = aiohttp.ThreadedResolver()
        super().__init__(limit=0, keepalive_timeout=KEEP_ALIVE, resolver=resolver)
        self._patience = patience
        self._handed_out: WeakSet[ResponseHandler] = WeakSet()

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109  # aiohttp's own
    ) -> Connection:
        """Return a connection; raises TimeoutError and aiohttp.ClientError."""
        async with asyncio.timeout(self._patience):
            connection = await super().connect(req, traces, timeout)
            while connection.protocol in self._handed_out and _has_input(connection):
                connection.close()
                connection = await super().connect(req, traces, timeout)
        if connection.protocol is not None:
            self._handed_out.add(connection.protocol)
        exchange = _exchange.get()
        exchange.connected, exchange.transport = True, connection.transport
        return connection


def _has_input(connection: Connection) -> bool:
    """Return whether an idle connection has bytes or its end to read."""
    protocol, transport = connection.protocol, connection.transport
    if protocol is None or transport is None or protocol.should_close:
        return True
    poll = select.poll()
    poll.register(transport.get_extra_info("socket"), select.POLLIN)
    return bool(poll.poll(0))


class AiohttpTransport(httpx2.AsyncBaseTransport):
    """Sends requests by aiohttp: directly, by HTTP/1.1, without cookies or redirects."""

    def __init__(
        self,
        *,
        connect_timeout: float,
        first_byte: float | None,
        make_ssl_context: Callable[[], ssl.SSLContext],
    ) -> None:
        """Allow seconds for connecting, and from the sent request to the first byte."""
        self._connect_timeout = connect_timeout
        self._first_byte = first_byte
        self._ssl_context = cache(make_ssl_context)
        self._session: aiohttp.ClientSession | None = None

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send one request and return the answer with its body, unpacked.

        Raises:
            BodyTooLong: there is more of the body than is taken.
            httpx2.TransportError: as `BoundedAsyncClient.send`.
        """
        with _mapped_errors():
            response = await self._request(request)
            try:
                check_packing(",".join(response.headers.getall("content-encoding", ())))
                body = await _read(response.content)
            except BaseException:
                if response.connection is not None:  # else another call may have it already
                    _exchange.get().abort()
                raise
            finally:
                response.close()
        return with_body(response.status, response.raw_headers, body, request)

    async def _request(self, request: httpx2.Request) -> aiohttp.ClientResponse:
        try:
            response = await self._open().request(
                request.method,
                str(request.url),
                headers=[(name.decode(), value.decode()) for name, value in request.headers.raw],
                data=_payload(request),
                allow_redirects=False,
                ssl=self._ssl_context() if request.url.scheme == "https" else True,
            )
        except BaseException:
            _exchange.get().abort()
            raise
        if self._first_byte is not None:
            _stop_waiting_for_first_byte(response)
        return response

    def _open(self) -> aiohttp.ClientSession:
        """Return the session, which belongs to the event loop of the first call."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=_Connector(self._connect_timeout),
                cookie_jar=aiohttp.DummyCookieJar(),
                skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
                timeout=aiohttp.ClientTimeout(
                    total=None, sock_connect=None, sock_read=self._first_byte
                ),
                max_line_size=_LONGEST_HEADER,
                max_field_size=_LONGEST_HEADER,
                max_headers=_MOST_HEADERS,
            )
        return self._session

    async def aclose(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()


def _payload(request: httpx2.Request) -> AsyncIterablePayload | bytes:
    body = request.stream
    return AsyncIterablePayload(body) if isinstance(body, OutgoingBody) else request.content


def _stop_waiting_for_first_byte(response: aiohttp.ClientResponse) -> None:
    connection = response.connection
    if connection is not None and connection.protocol is not None:
        connection.protocol.read_timeout = None
        connection.protocol.start_timeout()  # stops the one that runs


async def _read(stream: aiohttp.StreamReader) -> bytes:
    pieces, size = [], 0
    while piece := await stream.readany():
        size += len(piece)
        if max(size, stream.total_raw_bytes) > LONGEST_BODY:
            raise BodyTooLong("the body does not end")
        pieces.append(piece)
    return b"".join(pieces)


@contextmanager
def _mapped_errors() -> Iterator[None]:
    """Raise errors as httpx2's, by whether there was a connection to send by."""
    try:
        yield
    except TimeoutError as error:
        raise _too_late() from error
    except (aiohttp.ClientError, HttpProcessingError, OSError) as error:
        message = f"{type(error).__name__}: {error}"
        if _exchange.get().connected:
            raise httpx2.ReadError(message) from error
        raise httpx2.ConnectError(message) from error


def _too_late() -> httpx2.TimeoutException:
    if _exchange.get().connected:
        return httpx2.ReadTimeout("the answer took too long")
    return httpx2.ConnectTimeout("no connection in time")


def _ssl_context(
    verify: ssl.SSLContext | str | bool, cert: CertTypes | None, *, trust_env: bool
) -> ssl.SSLContext:
    if verify is True and cert is None:
        return shared_ssl_context(trust_env=trust_env)
    return httpx2.create_ssl_context(verify, cert, trust_env)


class BoundedAsyncClient(httpx2.AsyncClient):
    """An HTTP client whose calls end in time, and whose answers fit into memory.

    The time of a call runs from its start. A proxy of the environment is reached by httpx2's own
    transport, which knows all kinds of them.
    """

    def __init__(
        self,
        *,
        total: float,
        connect_timeout: float,
        first_byte: float | None = None,
        **options: Any,  # noqa: ANN401  # what httpx2.AsyncClient takes
    ) -> None:
        """Bound calls to `total` seconds, of them `connect_timeout` to connect.

        `first_byte`: seconds from the sent request to the first byte of the answer.
        """
        self._total = total
        self._first_byte = first_byte
        self._connect_timeout = connect_timeout
        timeout = httpx2.Timeout(total, connect=connect_timeout, pool=connect_timeout)
        # What both transports can unpack; more depends on what happens to be installed.
        headers = {"Accept-Encoding": "gzip, deflate"}
        super().__init__(timeout=timeout, headers=headers, follow_redirects=False, **options)
        for transport in self._mounts.values():
            if isinstance(transport, httpx2.AsyncHTTPTransport):
                close_if_bytes_are_left(transport._pool)  # noqa: SLF001  # no public way in (httpx2 2.16)

    def _init_transport(
        self,
        verify: ssl.SSLContext | str | bool = True,
        cert: CertTypes | None = None,
        trust_env: bool = True,
        *_: object,
        transport: httpx2.AsyncBaseTransport | None = None,
        **_options: object,
    ) -> httpx2.AsyncBaseTransport:
        return transport or AiohttpTransport(
            connect_timeout=self._connect_timeout,
            first_byte=self._first_byte,
            make_ssl_context=partial(_ssl_context, verify, cert, trust_env=trust_env),
        )

    async def send(self, request: httpx2.Request, **_options: object) -> httpx2.Response:
        """Send the request and return the answer with its body, unpacked.

        A request whose own timeout is longer than the client's may take that long.

        Raises:
            httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.ProxyError: nothing was sent.
            httpx2.TransportError, httpx2.DecodingError: no whole answer came.
        """
        transport, exchange = self._transport_for_url(request.url), _Exchange()
        total = max(self._total, request.extensions.get("timeout", {}).get("read") or 0)
        if transport is not self._transport:
            self._follow(request, exchange, total)
        token = _exchange.set(exchange)
        try:
            async with asyncio.timeout(total):
                response = await transport.handle_async_request(request)
                if response.is_closed:
                    return response
                try:
                    body = await read(response, LONGEST_BODY)
                finally:
                    await response.aclose()
        except TimeoutError as error:
            raise _too_late() from error
        finally:
            _exchange.reset(token)
        return with_body(response.status_code, response.headers.raw, body, request)

    def _follow(self, request: httpx2.Request, exchange: _Exchange, total: float) -> None:
        """Note that httpx2's transport has a connection, and apply the time of the first byte."""
        timeouts = request.extensions["timeout"]
        timeouts["connect"] = timeouts["pool"] = self._connect_timeout

        async def trace(event: str, _details: object) -> None:
            # The transport looks its timeouts up at the start of each phase, after telling so.
            if event.endswith("send_request_headers.started"):
                exchange.connected = True
            is_head = event.endswith("receive_response_headers.started")
            timeouts["read"] = self._first_byte if is_head and self._first_byte else total

        request.extensions["trace"] = trace
