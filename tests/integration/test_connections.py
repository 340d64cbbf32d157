"""Servers that send more than they were asked for: nobody gets the answer of another."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
import tracemalloc
import zlib
from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING

import pytest

from tests.support.provider_clients import BOTH
from visionq.contract import Api
from visionq.errors import BillingUnknown
from visionq.settings import Settings
from worker.fetch import Fetcher, FetchPolicy
from worker.provider.provider_client import ask, make_async_client
from worker.provider.request import PATHS, ProviderRequest
from worker.threads.maintenance.alerts import Alert, AlertSender

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from io import BufferedReader

    from tests.support.provider_clients import Asking

    Serve = Callable[[socket.socket, int], None]

TIMES = 5
HUGE = 700_000_000


def answer_of(number: int, status: str = "200 OK", name: str = "own") -> bytes:
    """Return a whole response of OpenAI's form; a picture server's would do as well."""
    output = [{"content": [{"type": "output_text", "text": f"{name} {number}"}]}]
    usage = {"input_tokens": 90, "output_tokens": 6}
    body = json.dumps({"status": "completed", "output": output, "usage": usage}).encode()
    return b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n" % (status.encode(), len(body)) + body


def at_once(connection: socket.socket, number: int) -> None:
    """Send a second response in the packet of the first."""
    connection.sendall(answer_of(number) + answer_of(number, name="foreign"))


def late(connection: socket.socket, number: int) -> None:
    """Send a second response when the first has been read, before the next request."""
    connection.sendall(answer_of(number))
    time.sleep(0.05)
    connection.sendall(answer_of(number, name="foreign"))


def in_part(connection: socket.socket, number: int) -> None:
    """Send the beginning of a second response in the packet of the first."""
    connection.sendall(answer_of(number) + answer_of(number, name="foreign")[:30])


def informing(connection: socket.socket, number: int) -> None:
    """Send a word about nothing behind the answer."""
    connection.sendall(answer_of(number) + b"HTTP/1.1 103 Early Hints\r\n\r\n")


def refusing(connection: socket.socket, number: int) -> None:
    """Refuse, and say in the same packet that all is well."""
    refusal = answer_of(number, "500 Internal Server Error")
    connection.sendall(refusal + answer_of(number, name="foreign"))


TOO_MUCH = pytest.mark.parametrize("serve", [at_once, late, in_part, informing])


@contextmanager
def serving(serve: Serve, served: threading.Semaphore | None = None) -> Iterator[str]:
    """Answer the n-th request, on any connection, by `serve(connection, n)`; then say so."""
    numbers, served = count(1), served or threading.Semaphore(0)

    def handle(connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as stream:
            try:
                while length_of_body := [*read_head(stream)]:
                    stream.read(int(length_of_body[-1]))
                    serve(connection, next(numbers))
                    served.release()
            except OSError:
                return  # the client closed it, as it should

    def accept(server: socket.socket) -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return  # the test is over
            threading.Thread(target=handle, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as server:
        accepting = threading.Thread(target=accept, args=(server,), daemon=True)
        accepting.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        accepting.join(5)


def read_head(stream: BufferedReader) -> Iterator[bytes]:
    """Yield `0`, then what the head says of the body's length; nothing at the end."""
    for line in stream:
        if line == b"\r\n":
            return
        name, _, value = line.partition(b":")
        yield value if name.lower() == b"content-length" else b"0"


def request_of(number: int) -> ProviderRequest:
    body = json.dumps({"question": number}).encode()
    return ProviderRequest(Api.RESPONSES, PATHS[Api.RESPONSES], body, ("a.jpg",))


@pytest.mark.parametrize("asking", BOTH)
@TOO_MUCH
def test_each_call_gets_its_own_answer(serve: Serve, asking: Asking) -> None:
    """Bytes behind an answer of the provider are not the answer to the next call."""
    served = threading.Semaphore(0)
    with serving(serve, served) as address:
        settings = Settings(api_key=None, base_url=f"{address}/openai/v1")
        with asking(settings) as ask:
            for number in range(1, TIMES + 1):
                assert ask(request_of(number)).text == f"own {number}"
                assert served.acquire(timeout=10)


