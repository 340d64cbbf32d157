"""Runs of agents: one process at a time for each, none is left, and their samples are found."""

from __future__ import annotations

import asyncio
import json
import sys
from decimal import Decimal
from typing import TYPE_CHECKING

import click
import pytest

from producer.mcp_server import mcp_command, runs_of_agents
from producer.mcp_server.roots import open_roots
from producer.mcp_server.runs_of_agents import AgentRun, AgentRuns
from producer.run.run_record import to_line
from tests.unit.test_run_workbook import row
from visionq.errors import InvalidJob

if TYPE_CHECKING:
    from pathlib import Path

#: Notes its start, its end, and whether stdin stayed open until then.
CHILD = """
import pathlib, select, sys
notes = pathlib.Path(sys.argv[1])
with notes.open("a") as file: file.write("start\\n")
closed = select.select([sys.stdin], [], [], 0.3 if "--only" in " ".join(sys.argv) else 60)[0]
with notes.open("a") as file: file.write("stopped\\n" if closed else "end\\n")
print("{}")
"""


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AgentRuns:
    notes = str(tmp_path / "notes")
    monkeypatch.setattr(runs_of_agents, "command", lambda: (sys.executable, "-c", CHILD, notes))
    (tmp_path / "root").mkdir()
    for name in ("1.jpg", "2.jpg"):
        (tmp_path / "root" / name).write_bytes(b"\xff\xd8\xff\xe0 and so on")
    return AgentRuns(open_roots([tmp_path / "root"]), tmp_path / "data", {}, "mcp", lambda: 0.0)


def quoted(runs: AgentRuns, tmp_path: Path, rub: str = "1") -> AgentRun:
    run = runs._known(str(tmp_path / "root"), {"prompt": "?"})
    run.most_rub = Decimal(rub)
    return run


def noted(tmp_path: Path) -> list[str]:
    return (tmp_path / "notes").read_text().split()


async def test_a_run_has_one_process(runs: AgentRuns, tmp_path: Path) -> None:
    """Calls at the same time start one process, which ends with the server; none samples then."""
    run = quoted(runs, tmp_path)
    await asyncio.gather(*(runs.start(run) for _ in range(5)))
    with pytest.raises(InvalidJob, match="under way"):
        await runs.sample(run, 1)
    await runs.close()
    assert noted(tmp_path) == ["start", "stopped"]
    assert not run.is_running


async def test_samples_are_one_after_the_other(runs: AgentRuns, tmp_path: Path) -> None:
    """Samples of a quote don't write at the same time; rows beyond the first 200 are found."""
    run = quoted(runs, tmp_path)
    rows = [row(number, f"{number}-other.jpg") for number in range(1, 202)]
    rows += [row(202, "1.jpg") | {"id": "1.jpg"}, row(203, "2.jpg") | {"id": "2.jpg"}]
    run.out.write_bytes(b"".join(map(to_line, rows)))
    first, second = await asyncio.gather(runs.sample(run, 2), runs.sample(run, 2))
    assert [one["id"] for one in first] == [one["id"] for one in second] == ["1.jpg", "2.jpg"]
    assert noted(tmp_path) == ["start", "end", "start", "end"]


async def test_a_cancelled_call_leaves_no_process(runs: AgentRuns, tmp_path: Path) -> None:
    """The quote of a call that was cancelled is ended."""
    task = asyncio.create_task(runs.quote(".", {"prompt": "?"}))
    async with asyncio.timeout(10):
        while not (tmp_path / "notes").exists():  # noqa: ASYNC110  # another process
            await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await runs.close()
    assert noted(tmp_path) == ["start"]
    assert runs._children._value == runs_of_agents._MOST_CHILDREN


@pytest.mark.parametrize(
    ("costs", "high", "bound"),
    [
        ([], "0.5", "0.5"),
        (["0.2", "0.1"], "0.5", "0.8"),
        (["0.2"], "0", "0.2"),
        ([], "0", "0.000001"),
    ],
)
async def test_a_run_is_bound_by_paid_and_quoted(
    runs: AgentRuns, monkeypatch: pytest.MonkeyPatch, costs: list[str], high: str, bound: str
) -> None:
    """A later quote has the price of the rest; a run may cost that and what its rows have cost."""
    printed = json.dumps({"rub": {"high": high}})
    program = (sys.executable, "-c", f"print({printed!r})")
    monkeypatch.setattr(runs_of_agents, "command", lambda: program)
    out = runs._known(str(runs._roots.path(".")), {"prompt": "?"}).out
    rows = [row(number, cost_rub=cost) for number, cost in enumerate(costs, 1)]
    out.write_bytes(b"".join(map(to_line, rows)))
    run, _ = await runs.quote(".", {"prompt": "?"})
    assert f"--max-rub={bound}" in runs._bounds(run)


def test_tokens_of_files(tmp_path: Path) -> None:
    """A token is made once; a file that can't hold one is refused in one line."""
    path = tmp_path / "token"
    token = mcp_command._token(path)
    assert mcp_command._token(path) == token
    assert path.stat().st_mode & 0o777 == 0o600
    for content in (b"", b"short", b"\xff" * 40):
        path.write_bytes(content)
        with pytest.raises(click.BadParameter, match="16 or more"):
            mcp_command._token(path)
    with pytest.raises(click.BadParameter, match="No such file"):
        mcp_command._token(tmp_path / "absent" / "token")
