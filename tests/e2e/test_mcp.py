"""Agents through the official client: quotes, runs within a quote, folders and the budget."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client

from tests.support.fleet import Fleet, running_fleet
from tests.support.pictures import picture
from tests.support.waiting import until
from visionq.devstack.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with running_fleet(tmp_path_factory.mktemp("mcp"), workers=1, concurrency=8) as running:
        yield running


@pytest.fixture(name="root")
def _root(tmp_path: Path) -> Path:
    """A folder of four pictures, and one beside it that no agent may see."""
    for number in range(4):
        path = tmp_path / "shop" / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(picture(number))
    (tmp_path / "private.png").write_bytes(picture(9))
    return tmp_path / "shop"


def environment(fleet: Fleet, root: Path) -> dict[str, str]:
    return {**os.environ, **fleet.environment(), "XDG_DATA_HOME": str(root.parent / "data")}


def arguments(root: Path, tenant: str, *more: str, max_rub: str = "5") -> list[str]:
    own = ["-P", "-m", "visionq.cli", "mcp", str(root), "--max-rub", max_rub, "--tenant", tenant]
    return [*own, *more]


def session(fleet: Fleet, root: Path, tenant: str, max_rub: str = "5") -> Client:
    """Return a client of a server of its own, on stdin and stdout."""
    server = StdioServerParameters(
        command=sys.executable,
        args=arguments(root, tenant, max_rub=max_rub),
        env=environment(fleet, root),
    )
    return Client(stdio_client(server))


async def call(client: Client, tool: str, **values: Any) -> Any:
    """Return what a tool answers, or the text of its error."""
    result = await client.call_tool(tool, values)
    if result.is_error:
        return "".join(getattr(part, "text", "") for part in result.content)
    found = result.structured_content
    assert found is not None
    return found["result"] if set(found) == {"result"} else found


async def ended(client: Client, run_id: str) -> dict[str, Any]:
    """Wait until a run has ended."""
    async with asyncio.timeout(60):
        while (found := await call(client, "status", run_id=run_id))["state"] == "running":  # noqa: ASYNC110  # another process
            await asyncio.sleep(0.2)
    status: dict[str, Any] = found
    return status


async def test_from_a_quote_to_the_answers(fleet: Fleet, root: Path) -> None:
    """An agent quotes, samples, runs and reads; a second server pays nothing for the same."""
    async with session(fleet, root, "agent") as client:
        tools = {tool.name for tool in (await client.list_tools()).tools}
        assert tools == {"quote", "sample", "run", "ask", "status", "results", "spend"}
        quoted = await call(client, "quote", source=".", prompt="Что на фото?")
        assert (quoted["rows"], quoted["asked"]) == (4, 4)
        (sampled,) = await call(client, "sample", run_id=quoted["run_id"], rows=1)
        assert sampled["text"]
        await call(client, "run", run_id=quoted["run_id"])
        status = await ended(client, quoted["run_id"])
        assert (status["state"], status["answered"]) == ("done", 4)
        rows = await call(client, "results", run_id=quoted["run_id"], after=1, most=2)
        assert [row["id"] for row in rows] == ["1.png", "2.png"]
        (book,) = (await call(client, "spend"))["budgets"]
        assert Decimal(book["paid_rub"]) == sum(
            Decimal(row["cost_rub"])
            for row in await call(client, "results", run_id=quoted["run_id"])
        )
    calls = fleet.simulator.bill()["calls"]
    async with session(fleet, root, "agent") as client:
        again = await call(client, "quote", source=".", prompt="Что на фото?")
        assert again["run_id"] == quoted["run_id"]
        await call(client, "run", run_id=again["run_id"])
        assert (await ended(client, again["run_id"]))["answered"] == 4
    assert fleet.simulator.bill()["calls"] == calls


async def test_a_hostile_agent(fleet: Fleet, root: Path) -> None:
    """Paths out of the roots, links, other schemes, options and guessed quotes get an error."""
    before = fleet.simulator.bill()["calls"]
    (root / "out").symlink_to(root.parent)
    (root / "list.csv").write_text(f"id,image\n1,{root.parent / 'private.png'}\n")
    (root / "link.png").symlink_to(root.parent / "private.png")
    outside = "is not in the folders"
    async with session(fleet, root, "hostile") as client:
        for source in ("..", "/etc", "out", str(root.parent), "s3://bucket/x", "~", "-", "\0"):
            assert outside in await call(client, "quote", source=source, prompt="x"), source
        for source in ("list.csv", "."):
            said = await call(client, "quote", source=source, prompt="x")
            assert "outside of the folders" in said, source
        for file in ("../private.png", "link.png", "/etc/passwd", "file:///etc/passwd"):
            assert outside in await call(client, "ask", pictures=[file], prompt="x"), file
        assert "no valid quote" in await call(client, "run", run_id="0" * 16)
        assert "valid" in await call(client, "run", run_id="../../etc/passwd")
        assert "recipe" in await call(client, "quote", source=".", recipe="../x.toml")
        assert "model" in await call(client, "quote", source=".", prompt="x", model="--yes x")
    assert fleet.simulator.bill()["calls"] == before


async def paid(client: Client) -> Decimal:
    (book,) = (await call(client, "spend"))["budgets"]
    return Decimal(book["paid_rub"])


async def test_no_loop_overspends(fleet: Fleet, root: Path) -> None:
    """Earlier spending counts, and neither more calls nor a new server makes room."""
    async with session(fleet, root, "looping") as client:
        await call(client, "ask", pictures=["0.png"], prompt="?")
        before = await paid(client)
    assert 0 < before < Decimal("0.03")
    for _ in range(2):
        async with session(fleet, root, "looping", max_rub="0.03") as client:
            asked = [
                call(client, "ask", pictures=["0.png"], prompt=f"{number}?") for number in range(3)
            ]
            done, waiting = await asyncio.wait(map(asyncio.ensure_future, asked), timeout=3)
            for task in waiting:
                task.cancel()
            assert len(waiting) == 3, [task.result() for task in done]
            assert await paid(client) == before


async def test_over_http(fleet: Fleet, root: Path) -> None:
    """Streamable HTTP answers with the token of its file, and refuses all else."""
    port, token = free_port(), root.parent / "token"
    more = ("--http", str(port), "--token-file", str(token))
    command = [sys.executable, *arguments(root, "web", *more)]
    process = await asyncio.create_subprocess_exec(
        *command, env=environment(fleet, root), stderr=subprocess.PIPE
    )
    address = f"http://127.0.0.1:{port}/mcp"
    try:
        await asyncio.to_thread(until, lambda: _answers(address), 60)
        assert httpx2.post(address, json={}).status_code == 401
        assert token.stat().st_mode & 0o777 == 0o600
        headers = {"Authorization": f"Bearer {token.read_text().strip()}"}
        async with (
            httpx2.AsyncClient(headers=headers, timeout=60) as http,
            Client(streamable_http_client(address, http_client=http)) as client,
        ):
            quoted = await call(client, "quote", source=".", recipe="alt-text")
            assert quoted["rows"] == 4
    finally:
        process.terminate()
        await process.communicate()


def _answers(address: str) -> bool:
    try:
        return httpx2.get(address).status_code == 401
    except httpx2.TransportError:
        return False
