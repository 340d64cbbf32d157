"""`visionq run` of local files through batches: more of them than Redis has room for."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import zlib
from random import Random
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.chaos.bulk_run import command
from tests.chaos.fleet import ChaosFleet, chaos_fleet
from tests.support.pictures import picture
from tests.support.waiting import until
from visionq.ledger.provider_batches import BatchState, open_batches, read_all_support

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ROWS: Final = 60
#: Bytes of each file, and of what Redis may take: all at once have no room there.
SIZE: Final = 1_000_000
MEMORY: Final = 64_000_000


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[ChaosFleet]:
    with chaos_fleet(tmp_path, Random(1), workers=0) as fleet:
        fleet.add_odd_worker("--swift-batches")
        fleet.client._redis.config_set("maxmemory", MEMORY)
        yield fleet


def padded(png: bytes) -> bytes:
    """Return a PNG that is as long as a photo, and as cheap to decode as it was."""
    kind, padding = b"visQ", os.urandom(SIZE - len(png))
    crc = zlib.crc32(kind + padding).to_bytes(4, "big")
    chunk = len(padding).to_bytes(4, "big") + kind + padding + crc
    end = png.rindex(b"IEND") - 4
    return png[:end] + chunk + png[end:]


def make_files(folder: Path) -> None:
    folder.mkdir()
    for number in range(ROWS):
        (folder / f"{number:03}.png").write_bytes(padded(picture(number)))


class BatchRun:
    """One `visionq run` into one OUT, begun as often as a test likes."""

    def __init__(self, fleet: ChaosFleet, path: Path) -> None:
        self.fleet, self.path, self.out = fleet, path, path / "out.jsonl"
        self.redis: Any = fleet.client._redis
        self.most_used = 0

    def start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            command(self.path, self.out, "--lane", "batch"),
            env=self.fleet.environment(),
            stderr=subprocess.PIPE,
            text=True,
        )

    def memory_used(self) -> int:
        used = int(self.redis.info("memory")["used_memory"])
        self.most_used = max(self.most_used, used)
        return used

    def lines_out(self) -> int:
        self.memory_used()
        batches = open_batches(self.redis)
        return sum(one.lines for one in batches if one.state is BatchState.OUT)

    def rows(self) -> list[dict[str, Any]]:
        if not self.out.exists():
            return []
        return [json.loads(line) for line in self.out.read_text("utf-8").splitlines()]


@pytest.mark.timeout(400)
def test_all_go_into_batches_though_redis_is_small(fleet: ChaosFleet, tmp_path: Path) -> None:
    """Every line is out at once, in a third of the room; each row is answered and paid once.

    Though the run is stopped meanwhile, and batches expire whose pictures Redis has let go.
    """
    make_files(tmp_path / "pictures")
    run = BatchRun(fleet, tmp_path)
    fleet.simulator.configure(batch_durations_next=[0], batch_duration_s=50_000)
    process = run.start()
    until(lambda: bool(read_all_support(run.redis)), 60, "the first line to come back")
    fleet.simulator.configure(batch_faults_next=["partial_expiry"] * 2, batch_fault_share=0.5)
    until(lambda: run.lines_out() >= ROWS - 1, 120, lambda: f"lines to be out: {run.lines_out()}")
    until(lambda: run.memory_used() < 10_000_000, 60, "the pictures to go")
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "rows are in batches at the provider, which go on" in said
    assert re.search(r"\d rows in (1 batch|\d batches) \(0 of \d+ lines done", said), said
    process = run.start()
    fleet.simulator.configure(batch_clock_ahead_s=90_000, batch_duration_s=0)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    rows = run.rows()
    assert len({row["id"] for row in rows}) == len(rows) == ROWS
    assert [row["error"] for row in rows] == [None] * ROWS
    lines = fleet.simulator.batch_lines()
    assert sum(len(times) for times in lines.values()) == ROWS
    assert run.most_used < 0.7 * MEMORY < ROWS * SIZE
