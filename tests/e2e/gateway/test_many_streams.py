"""Very many streams at once, and a gateway that dies while there is one."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import httpx2
import openai
import pytest

from producer.gateway.gateway_settings import GatewaySettings
from tests.e2e.gateway.test_parked import closed
from tests.support.constants import with_constants
from tests.support.gateway import KEY, asked, running_gateway, said

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.support.fleet import Fleet
    from tests.support.gateway import Gateway

pytestmark = pytest.mark.timeout(300)
MODEL: Final = "gpt-6-luna"
MANY: Final = 1000
#: Threads of a gateway for all that it does; 40 of them are FastAPI's own.
THREADS: Final = 80
COMMENT: Final = ": keep-alive"


def threads_of(gateway: Gateway) -> int:
    return len(list(Path(f"/proc/{gateway.process.pid}/task").iterdir()))


async def streamed(http: httpx2.AsyncClient, waits: asyncio.Event) -> list[str]:
    """Return the lines of one stream; note when it has begun to wait."""
    asking: dict[str, Any] = {"model": MODEL, "messages": said(1), "stream": True}
    lines = []
    async with http.stream("POST", "/v1/chat/completions", json=asking) as reply:
        assert reply.status_code == 200, await reply.aread()
        async for line in reply.aiter_lines():
            if line == COMMENT:
                waits.set()
            elif line:
                lines.append(line)
    return lines


async def at_once(gateway: Gateway, meanwhile: Callable[[], Awaitable[None]]) -> list[list[str]]:
    """Open all streams, do something while every one waits, and return what they said."""
    headers = {"authorization": f"Bearer {KEY}", "x-visionq-when-parked": "wait"}
    limits = httpx2.Limits(max_connections=None)
    async with httpx2.AsyncClient(
        base_url=gateway.url, headers=headers, limits=limits, timeout=120
    ) as http:
        waiting = [asyncio.Event() for _ in range(MANY)]
        streams = [asyncio.create_task(streamed(http, event)) for event in waiting]
        for event in waiting:
            await event.wait()
        await meanwhile()
        return await asyncio.gather(*streams)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="threads are counted in /proc")
def test_a_thousand_streams(fleet: Fleet, tmp_path: Path) -> None:
    """A thousand streams that wait cost no thread each, hold up no other call, and end whole."""
    often = with_constants(tmp_path, GatewaySettings, keep_alive=2)
    with (
        running_gateway(tmp_path, fleet.server.url, **often) as gateway,
        gateway.openai() as client,
    ):
        gate = closed(fleet)

        async def look_and_open() -> None:
            assert threads_of(gateway) < THREADS
            began = time.monotonic()
            await asyncio.to_thread(client.models.list)
            assert time.monotonic() - began < 10
            gate.__exit__(None, None, None)

        with gate:
            told = asyncio.run(at_once(gateway, look_and_open))
        assert threads_of(gateway) < THREADS
    assert {lines[-1] for lines in told} == {"data: [DONE]"}
    assert all("64x48" in line for lines in told for line in lines[1:2])


def test_a_gateway_that_dies(fleet: Fleet, tmp_path: Path) -> None:
    """A stream that breaks with its gateway is taken up at another, and nothing is paid twice."""
    fleet.simulator.configure(latency_s=6)
    fleet.simulator.reset_bill()
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
    with (
        running_gateway(first, fleet.server.url) as ends,
        running_gateway(second, fleet.server.url) as stays,
        ends.openai(max_retries=0) as client,
        stays.openai() as other,
    ):
        stream: Any = client.responses.create(
            model=MODEL, input=asked(3, "Who takes over?"), background=True, stream=True
        )
        begun = next(stream)
        ends.kill()
        with pytest.raises(openai.APIConnectionError):
            list(stream)
        rest: Any = other.responses.retrieve(
            begun.response.id, stream=True, starting_after=begun.sequence_number
        )
        numbers = [event.sequence_number for event in rest]
        assert numbers == list(range(1, len(numbers) + 1))
        assert other.responses.retrieve(begun.response.id).status == "completed"
    assert fleet.simulator.bill()["billed"] == 1
