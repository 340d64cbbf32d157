"""The call over real sockets: hangs, resets, cuts, and what never left."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import threading
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.support.provider_clients import BOTH
from visionq import errors
from visionq.contract import Api, Usage
from visionq.settings import Settings
from worker.provider.aiohttp_transport import OutgoingBody
from worker.provider.provider_client import ask, make_async_client
from worker.provider.request import PATHS, ProviderRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.provider_clients import Asking
    from worker.provider.answer import ProviderAnswer

    Handler = Callable[[socket.socket], None]
    Call = Callable[..., ProviderAnswer]

ANSWER = json.dumps(
    {
        "status": "completed",
        "output": [{"content": [{"type": "output_text", "text": "Рыжий кот."}]}],
        "usage": {"input_tokens": 90, "output_tokens": 6},
    },
    ensure_ascii=False,
).encode()
REQUEST = ProviderRequest(Api.RESPONSES, PATHS[Api.RESPONSES], b'{"a": 1}' * 1000, ("a.jpg",))

SIZE = 30_000_000


def response(body: bytes, length: int | None = None, status: str = "200 OK") -> bytes:
    length = len(body) if length is None else length
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    )
    return head.encode() + body


def read_request(connection: socket.socket) -> bytes:
    """Return the body of one request; empty when the client has gone."""
    with connection.makefile("rb") as stream:
        length = 0
        for line in iter(stream.readline, b"\r\n"):
            if not line:
                return b""
            name, _, value = line.partition(b":")
            length = int(value) if name.lower() == b"content-length" else length
        return stream.read(length)


@contextmanager
def provider(handle: Handler) -> Iterator[str]:
    """Serve each connection of a free port by `handle`; gives the address."""
    with (
        socket.create_server(("127.0.0.1", 0), backlog=256) as server,
        ThreadPoolExecutor(max_workers=160) as pool,
    ):
        accepting = threading.Thread(target=accept, args=(server, pool, handle), daemon=True)
        accepting.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/openai/v1"
        server.shutdown(socket.SHUT_RDWR)
        accepting.join(5)


def accept(server: socket.socket, pool: ThreadPoolExecutor, handle: Handler) -> None:
    while True:
        try:
            connection, _ = server.accept()
        except OSError:
            return  # the test is over
        pool.submit(serve, connection, handle)


def serve(connection: socket.socket, handle: Handler) -> None:
    with connection:
        handle(connection)


def answering(data: bytes) -> Handler:
    def handle(connection: socket.socket) -> None:
        if read_request(connection):
            connection.sendall(data)

    return handle


def resetting(data: bytes) -> Handler:
    def handle(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(data)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    return handle


def hanging(data: bytes) -> Handler:
    def handle(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(data)
        connection.recv(1)  # until the client goes

    return handle


def dripping(connection: socket.socket) -> None:
    read_request(connection)
    connection.sendall(response(b"", length=100_000))
    try:
        while True:
            connection.sendall(b" ")
            time.sleep(0.02)
    except OSError:
        return  # the client gave up


def dripping_head(connection: socket.socket) -> None:
    read_request(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    try:
        while True:
            connection.sendall(b"x")
            time.sleep(0.02)
    except OSError:
        return  # the client gave up


def slow_reader(connection: socket.socket) -> None:
    with suppress(OSError):  # the client gave up
        while connection.recv(65_536):
            time.sleep(0.02)


@pytest.fixture(params=BOTH)
def asking(request: pytest.FixtureRequest) -> Asking:
    """Open a client by settings; gives the function that makes one call."""
    opened: Asking = request.param
    return opened


@pytest.fixture
def call(asking: Asking) -> Call:
    """Make one call by a client of its own."""

    def make_call(
        address: str,
        request: ProviderRequest = REQUEST,
        *,
        connect: float = 2,
        first_byte: float | None = None,
        total: float = 5,
    ) -> ProviderAnswer:
        settings = Settings(
            api_key=None,
            base_url=address,
            connect_timeout=connect,
            first_byte_timeout=first_byte,
            request_timeout=total,
        )
        with asking(settings) as ask_once:
            return ask_once(request)

    return make_call


def test_a_call_and_its_answer(call: Call) -> None:
    """A whole call over a socket: the body goes out, the answer comes in."""
    bodies: list[bytes] = []

    def handle(connection: socket.socket) -> None:
        bodies.append(read_request(connection))
        connection.sendall(response(ANSWER))

    with provider(handle) as address:
        answer = call(address)
    assert answer.text == "Рыжий кот."
    assert answer.usage == Usage(input_tokens=90, output_tokens=6)
    assert bodies == [REQUEST.body]


@pytest.mark.parametrize(
    "handle",
    [
        hanging(b""),
        hanging(response(ANSWER[:50], length=len(ANSWER))),
        hanging(b"HTTP/1.1 200 OK\r\n"),
        dripping,
        dripping_head,
    ],
    ids=["nothing", "half a body", "half a head", "drip", "dripping head"],
)
def test_a_hang_ends_in_time_with_unknown_billing(call: Call, handle: Handler) -> None:
    """However the provider stalls after the request was sent, the call ends, perhaps paid."""
    with provider(handle) as address:
        started = time.monotonic()
        with pytest.raises(errors.BillingUnknown):
            call(address, total=0.5)
        assert time.monotonic() - started < 1.5


def test_a_provider_that_reads_slowly_ends_in_time(call: Call) -> None:
    """A request that never quite leaves is given up like an answer that never quite comes."""
    with provider(slow_reader) as address:
        started = time.monotonic()
        with pytest.raises(errors.BillingUnknown):
            call(address, replace(REQUEST, body=b" " * 100_000_000), total=0.7)
        assert time.monotonic() - started < 5


def test_the_first_byte_has_a_time_of_its_own(call: Call) -> None:
    """Silence after the request ends the call early, perhaps paid; an answer that began goes on."""

    def slow_body(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(response(ANSWER[:50], length=len(ANSWER)))
        time.sleep(0.7)
        connection.sendall(ANSWER[50:])

    with provider(hanging(b"")) as address:
        started = time.monotonic()
        with pytest.raises(errors.BillingUnknown, match="ReadTimeout"):
            call(address, first_byte=0.3, total=5)
        assert time.monotonic() - started < 1.5
    with provider(slow_body) as address:
        assert call(address, first_byte=0.3, total=5).text == "Рыжий кот."


def late_body(connection: socket.socket) -> None:
    read_request(connection)
    time.sleep(0.8)
    connection.sendall(response(ANSWER[:50], length=len(ANSWER)))
    connection.recv(1)  # until the client goes


def late_head(connection: socket.socket) -> None:
    time.sleep(0.8)  # the request does not fit into the buffers of the sockets
    read_request(connection)
    connection.recv(1)


@pytest.mark.parametrize("handle", [late_head, late_body])
def test_the_clock_runs_from_the_start_of_the_call(call: Call, handle: Handler) -> None:
    """Time that one phase of a call took is missing for the next."""
    request = replace(REQUEST, body=b" " * 30_000_000)
    with provider(handle) as address:
        started = time.monotonic()
        with pytest.raises(errors.BillingUnknown):
            call(address, request, total=1)
        assert time.monotonic() - started < 1.7


@pytest.mark.parametrize(
    "handle",
    [
        answering(b""),
        answering(response(ANSWER[:50], length=len(ANSWER))),
        answering(b"HTTP/1.1 200 OK\r\nContent-"),
        answering(b"no HTTP at all\r\n\r\n"),
        answering(response(b'{"detail": "Insuf', length=40, status="402 Payment Required")),
        answering(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nzzzz"),
        resetting(b""),
        resetting(response(ANSWER[:50], length=len(ANSWER))),
    ],
    ids=["close", "cut body", "cut head", "garbage", "cut refusal", "bad gzip", "reset", "reset 2"],
)
def test_a_cut_after_the_request_is_unknown_billing(call: Call, handle: Handler) -> None:
    """A connection that breaks once the request has left may have been billed."""
    with provider(handle) as address, pytest.raises(errors.BillingUnknown):
        call(address)


def test_a_whole_body_that_is_half_json_is_unknown_billing(call: Call) -> None:
    """A body that is complete by its length and broken by its content may have been billed."""
    with (
        provider(answering(response(ANSWER[:-20]))) as address,
        pytest.raises(errors.BillingUnknown),
    ):
        call(address)


def test_a_redirect_is_not_followed(call: Call) -> None:
    """The request, key and pictures go to no other address."""
    calls: list[bytes] = []

    def handle(connection: socket.socket) -> None:
        calls.append(read_request(connection))
        connection.sendall(
            b"HTTP/1.1 307 Moved\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n"
        )

    with provider(handle) as address, pytest.raises(errors.BillingUnknown):
        call(address)
    assert len(calls) == 1


def test_nobody_listens_and_nothing_is_paid(call: Call) -> None:
    """A refused connection is free."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(errors.ProviderUnavailable):
        call(f"http://127.0.0.1:{port}/openai/v1")


