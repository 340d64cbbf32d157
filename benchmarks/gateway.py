"""Latency of `POST` to the gateway under load, compared with a bare FastAPI echo.

Clients run in a closed loop: each has its own connection and sends the next request once the last
is answered. They speak HTTP over plain sockets, since an HTTP library would use more CPU than the
server under test. No worker runs: jobs are queued and stay queued.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks.tables import Table, goal, goals
from tests.support.gateway import KEY, asked, running_gateway
from tests.support.waiting import until
from visionq.devstack.children import answers
from visionq.devstack.ports import free_port
from visionq.devstack.redis_server import running_redis

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.tables import Cells

_CLIENTS: Final = 500
_PERCENTILES: Final = (50, 95, 99)
#: Longest round in seconds; requests unanswered by then count as errors.
_LONGEST: Final = 120.0
#: An idle gateway has to answer a background request within this time.
_AT_ONCE_MS: Final = 100.0
_COLUMNS: Final = (
    "what", "clients", "requests", "errors", "a second", "p50 ms", "p95 ms", "p99 ms",
)  # fmt: skip


@dataclass
class _Round:
    """Outcome of the requests of all clients."""

    wanted: int
    seconds: float = 0
    milliseconds: list[float] = field(default_factory=list)

    @property
    def errors(self) -> int:
        return self.wanted - len(self.milliseconds)

    @property
    def rate(self) -> float:
        return len(self.milliseconds) / self.seconds

    def percentile(self, which: int) -> float | None:
        """Return a percentile of the latency in milliseconds."""
        if len(self.milliseconds) < 2:  # noqa: PLR2004  # percentiles need two
            return None
        return statistics.quantiles(self.milliseconds, n=100, method="inclusive")[which - 1]


def measure(*, quick: bool = False) -> list[Table]:
    """Measure echo and gateway alternately, with one client and with all of them."""
    each, turns = (4, 1) if quick else (10, 3)
    with _servers() as ports:
        alone = {name: _load(port, clients=1, each=100) for name, port in ports.items()}
        many: dict[str, list[_Round]] = {name: [] for name in ports}
        for _ in range(turns):
            for name, port in ports.items():
                many[name].append(_load(port, clients=_CLIENTS, each=each))
    whole = {name: _together(rounds) for name, rounds in many.items()}
    rows = [
        *(_row(name, 1, one) for name, one in alone.items()),
        *(_row(name, _CLIENTS, one) for name, one in whole.items()),
        _ratio(whole["gateway"], whole["bare echo"]),
    ]
    note = (
        f"Rounds of {_CLIENTS} clients, {turns} alternating, {each} requests per client:"
        " background responses about a 64x48 picture. Clients, servers and Redis share the"
        " machine."
    )
    return [
        Table("Gateway: POST /v1/responses under load", _COLUMNS, tuple(rows), note),
        goals("Gateway: goals", _goals(alone["gateway"], whole["gateway"])),
    ]


def _goals(alone: _Round, whole: _Round) -> list[Cells]:
    return [
        goal(f"errors of {_CLIENTS} clients at once", whole.errors, 0, at_least=False),
        goal(
            "a background response, alone, p95 ms",
            alone.percentile(95),
            _AT_ONCE_MS,
            at_least=False,
        ),
    ]


def _row(name: str, clients: int, found: _Round) -> Cells:
    figures = (float(clients), float(found.wanted), float(found.errors), found.rate)
    return (name, *figures, *map(found.percentile, _PERCENTILES))


def _ratio(gateway: _Round, echo: _Round) -> Cells:
    pairs = [(gateway.percentile(one), echo.percentile(one)) for one in _PERCENTILES]
    ratios = [one / other if one and other else None for one, other in pairs]
    return ("gateway / echo", float(_CLIENTS), None, None, gateway.rate / echo.rate, *ratios)


def _together(rounds: Sequence[_Round]) -> _Round:
    return _Round(
        wanted=sum(one.wanted for one in rounds),
        seconds=sum(one.seconds for one in rounds),
        milliseconds=[took for one in rounds for took in one.milliseconds],
    )


@contextmanager
def _servers() -> Iterator[dict[str, int]]:
    """Yield the ports of both servers, each in its own process."""
    enough = {"VISIONQ_GATEWAY_REQUESTS_PER_MINUTE": "10000000"}
    with (
        tempfile.TemporaryDirectory(prefix="visionq-gateway-") as name,
        running_redis(Path(name, "redis")) as redis,
        running_gateway(Path(name), redis.url, **enough) as gateway,
        _echo(Path(name)) as echo,
    ):
        yield {"bare echo": echo, "gateway": gateway.port}


@contextmanager
def _echo(folder: Path) -> Iterator[int]:
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "benchmarks.echo:app", "--no-access-log"]
    with (
        (folder / "echo.log").open("wb") as log,
        subprocess.Popen(  # noqa: S603  # our own program
            [*command, "--port", str(port)], stdout=log, stderr=log
        ) as server,
    ):
        try:
            until(lambda: answers(port, "/openapi.json"), 60, "the echo")
            yield port
        finally:
            server.terminate()


def _load(port: int, *, clients: int, each: int) -> _Round:
    found = _Round(clients * each)
    started = time.perf_counter()
    asyncio.run(_all_clients(port, clients, each, found))
    found.seconds = time.perf_counter() - started
    return found


async def _all_clients(port: int, clients: int, each: int, found: _Round) -> None:
    request = _request(port)
    tasks = [asyncio.create_task(_client(port, request, each, found)) for _ in range(clients)]
    _, late = await asyncio.wait(tasks, timeout=_LONGEST)
    for task in late:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _request(port: int) -> bytes:
    body: dict[str, Any] = {"model": "gpt-6-luna", "background": True, "input": asked(1)}
    content = json.dumps(body).encode()
    head = (
        f"POST /v1/responses HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nauthorization: Bearer {KEY}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


async def _client(port: int, request: bytes, each: int, found: _Round) -> None:
    """Send requests one after another; stop at a broken connection or another status."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for _ in range(each):
            started = time.perf_counter()
            writer.write(request)
            if not await _is_ok(reader):
                return
            found.milliseconds.append((time.perf_counter() - started) * 1000)
    finally:
        writer.close()


async def _is_ok(reader: asyncio.StreamReader) -> bool:
    """Read one response; return whether its status is 200."""
    head = await reader.readuntil(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").lower().split("\r\n")
    (length,) = [line.partition(":")[2] for line in lines if line.startswith("content-length:")]
    await reader.readexactly(int(length))
    return status.split(" ")[1] == "200"
