"""The clients of threads and of the event loop report every behaviour of a server alike."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import ssl
import struct
import time
import zlib
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from pydantic import SecretStr

from tests.integration.test_connections import answer_of, request_of, serving
from tests.integration.test_provider_http import provider, read_request
from tests.support.certificates import make_certificate
from tests.support.provider_clients import in_a_loop, in_threads
from visionq import errors
from visionq.settings import Settings
from worker.decision import billing_of
from worker.provider.aiohttp_transport import BoundedAsyncClient
from worker.provider.provider_client import ask, make_async_client

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.integration.test_provider_http import Handler
    from tests.support.provider_clients import Asking
    from worker.provider.reply import Reply

BODY = answer_of(1).partition(b"\r\n\r\n")[2]
REFUSAL = json.dumps({"error": {"code": "x", "message": "no", "type": "y"}}).encode()


def raw(status: str, body: bytes = b"", *headers: str, length: int | None = None) -> bytes:
    head = [f"HTTP/1.1 {status}", *headers]
    if not any(header.lower().startswith("transfer-encoding") for header in headers):
        head.append(f"Content-Length: {len(body) if length is None else length}")
    return "\r\n".join([*head, "", ""]).encode("latin-1") + body


def chunked(*pieces: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return raw("200 OK", body + end, "Transfer-Encoding: chunked")


def deflated(body: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(body) + packer.flush()


LIMITS = (
    "x-ratelimit-limit-requests: 500",
    "X-RateLimit-Remaining-Requests: 0",
    "x-ratelimit-reset-requests: 1m3s",
    "x-request-id: req_1",
)
REPLIES = {
    "answer": raw("200 OK", BODY, *LIMITS),
    "created": raw("201 Created", BODY),
    "odd success": raw("299 ?", BODY),
    "no content": raw("204 No Content"),
    "not modified": raw("304 Not Modified"),
    "interim responses": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n"
    + raw("200 OK", BODY),
    "gzip by two headers": raw(
        "200 OK",
        gzip.compress(gzip.compress(BODY)),
        "Content-Encoding: gzip",
        "Content-Encoding: gzip",
    ),
    "switched protocols": raw("101 Switching Protocols", b"", "Connection: upgrade", "Upgrade: x"),
    **{
        f"{status}": raw(f"{status} No", REFUSAL, *LIMITS, "Retry-After: 7")
        for status in (
            400,
            401,
            402,
            403,
            404,
            408,
            409,
            413,
            422,
            425,
            429,
            500,
            501,
            502,
            503,
            504,
            520,
            529,
        )
    },
    "moved": raw("308 Moved", b"", "Location: /elsewhere"),
    "429 in ms": raw("429 No", REFUSAL, "retry-after-ms: 1500"),
    "429 by a date": raw(
        "429 No",
        REFUSAL,
        "Retry-After: Mon, 30 Nov 2026 00:00:09 GMT",
        "Date: Mon, 30 Nov 2026 00:00:00 GMT",
    ),
    "429 absurd": raw("429 No", REFUSAL, "Retry-After: 1e400"),
    "two of a header": raw("429 No", REFUSAL, "Retry-After: 3", "Retry-After: 9"),
    "detail": raw("402 Payment Required", b'{"detail": "Insufficient balance"}'),
    "page": raw("502 Bad Gateway", b"<html><title>Down</title></html>", "Content-Type: text/html"),
    "bad JSON": raw("200 OK", BODY[:-9]),
    "not UTF-8": raw("200 OK", b"\xff\xfe" + BODY),
    "empty": raw("200 OK"),
    "no length": b"HTTP/1.1 200 OK\r\n\r\n" + BODY,
    "HTTP/1.0": b"HTTP/1.0 200 OK\r\n\r\n" + BODY,
    "chunked": chunked(BODY[:9], BODY[9:]),
    "chunk cut": chunked(BODY[:9], end=b"ff\r\nabc"),
    "chunk without end": chunked(BODY, end=b""),
    "chunk garbage": chunked(BODY, end=b"zz\r\n"),
    "cut body": raw("200 OK", BODY, length=len(BODY) + 1),
    "cut refusal": raw("402 No", REFUSAL, length=len(REFUSAL) + 1),
    "cut head": b"HTTP/1.1 200 OK\r\nContent-Le",
    "garbage": b"SSH-2.0-OpenSSH_9.9\r\n",
    "nothing": b"",
    "bad length": b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n" + BODY,
    "gzip": raw("200 OK", gzip.compress(BODY), "Content-Encoding: gzip"),
    "deflate": raw("200 OK", zlib.compress(BODY), "Content-Encoding: deflate"),
    "raw deflate": raw("200 OK", deflated(BODY), "Content-Encoding: deflate"),
    "identity": raw("200 OK", BODY, "Content-Encoding: identity"),
    "bad gzip": raw("200 OK", b"zzzz", "Content-Encoding: gzip"),
    "cut gzip": raw("200 OK", gzip.compress(BODY)[:-12], "Content-Encoding: gzip"),
    "gzip twice": raw("200 OK", gzip.compress(gzip.compress(BODY)), "Content-Encoding: gzip, gzip"),
    "huge": raw("200 OK", b" " * 17_000_000 + BODY),
    "large": raw("200 OK", b" " * 15_000_000 + BODY),
    "long header": raw("200 OK", BODY, "X-Long: " + "x" * 30_000),
    "many headers": raw("200 OK", BODY, *(f"X-{n}: {n}" for n in range(200))),
    "header beyond ASCII": raw(
        "200 OK", BODY, "X-Name: кот".encode().decode("latin-1"), "x-request-id: req_é"
    ),
    "folded header": raw("200 OK", BODY, "X-Folded: a\r\n b"),
    "cookie": raw("200 OK", BODY, "Set-Cookie: a=b; Max-Age=1e9"),
}


CLIENTS = (in_threads, in_a_loop)
PATH = "/openai/v1"


@pytest.fixture(autouse=True)
def _direct(monkeypatch: pytest.MonkeyPatch) -> None:
    """Go past any proxy of this machine."""
    for scheme in ("http", "https", "all"):
        monkeypatch.delenv(f"{scheme}_proxy", raising=False)
        monkeypatch.delenv(f"{scheme}_proxy".upper(), raising=False)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Make a certificate and its key, which nobody trusts."""
    folder = tmp_path_factory.mktemp("tls")
    made = folder / "certificate.pem", folder / "key.pem"
    make_certificate(*made)
    return made