@TOO_MUCH
def test_each_task_gets_its_own_answer(serve: Serve) -> None:
    """The same holds where the loop has read those bytes before the next call."""
    served = threading.Semaphore(0)

    async def ask_in_turn(address: str) -> None:
        settings = Settings(api_key=None, base_url=f"{address}/openai/v1")
        async with make_async_client(settings) as client:
            for number in range(1, TIMES + 1):
                assert (await ask(client, request_of(number))).text == f"own {number}"
                assert await asyncio.to_thread(served.acquire, timeout=10)

    with serving(serve, served) as address:
        asyncio.run(ask_in_turn(address))


@pytest.mark.parametrize("asking", BOTH)
def test_each_call_gets_its_own_answer_through_a_proxy(
    asking: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same holds where a proxy of the environment leads to the provider."""
    with serving(at_once) as address:
        monkeypatch.setenv("HTTP_PROXY", address)
        settings = Settings(api_key="k", base_url="http://provider.test/openai/v1")
        with asking(settings) as ask:
            for number in range(1, TIMES + 1):
                assert ask(request_of(number)).text == f"own {number}"


@TOO_MUCH
def test_each_download_gets_its_own_picture(serve: Serve) -> None:
    """Bytes behind a picture are not the next picture of that server."""
    served = threading.Semaphore(0)
    with serving(serve, served) as address, Fetcher(FetchPolicy(allow_private=True)) as fetcher:
        for number in range(1, TIMES + 1):
            picture = fetcher.fetch(f"{address}/{number}", name="a", max_bytes=10_000)
            assert f"own {number}".encode() in picture
            assert served.acquire(timeout=10)


def test_a_webhook_is_told_until_it_says_so_itself() -> None:
    """A receiver that refuses has not got the event, with anything behind its refusal."""
    with serving(refusing) as address, Fetcher(FetchPolicy(allow_private=True)) as fetcher:
        answers = [
            fetcher.post(address, name="webhook", body=b"{}", headers={}) for _ in range(TIMES)
        ]
    assert [answer.status for answer in answers] == [500] * TIMES


def test_an_alert_is_sent_until_its_receiver_says_so_itself() -> None:
    """The same holds for alerts of the operator."""
    with serving(refusing) as address:
        sender = AlertSender(address, "")
        assert not any(sender.send(Alert("1", "gate.open", "", 0)) for _ in range(TIMES))


@pytest.fixture(scope="module")
def bomb() -> bytes:
    """A whole response of less than 1.5 MB whose body unpacks to more than 700 MB."""
    packer, zeros = zlib.compressobj(9, wbits=31), bytes(1_000_000)
    first, next_ = (packer.compress(zeros) + packer.flush(zlib.Z_FULL_FLUSH) for _ in range(2))
    body = first + next_ * (HUGE // len(zeros) - 1)  # nobody reads to its end
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body)
    assert len(body) < 1_500_000
    return head + body


@contextmanager
def peak_below(limit: int) -> Iterator[None]:
    """Hold what is allocated meanwhile to `limit` bytes."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < limit
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("asking", BOTH)
def test_a_bomb_for_an_answer(bomb: bytes, asking: Asking) -> None:
    """An answer that unpacks without end is given up within some 16 MB; it may have been billed."""
    with serving(lambda connection, _: connection.sendall(bomb)) as address:
        settings = Settings(api_key=None, base_url=f"{address}/openai/v1")
        with (
            asking(settings) as ask,
            peak_below(40_000_000),
            pytest.raises(BillingUnknown, match="does not end"),
        ):
            ask(request_of(1))


def test_a_bomb_for_a_receipt(bomb: bytes) -> None:
    """The bodies of replies to webhooks and alerts are not read."""
    with serving(lambda connection, _: connection.sendall(bomb)) as address:
        with Fetcher(FetchPolicy(allow_private=True)) as fetcher, peak_below(5_000_000):
            assert fetcher.post(address, name="webhook", body=b"{}", headers={}).status == 200
        with peak_below(5_000_000):
            assert AlertSender(address, "").send(Alert("1", "gate.open", "", 0))