def test_no_such_name_and_nothing_is_paid(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that does not resolve is free."""

    def fail(*_args: object, **_options: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(errors.ProviderUnavailable):
        call("http://localhost:8/openai/v1")


def test_a_failed_handshake_and_nothing_is_paid(call: Call) -> None:
    """A server that does not speak TLS has not seen the request."""

    def handle(connection: socket.socket) -> None:
        connection.recv(1024)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with provider(handle) as address, pytest.raises(errors.ProviderUnavailable):
        call(address.replace("http:", "https:"))


def test_a_stalled_handshake_and_nothing_is_paid(call: Call) -> None:
    """A connection that is not made in time is free."""

    def handle(connection: socket.socket) -> None:
        connection.recv(1 << 16)
        connection.recv(1)  # until the client goes

    with provider(handle) as address:
        started = time.monotonic()
        with pytest.raises(errors.ProviderUnavailable):
            call(address.replace("http:", "https:"), connect=0.3)
        assert time.monotonic() - started < 2


def test_150_tasks_share_one_client() -> None:
    """As many calls as a process has are under way at once."""
    together = threading.Barrier(150, timeout=30)

    def handle(connection: socket.socket) -> None:
        read_request(connection)
        together.wait()
        connection.sendall(response(ANSWER))

    async def ask_all(address: str) -> list[ProviderAnswer]:
        settings = Settings(api_key=None, base_url=address, request_timeout=30)
        async with make_async_client(settings) as client:
            return await asyncio.gather(*(ask(client, REQUEST) for _ in range(150)))

    with provider(handle) as address:
        answers = asyncio.run(ask_all(address))
    assert {answer.text for answer in answers} == {"Рыжий кот."}


def test_a_body_is_let_go_once_it_is_sent() -> None:
    """A call that waits for its answer keeps none of its 30 MB, however many wait."""
    sent, waiting = threading.Event(), []

    def handle(connection: socket.socket) -> None:
        with connection.makefile("rb") as stream:
            for _ in iter(stream.readline, b"\r\n"):
                pass
            for _ in range(SIZE // 100_000):
                stream.read(100_000)
        sent.wait(5)
        waiting.append(tracemalloc.get_traced_memory()[0])
        connection.sendall(response(ANSWER))

    async def ask_once(address: str) -> ProviderAnswer:
        settings = Settings(api_key=None, base_url=address, request_timeout=30)
        body = OutgoingBody(b"x" * SIZE, sent.set)
        async with make_async_client(settings) as client:
            return await ask(client, replace(REQUEST, body=b""), body=body)

    tracemalloc.start()
    try:
        with provider(handle) as address:
            assert asyncio.run(ask_once(address)).text == "Рыжий кот."
    finally:
        tracemalloc.stop()
    assert waiting[0] < SIZE / 10


def test_connections_are_used_again(asking: Asking) -> None:
    """Calls one after another share a connection."""
    connections: list[socket.socket] = []

    def handle(connection: socket.socket) -> None:
        connections.append(connection)
        while read_request(connection):
            connection.sendall(response(ANSWER))

    with provider(handle) as address, asking(Settings(api_key=None, base_url=address)) as ask_once:
        for _ in range(5):
            ask_once(REQUEST)
    assert len(connections) == 1


def test_a_connection_that_the_server_closed_is_not_used_again(asking: Asking) -> None:
    """A call is not lost to a connection that went stale between two calls."""
    with (
        provider(answering(response(ANSWER))) as address,
        asking(Settings(api_key=None, base_url=address)) as ask_once,
    ):
        for _ in range(3):
            assert ask_once(REQUEST).text == "Рыжий кот."
            time.sleep(0.05)