def outcome(asking: Asking, address: str, size: int = 100, **times: float) -> dict[str, object]:
    """Return all that the pipeline and the money see of one call."""
    replies: list[Reply] = []
    options: dict[str, Any] = {"request_timeout": 5, **times}
    base_url = f"{address.removesuffix(PATH)}{PATH}"
    settings = Settings(api_key=SecretStr("k"), base_url=base_url, **options)
    request = replace(request_of(1), body=b" " * size)
    seen: dict[str, object] = {}
    with asking(settings) as ask:
        try:
            answer = ask(request, clock=lambda: 0.0, on_reply=replies.append)
        except errors.VisionqError as error:
            seen |= {
                "error": type(error),
                "billing": billing_of(error),
                "retry after": error.retry_after,
                "usage": error.usage,
                "request id": error.request_id,
            }
            if replies:  # the text of a broken connection is that of the library
                seen["message"] = error.message
        else:
            seen["answer"] = answer
    seen["replies"] = [(reply.status, reply.body, {**reply.headers}) for reply in replies]
    return seen


@pytest.mark.parametrize("name", REPLIES)
def test_replies(name: str) -> None:
    """Both clients make the same of any bytes that a server answers with."""

    def serve(connection: socket.socket, _: int) -> None:
        connection.sendall(REPLIES[name])
        connection.shutdown(socket.SHUT_WR)

    with serving(serve) as address:
        threads, loop = outcome(in_threads, address), outcome(in_a_loop, address)
    if name == "switched protocols":  # which only one of them takes for a reply
        threads, loop = ({**seen, "replies": [], "message": ""} for seen in (threads, loop))
    assert loop == threads


def silent(connection: socket.socket) -> None:
    connection.recv(1 << 20)
    connection.recv(1)  # until the client goes


def closing_at_once(_: socket.socket) -> None:
    pass


def resetting(read: int) -> Callable[[socket.socket], None]:
    def handle(connection: socket.socket) -> None:
        connection.recv(read or 1, 0 if read else socket.MSG_PEEK)  # the connection is made
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    return handle


def talking_first(connection: socket.socket) -> None:
    connection.sendall(raw("408 Request Timeout", b"", "Connection: close"))
    with suppress(OSError):  # the client gave up
        while connection.recv(1 << 20):
            pass  # unread bytes would reset the connection, and with it the reply


def refusing_unread(connection: socket.socket) -> None:
    connection.recv(1000)
    connection.sendall(raw("413 Payload Too Large", REFUSAL, "Connection: close"))
    time.sleep(0.1)


def dripping_body(connection: socket.socket) -> None:
    connection.recv(1 << 20)
    drip(connection, raw("200 OK", length=100_000))


def dripping_head(connection: socket.socket) -> None:
    connection.recv(1 << 20)
    drip(connection, b"HTTP/1.1 200 OK\r\nX-Slow: ")


def drip(connection: socket.socket, start: bytes) -> None:
    connection.sendall(start)
    with suppress(OSError):  # the client gave up
        while True:
            connection.sendall(b" ")
            time.sleep(0.02)


def reading_slowly(connection: socket.socket) -> None:
    end = time.monotonic() + 2  # longer than the client waits; the rest is in buffers
    with suppress(OSError):  # the client gave up
        while time.monotonic() < end and connection.recv(4096):
            time.sleep(0.02)


LINES = {
    "silent": silent,
    "closing at once": closing_at_once,
    "reset unread": resetting(0),
    "reset in the head": resetting(20),
    "reset in the body": resetting(30_000),
    "talking first": talking_first,
    "refusing unread": refusing_unread,
    "dripping body": dripping_body,
    "dripping head": dripping_head,
    "reading slowly": reading_slowly,
}


