"""Supervision with small real processes: order, restarts, endings."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from functools import partial
from typing import TYPE_CHECKING

import psutil
import pytest

from visionq.devstack.supervisor import Signals, Spec, Supervisor
from visionq.errors import StartFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SLEEP = "import time; time.sleep(60)"
DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); "


@pytest.fixture
def signals() -> Iterator[Signals]:
    with Signals() as handled:
        yield handled


@pytest.fixture
def supervisor(signals: Signals) -> Iterator[Supervisor]:
    made = Supervisor(signals, time.monotonic)
    yield made
    signals.stops = 2
    made.stop()


def spec(
    folder: Path,
    name: str,
    program: str,
    *,
    patience: float = 5,
    is_ready: Callable[[], bool] = lambda: True,
) -> Spec:
    return Spec(
        name=name,
        role=name.partition("-")[0],
        command=(sys.executable, "-c", program),
        environment=dict(os.environ),
        log=folder / f"{name}.log",
        is_ready=is_ready,
        patience=patience,
    )


def until(supervisor: Supervisor, holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < end
        supervisor._look_around(0.05)


def is_gone(supervisor: Supervisor, pid: int) -> bool:
    return pid not in supervisor.pids().get("worker", [])


def test_killed_child_comes_back(tmp_path: Path, supervisor: Supervisor) -> None:
    """A child that is killed runs again at once, the next time within five seconds."""
    supervisor.start([spec(tmp_path, "worker-1", SLEEP), spec(tmp_path, "worker-2", SLEEP)], 5)
    for longest in (1, 5):
        first, second = supervisor.pids()["worker"]
        began = time.monotonic()
        os.kill(first, signal.SIGKILL)
        until(supervisor, partial(is_gone, supervisor, first))
        until(supervisor, lambda: len(supervisor.pids()["worker"]) == 2)
        assert time.monotonic() - began < longest
        assert supervisor.pids()["worker"][1] == second


def test_stages_wait(tmp_path: Path, supervisor: Supervisor) -> None:
    """A stage has started only when each of its children says that it is ready."""
    done = tmp_path / "ready"
    program = f"import pathlib, time; time.sleep(.3); pathlib.Path({str(done)!r}).touch(); {SLEEP}"
    supervisor.start([spec(tmp_path, "redis", program, is_ready=done.exists)], 10)
    assert done.exists()


def test_hopeless_start(tmp_path: Path, supervisor: Supervisor) -> None:
    """A child that can't start ends the start with its own last words."""
    broken = spec(tmp_path, "redis", "raise SystemExit('no such option')", is_ready=lambda: False)
    with pytest.raises(StartFailed, match=r"redis ends as soon as it starts.*no such option"):
        supervisor.start([broken], 20)


def test_late_start(tmp_path: Path, supervisor: Supervisor) -> None:
    """A child that runs and never gets ready is given up in time."""
    with pytest.raises(StartFailed, match="not ready in time"):
        supervisor.start([spec(tmp_path, "redis", SLEEP, is_ready=lambda: False)], 0.3)


def test_deaf_child_is_killed(tmp_path: Path, supervisor: Supervisor, signals: Signals) -> None:
    """A child that ignores SIGTERM is killed when its patience is over."""
    deaf = spec(tmp_path, "worker", DEAF + SLEEP, patience=0.3)
    supervisor.start([deaf], 5)
    until(supervisor, lambda: "deaf" in deaf.log.read_text())
    signals.stops = 1
    supervisor.stop()
    assert supervisor.pids() == {}


def test_order_of_end(tmp_path: Path, supervisor: Supervisor, signals: Signals) -> None:
    """While the last stage finishes its work, the first is kept alive, and then ends as well."""
    slow = textwrap.dedent("""
        import signal, sys, time
        def end(*_):
            time.sleep(1)
            sys.exit()
        signal.signal(signal.SIGTERM, end)
        print("set", flush=True)
        time.sleep(60)
    """)
    worker = spec(tmp_path, "worker", slow)
    supervisor.start([spec(tmp_path, "redis", SLEEP)], 5)
    supervisor.start([worker], 5)
    until(supervisor, lambda: "set" in worker.log.read_text())
    os.kill(supervisor.pids()["redis"][0], signal.SIGKILL)
    signals.stops = 1
    restarts: list[dict[str, list[int]]] = []
    supervisor.on_restart = lambda: restarts.append(supervisor.pids())
    assert supervisor.stop()
    assert restarts
    assert set(restarts[0]) == {"redis", "worker"}
    assert supervisor.pids() == {}


def test_grandchildren_end(tmp_path: Path, supervisor: Supervisor, signals: Signals) -> None:
    """The processes that a child has started go with it."""
    note = tmp_path / "pid"
    program = (
        "import pathlib, subprocess, sys, time;"
        f"child = subprocess.Popen([sys.executable, '-c', {SLEEP!r}]);"
        f"pathlib.Path({str(note)!r}).write_text(str(child.pid) + ' ');" + SLEEP
    )
    supervisor.start(
        [
            spec(
                tmp_path,
                "worker",
                program,
                is_ready=lambda: note.exists() and note.stat().st_size > 0,
            )
        ],
        10,
    )
    grandchild = psutil.Process(int(note.read_text()))
    signals.stops = 1
    supervisor.stop()
    psutil.wait_procs([grandchild], timeout=5)
    assert not grandchild.is_running() or grandchild.status() == psutil.STATUS_ZOMBIE


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's end")
def test_children_do_not_outlive_supervisor(tmp_path: Path) -> None:
    """When the supervisor itself is killed, its children go too."""
    program = textwrap.dedent(f"""
        import os, pathlib, sys, time
        from visionq.devstack.supervisor import Spec
        from visionq.devstack.supervisor import Signals
        from visionq.devstack.supervisor import Supervisor
        with Signals() as signals:
            made = Supervisor(signals, time.monotonic)
            made.start([Spec("a", "a", (sys.executable, "-c", {SLEEP!r}), dict(os.environ),
                             pathlib.Path({str(tmp_path)!r}, "a.log"), lambda: True, 1)], 5)
            print(made.pids()["a"][0], flush=True)
            made.watch()
    """)
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    psutil.wait_procs([child], timeout=5)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


def test_end_of_input_stops() -> None:
    """The end of a watched input is a request to stop, once."""
    reader, writer = os.pipe()
    with Signals(end_with=reader) as signals:
        os.write(writer, b"talk is ignored")
        signals.wait(5)
        assert signals.stops == 0
        os.close(writer)
        signals.wait(5)
        signals.wait(0.01)
        assert signals.stops == 1
    os.close(reader)


def test_handlers_are_put_back() -> None:
    """After the block signals do what they did before."""
    before = signal.getsignal(signal.SIGTERM)
    with Signals() as signals:
        os.kill(os.getpid(), signal.SIGTERM)
        signals.wait(1)
        assert signals.stops == 1
    assert signal.getsignal(signal.SIGTERM) == before
