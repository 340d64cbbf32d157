"""Large and slow bodies: the memory of the gateway, and what others wait for."""

from __future__ import annotations

import base64
import json
import secrets
import socket
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

import httpx2
import pytest

from producer.gateway.gateway_settings import GatewaySettings
from tests.support.constants import with_constants
from tests.support.gateway import Gateway, running_gateway
from tests.support.pictures import data_url, picture
from visionq.devstack.redis_server import running_redis

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MOST = 16_000_000
#: As large as a gateway takes them, if nobody says otherwise.
LARGE = 63_000_000
#: Seconds that a small request may take longer beside such bodies: each step over one holds the
#: interpreter for a few tenths, and on a busy machine for a few times that.
LONGEST_WAIT = 1.0


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway without workers: nothing is taken from what it keeps."""
    folder = tmp_path_factory.mktemp("bodies")
    limits = with_constants(folder, GatewaySettings, max_body_bytes=MOST)
    with (
        running_redis(folder / "redis") as server,
        running_gateway(folder, server.url, **limits) as gateway,
    ):
        yield gateway


def response(url: str) -> bytes:
    """Return the body of a request about one picture."""
    image = {"type": "input_image", "image_url": url}
    parts = [{"type": "input_text", "text": "What is it?"}, image]
    request = {
        "background": True,
        "model": "gpt-6-luna",
        "input": [{"role": "user", "content": parts}],
    }
    return json.dumps(request).encode()


def post(gateway: Gateway, key: str, body: bytes) -> int:
    with gateway.http(key) as client:
        headers = {"content-type": "application/json"}
        return client.post("/v1/responses", content=body, headers=headers).status_code


def peak(gateway: Gateway) -> int:
    """Return the most memory that the gateway has had, in bytes."""
    status = Path(f"/proc/{gateway.process.pid}/status")
    if not status.exists():
        pytest.skip("there is no /proc here")
    (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def test_memory_is_a_few_times_a_body(alone: Gateway) -> None:
    """Escaped pictures, tiny elements, many large bodies at once: each takes a few times a body."""
    key = alone.new_key("large")
    assert (
        post(alone, key, response(f"data:;base64,{base64.b64encode(picture(1)).decode()}")) == 200
    )
    before = peak(alone)
    escaped = "".join(f"%{ord(one):02x}" for one in "QUJD")
    assert post(alone, key, response("data:;base64," + escaped * (15_000_000 // 12))) == 200
    assert post(alone, key, b"[" + b"[]," * 5_000_000 + b"1]") == 400
    plain = base64.b64encode(secrets.token_bytes(11_000_000)).decode()
    with ThreadPoolExecutor(8) as threads:
        bodies = [response(f"data:;base64,{number}AAA{plain}") for number in range(8)]
        assert list(threads.map(lambda body: post(alone, key, body), bodies)) == [200] * 8
    assert peak(alone) - before < 12 * MOST


def test_slow_bodies_keep_nobody_waiting(alone: Gateway) -> None:
    """However many bodies of one tenant drip in, another's are taken at once."""
    quick = alone.new_key("quick")
    taken = response(f"data:;base64,{base64.b64encode(secrets.token_bytes(300_000)).decode()}")
    assert post(alone, quick, taken) == 200
    slow = alone.new_key("slow")
    head = (
        "POST /v1/responses HTTP/1.1\r\nhost: gateway\r\ncontent-type: application/json\r\n"
        f"authorization: Bearer {slow}\r\ncontent-length: {MOST}\r\n\r\n{{"
    )
    with ExitStack() as stack:
        for _ in range(8):
            connection = socket.create_connection(("127.0.0.1", alone.port))
            stack.enter_context(connection)
            connection.sendall(head.encode())
        assert post(alone, quick, taken) == 200
        assert post(alone, slow, response("https://example.org/a.png")) == 200, "small ones do too"


def percents(size: int) -> list[bytes]:
    """Return bodies about a picture of which each character is escaped."""
    escaped = "".join(f"%{ord(one):02x}" for one in "QUJD") * ((size - 1_000) // 12)
    return [response(f"data:;base64,{number}AAA{escaped}") for number in range(8)]


def lists(size: int) -> list[bytes]:
    """Return bodies of nothing but empty lists."""
    return [b'{"input": [' + b"[]," * (size // 3 - 10) + b"1]}"] * 8


def texts(size: int) -> list[bytes]:
    """Return bodies of as many short texts as are still taken apart."""
    text = b'"' + b"a" * 24 + b'",'
    return [b'{"input": [' + text * (size // len(text) - 10) + b"1]}"] * 8


def flood(url: str, key: str, form: Callable[[int], list[bytes]]) -> list[int]:
    """Send eight large bodies at once, and return what each was answered."""

    def post(body: bytes) -> int:
        headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
        with httpx2.Client(base_url=url, headers=headers, timeout=300) as client:
            return client.post("/v1/responses", content=body).status_code

    with ThreadPoolExecutor(8) as threads:
        return list(threads.map(post, form(LARGE)))


def ask(gateway: Gateway, key: str, until: Callable[[int], bool]) -> list[float]:
    """Ask about small pictures, and return the seconds that each took to be accepted."""
    taken: list[float] = []
    with gateway.http(key) as client:
        while not until(len(taken)):
            started = time.monotonic()
            body = response(data_url(len(taken)))
            headers = {"content-type": "application/json"}
            assert client.post("/v1/responses", content=body, headers=headers).status_code == 200
            taken.append(time.monotonic() - started)
            time.sleep(0.02)
    return taken


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("form", [percents, lists, texts])
def test_bodies_of_full_size(tmp_path: Path, form: Callable[[int], list[bytes]]) -> None:
    """Eight bodies of 63 MB take 12 times one at most, and another's request waits for none."""
    with (
        running_redis(tmp_path / "redis") as server,
        running_gateway(tmp_path, server.url) as gateway,
        ProcessPoolExecutor(1, get_context("spawn")) as senders,
    ):
        small, large = gateway.new_key("small"), gateway.new_key("large")
        alone = ask(gateway, small, lambda count: count == 100)
        before = peak(gateway)
        sent = senders.submit(flood, gateway.url, large, form)
        beside = ask(gateway, small, lambda _: sent.done())
        assert set(sent.result()) <= {200, 400}
        assert peak(gateway) - before < 12 * LARGE
    assert p95(beside) < p95(alone) + LONGEST_WAIT


def p95(seconds: list[float]) -> float:
    return sorted(seconds)[int(0.95 * len(seconds))]
