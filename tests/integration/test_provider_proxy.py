"""A provider behind a SOCKS proxy, which clients of VPNs put into the environment."""

from __future__ import annotations

import asyncio
import os
import socket
import socketserver
import struct
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pydantic import SecretStr

from tests.support.warm_processes import running_simulator
from visionq.http_checks import prepare_http_environment
from visionq.settings import Settings
from worker.provider.provider_client import make_async_client, make_client

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest
    from openai.types import Model


class Socks(socketserver.StreamRequestHandler):
    """Connects every request to the simulator, for any host (RFC 1928)."""

    target: tuple[str, int]
    asked: list[str]

    def handle(self) -> None:
        _version, methods = struct.unpack("BB", self.rfile.read(2))
        self.rfile.read(methods)
        self.wfile.write(b"\x05\x00")
        _version, _command, _, kind = struct.unpack("BBBB", self.rfile.read(4))
        length = {1: 4, 4: 16}.get(kind) or self.rfile.read(1)[0]
        self.asked.append(self.rfile.read(length + 2)[:-2].decode(errors="replace"))
        with socket.create_connection(self.target) as onward:
            self.wfile.write(b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x00")
            back = threading.Thread(target=_copy, args=(onward, self.connection))
            back.start()
            _copy(self.connection, onward)
            back.join()


def _address(url: str) -> tuple[str, int]:
    host, port = url.removeprefix("http://").split(":")
    return host, int(port)


def _copy(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        target.close()


@contextmanager
def socks_proxy(target: tuple[str, int]) -> Iterator[tuple[int, list[str]]]:
    asked: list[str] = []
    handler = type("Handler", (Socks,), {"target": target, "asked": asked})
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1], asked
        server.shutdown()


def test_calls_go_through_socks(monkeypatch: pytest.MonkeyPatch) -> None:
    """`ALL_PROXY=socks://…` carries the calls to the provider."""
    with running_simulator() as simulator, socks_proxy(_address(simulator.url)) as (proxy, asked):
        monkeypatch.setenv("ALL_PROXY", f"socks://127.0.0.1:{proxy}")
        prepare_http_environment(os.environ)
        settings = Settings(base_url="http://provider.example/openai/v1", api_key=SecretStr("k"))
        with make_client(settings) as client:
            assert client.models.list().data
        assert asyncio.run(list_models(settings))
    assert asked == ["provider.example"] * 2


async def list_models(settings: Settings) -> list[Model]:
    async with make_async_client(settings) as client:
        return (await client.models.list()).data
