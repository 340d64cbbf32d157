"""The tools that break things do break them, and tell what they found."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING

import pytest

from tests.chaos.__main__ import main
from tests.chaos.catalogue import SCENARIOS
from tests.chaos.odd_worker import jumping
from tests.chaos.proxy import running_proxy
from tests.chaos.publish import page
from tests.chaos.scenario import Scenario, Scene, Skipped

if TYPE_CHECKING:
    from pathlib import Path


def _broken(scene: Scene) -> None:
    scene.equal("doubles", 1, 0)


def _kept(scene: Scene) -> None:
    scene.at_most("doubles", 0, 0)
    scene.note(jobs=3)


def _crashing(_: Scene) -> None:
    raise AssertionError("waited in vain")


def test_a_missed_goal_is_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Exit code 1, and JSON that names the goal, for a figure that is wrong and for a crash."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for name, run in {"kept": _kept, "broken": _broken, "crashing": _crashing}.items():
        monkeypatch.setitem(SCENARIOS, name, Scenario(name, "Nothing breaks", run))
    assert main(["kept", "--json"]) == 0
    capsys.readouterr()
    assert main(["kept", "broken", "crashing", "--json", "--seed", "7"]) == 1
    told = json.loads(capsys.readouterr().out)["scenarios"]
    assert [scenario["passed"] for scenario in told] == [True, False, False]
    assert told[0]["notes"] == {"jobs": 3}
    assert told[0]["seed"] == 7
    assert told[1]["goals"][0] == {"name": "doubles", "figure": 1, "wanted": "= 0", "met": False}
    assert told[2]["goals"][0]["figure"] == "waited in vain"


def test_a_scenario_without_goals_is_no_proof(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A scenario that looks at nothing has not kept its promise."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setitem(SCENARIOS, "idle", Scenario("idle", "Nothing", lambda _: None))
    assert main(["idle"]) == 1
    assert "idle" in capsys.readouterr().out


def test_what_needs_something_else_is_skipped_with_its_reason(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scenario that can't be run here is neither kept nor missed, and says what it lacks."""

    def needy(_: Scene) -> None:
        raise Skipped("no such broker here")

    monkeypatch.setitem(SCENARIOS, "needy", Scenario("needy", "Nothing", needy))
    assert main(["needy", "--json"]) == 0
    told = capsys.readouterr()
    (finding,) = json.loads(told.out)["scenarios"]
    assert (finding["skipped"], finding["passed"]) == ("no such broker here", False)
    assert "needy, seed 1, 0 s: skipped: no such broker here" in told.err


def test_an_unknown_scenario_is_a_mistake_of_usage() -> None:
    """A name that is none of them ends with 2."""
    with pytest.raises(SystemExit, match="2"):
        main(["strom"])


def test_sizes(tmp_path: Path) -> None:
    """A scaled run is never smaller than a quick one."""
    assert Scene(tmp_path, quick=True).size(1000, 50) == 50
    assert Scene(tmp_path, scale=0.1).size(1000, 50) == 100
    assert Scene(tmp_path, scale=0.01).size(1000, 50) == 50


def test_the_proxy_resets() -> None:
    """Bytes pass both ways until the connection is reset, and then pass on a new one."""
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        running_proxy(server.getsockname()[1]) as proxy,
    ):
        near = socket.create_connection(("127.0.0.1", proxy.port), timeout=5)
        far, _ = server.accept()
        with near, far:
            near.sendall(b"there")
            assert far.recv(9) == b"there"
            far.sendall(b"back")
            assert near.recv(9) == b"back"
            assert proxy.reset() == 1
            with pytest.raises(ConnectionResetError):
                near.recv(9)
        with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as near:
            server.accept()[0].close()
            assert near.recv(9) == b""


def test_the_clock_jumps() -> None:
    """The clock is right, an hour ahead, right, and an hour behind."""
    moments = iter([0.0, 2.0, 4.0, 6.0, 8.0])
    clock = jumping(lambda: 10_000.0, lambda: next(moments))
    assert [clock() for _ in range(5)] == [10_000, 13_600, 10_000, 6_400, 10_000]


def test_runs_become_a_table() -> None:
    """Each run is a row with its figures; a missed goal is marked; writing again adds nothing."""
    goals = [
        {"name": "lost", "figure": 10_000, "wanted": "= 0", "met": False},
        {"name": "calls", "figure": 3, "wanted": "≤ 3", "met": True},
    ]
    shared = {"promise": "a | b", "seconds": 7.4, "notes": {"kills": 2}}
    kept = {"name": "storm", "seed": 3, "goals": goals, "skipped": None, **shared}
    left = {"name": "amqp", "seed": 1, "goals": [], "skipped": "no RabbitMQ", **shared}
    run = {"machine": {"date": "2026-11-22", "load": 1.5}, "scenarios": [kept, left]}
    text = "before\n<!-- table: runs -->\nold\n<!-- end -->\nafter\n"
    written = page(text, [run])
    assert (
        "| `storm`, seed 3 | a \\| b | **missed**: lost 10,000 (= 0); calls 3 (≤ 3); kills 2;"
        " 7 s on 2026-11-22, load 1.5 |\n"
    ) in written
    assert "| `amqp`, seed 1 | a \\| b | not run: no RabbitMQ |\n" in written
    assert written.startswith("before\n")
    assert written.endswith("<!-- end -->\nafter\n")
    assert page(written, [run]) == written
