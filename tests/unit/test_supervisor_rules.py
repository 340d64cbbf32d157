"""The rules of supervision that need no process."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Self

import pytest

from visionq.devstack import ports
from visionq.devstack.supervisor import LONGEST_PAUSE, LogFile, restart_pause
from visionq.errors import QueueUnavailable

if TYPE_CHECKING:
    from pathlib import Path


def test_pauses() -> None:
    """The first restart comes at once, later ones more slowly, none later than five seconds."""
    pauses = [restart_pause(deaths) for deaths in range(1, 9)]
    assert pauses[0] == 0
    assert pauses[1:] == sorted(pauses[1:])
    assert pauses[1] > 0
    assert max(pauses) == LONGEST_PAUSE == 5


def test_ports_differ() -> None:
    """Ports are all different and come from the range that outgoing connections leave alone."""
    found = ports.free_ports(20, Random(1))
    assert len(set(found)) == 20
    assert all(port in ports.RANGE for port in found)


def test_taken_ports_are_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """When every port is taken, one line says so."""

    class Taken:
        def __enter__(self) -> Self:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def bind(self, address: tuple[str, int]) -> None:
            raise OSError(98, f"{address} is in use")

    monkeypatch.setattr("visionq.devstack.ports.socket.socket", Taken)
    with pytest.raises(QueueUnavailable, match="no free ports"):
        ports.free_ports(1, Random(1))


def test_log_gives_whole_new_lines(tmp_path: Path) -> None:
    """Only lines that are finished and not yet seen are given, with any bytes."""
    path = tmp_path / "child.log"
    path.write_text("from an earlier run\n")
    log = LogFile(path)
    with log.open_for_child() as child:
        child.write("ещё\nж".encode())
        assert log.new_lines() == ["ещё"]
        child.write("ди\n".encode() + b"not text: \xff\n")
    assert log.new_lines() == ["жди", "not text: \ufffd"]
    assert log.new_lines() == []


def test_log_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A log that grew too large starts again, its child writes on, and no line is shown twice."""
    monkeypatch.setattr("visionq.devstack.supervisor.LARGEST", 100)
    log = LogFile(tmp_path / "child.log")
    with log.open_for_child() as child:
        child.write(b"x" * 120 + b"\n")
        assert len(log.new_lines()) == 1
        child.write(b"after\n")
        assert log.new_lines() == ["after"]
    assert log.path.read_bytes() == b"after\n"
    assert (tmp_path / "child.log.1").stat().st_size == 121