@pytest.mark.parametrize("size", [100, 30_000_000], ids=["small", "large"])
@pytest.mark.parametrize("name", LINES)
def test_lines(name: str, size: int) -> None:
    """However a server treats the connection, both clients tell the same of billing, in time."""
    with provider(LINES[name]) as address:
        started = time.monotonic()
        seen = [outcome(asking, address, size, request_timeout=0.6) for asking in CLIENTS]
        assert time.monotonic() - started < 3.5
    assert seen[0] == seen[1]


def over_tls(address: str) -> str:
    return address.replace("http:", "https:")


def test_what_is_never_sent() -> None:
    """Nobody there, no such name, no TLS, the wrong certificate: nothing was paid, in both."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        nobody = f"http://127.0.0.1:{server.getsockname()[1]}"
    for address in (nobody, "http://name.invalid", "https://name.invalid"):
        assert never_sent(address)
    for handle in (silent, closing_at_once, resetting(20), talking_first):
        with provider(handle) as address:
            assert never_sent(over_tls(address))


def never_sent(address: str) -> bool:
    seen = [outcome(asking, address, connect_timeout=0.3) for asking in CLIENTS]
    return seen[0] == seen[1] and seen[0]["error"] is errors.ProviderUnavailable


def speaking_tls(certificate: tuple[Path, Path], heard: list[bytes]) -> Handler:
    """Answer each request of a connection under TLS."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificate)

    def handle(connection: socket.socket) -> None:
        with suppress(OSError), context.wrap_socket(connection, server_side=True) as secure:
            while request := secure.recv(1 << 16):
                heard.append(request)
                secure.sendall(raw("200 OK", BODY))

    return handle


def test_a_certificate_of_nobody(certificate: tuple[Path, Path]) -> None:
    """A provider whose certificate nobody signed hears nothing of the request."""
    heard: list[bytes] = []
    with provider(speaking_tls(certificate, heard)) as address:
        assert never_sent(over_tls(address))
    assert not heard


def test_calls_over_tls(certificate: tuple[Path, Path]) -> None:
    """Calls over TLS share a connection, although a handshake leaves tickets to be read."""
    context = httpx2.create_ssl_context(verify=ssl.create_default_context(cafile=certificate[0]))
    heard: list[bytes] = []
    connections = []
    serve = speaking_tls(certificate, heard)

    def handle(connection: socket.socket) -> None:
        connections.append(connection)
        serve(connection)

    async def ask_twice(address: str) -> list[str]:
        settings = Settings(api_key=SecretStr("k"), base_url=over_tls(address))
        http = BoundedAsyncClient(total=5, connect_timeout=5, verify=context)
        async with make_async_client(settings, http) as client:
            return [(await ask(client, request_of(n))).text for n in range(3)]

    with provider(handle) as address:
        assert asyncio.run(ask_twice(address)) == ["own 1"] * 3
    assert len(connections) == 1


def test_time_that_ends_before_the_connection() -> None:
    """A call whose whole time passes without a connection is free, whichever limit ends it."""
    with provider(silent) as address:
        for connect in (0.2, 5):
            seen = [
                outcome(asking, over_tls(address), connect_timeout=connect, request_timeout=0.3)
                for asking in CLIENTS
            ]
            assert seen[0] == seen[1]
            assert seen[0]["error"] is errors.ProviderUnavailable


def test_a_connection_closed_between_two_calls() -> None:
    """A connection that ended, or brought a farewell, while idle is not used: the call is whole."""

    def handle(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(raw("200 OK", BODY))
        time.sleep(0.05)
        connection.sendall(raw("408 Request Timeout", b"", "Connection: close"))

    with provider(handle) as address:
        for asking in CLIENTS:
            with asking(Settings(api_key=None, base_url=address)) as ask:
                for _ in range(3):
                    assert ask(request_of(1)).text == "own 1"
                    time.sleep(0.1)


def test_a_connection_closed_under_a_call() -> None:
    """A connection that ends as the next request comes may have been billed."""

    def handle(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(raw("200 OK", BODY))
        connection.recv(1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    for asking in CLIENTS:
        with provider(handle) as address, asking(Settings(api_key=None, base_url=address)) as ask:
            assert ask(request_of(1)).text == "own 1"
            with pytest.raises(errors.BillingUnknown):
                ask(request_of(2))


def test_a_whole_answer_gives_its_connection_to_other_calls() -> None:
    """A whole answer that can't be read breaks no connection: another call may be using it."""
    connections: set[socket.socket] = set()

    def serve(connection: socket.socket, number: int) -> None:
        connections.add(connection)
        connection.sendall(REPLIES["gzip twice" if number == 1 else "answer"])

    with (
        serving(serve) as address,
        in_a_loop(Settings(api_key=None, base_url=f"{address}{PATH}")) as ask_once,
    ):
        with pytest.raises(errors.BillingUnknown, match="packed more than once"):
            ask_once(request_of(1))
        assert ask_once(request_of(2)).text == "own 1"
    assert len(connections) == 1
