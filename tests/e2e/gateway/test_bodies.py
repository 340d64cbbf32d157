"""Large and slow bodies: the memory of the gateway, and what others wait for."""

from __future__ import annotations

import base64
import json
import secrets
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.e2e.fleet import picture
from tests.e2e.gateway.kit import Gateway, running_gateway
from visionq.sandbox.redis_server import running_redis

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST = 16_000_000


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway without workers: nothing is taken from what it keeps."""
    folder = tmp_path_factory.mktemp("bodies")
    limits = {"VISIONQ_GATEWAY_MAX_BODY_BYTES": str(MOST)}
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
        "model": "gpt-4o-mini",
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
