"""A bulk run that is killed, whose Redis is emptied, and that is begun again each time.

As a program: `python -m tests.chaos.bulk_run ROWS` prints the figures as JSON.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.support.fleet import running_fleet
from tests.support.pictures import picture
from tests.support.waiting import until
from visionq.ledger.metrics import read_forgotten

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.fleet import Fleet

PROMPT = "Что на {file}?"
#: Shares of the rows at which the run is killed, and at which Redis is emptied under it.
KILLS = (0.15, 0.4, 0.8)
EMPTIED = 0.6
WORKERS, SLOTS = 2, 32


@dataclass(frozen=True)
class Report:
    rows: int
    #: Rows in OUT, and different ids among them.
    written: int
    distinct: int
    in_order: bool
    failed: int
    #: Rows in OUT at each kill, and when Redis was emptied.
    killed_at: list[int]
    emptied_at: int
    #: Jobs that were out, or had ended without being in OUT, when Redis was emptied.
    out_when_emptied: int
    billed: int
    #: Pictures that were billed more than once.
    twice: int
    #: Rubles of the simulator's bill, of the rows in OUT, and what `spend` calls unknown.
    bill_rub: str
    out_rub: str
    unknown_calls: int
    #: Jobs that the emptied Redis had lost, as `spend` tells.
    forgotten_jobs: int
    seconds: float


def run(rows: int, folder: Path) -> Report:
    """Return the fates of a number of pictures."""
    make_pictures(folder / "pictures", rows)
    out = folder / "out.jsonl"
    began = time.monotonic()
    with running_fleet(folder, workers=WORKERS, concurrency=SLOTS) as fleet:
        killed_at = [_killed(fleet, folder, out, int(rows * share)) for share in KILLS[:2]]
        with _client(fleet, folder, out) as client:
            _grown(out, int(rows * EMPTIED), client)
            emptied_at, lost = _emptied(fleet, out)
            killed_at.append(_grown(out, int(rows * KILLS[2]), client))
            client.send_signal(signal.SIGKILL)
        with _client(fleet, folder, out) as client:
            assert client.wait(3600) == 0, (folder / "run.log").read_text()[-2000:]
        found = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
        bill = fleet.simulator.bill()
        return Report(
            rows=rows,
            written=len(found),
            distinct=len({row["id"] for row in found}),
            in_order=[row["id"] for row in found] == sorted(row["id"] for row in found),
            failed=sum(row["error"] is not None for row in found),
            killed_at=killed_at,
            emptied_at=emptied_at,
            out_when_emptied=lost,
            billed=bill["billed"],
            twice=sum(digest["billed"] > 1 for digest in bill["digests"].values()),
            bill_rub=bill["rub"],
            out_rub=str(_rubles(found)),
            unknown_calls=fleet.money().get("unknown_calls", 0),
            forgotten_jobs=read_forgotten(fleet.redis),
            seconds=round(time.monotonic() - began, 1),
        )


def make_pictures(folder: Path, count: int) -> None:
    """Write small pictures, each unlike the others, a thousand to a folder."""
    for number in range(count):
        path = folder / f"{number // 1000:04}" / f"{number:07}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(number))


def command(folder: Path, out: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "visionq.cli", *arguments(folder, out, *options)]


def arguments(folder: Path, out: Path, *options: str) -> list[str]:
    """Return the arguments of a run about these pictures."""
    return ["run", str(folder / "pictures"), "-p", PROMPT, "-o", str(out), "--yes", *options]


@contextmanager
def _client(fleet: Fleet, folder: Path, out: Path) -> Iterator[subprocess.Popen[bytes]]:
    environment = {**os.environ, "VISIONQ_REDIS_URL": fleet.server.url}
    with (folder / "run.log").open("ab") as log:
        process = subprocess.Popen(
            command(folder, out, "--ordered"), env=environment, stdout=log, stderr=log
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _killed(fleet: Fleet, folder: Path, out: Path, at: int) -> int:
    with _client(fleet, folder, out) as client:
        return _grown(out, at, client)


def _grown(out: Path, rows: int, client: subprocess.Popen[bytes]) -> int:
    """Wait until OUT has `count` rows; returns how many it has."""
    written = Lines(out)
    until(lambda: written.count() >= rows or client.poll() is not None, 3600, f"{rows} rows")
    assert client.poll() is None, "the run ended before its time"
    return written.count()


class Lines:
    """Counts the lines of a growing file, and reads nothing of it twice."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = self._lines = 0

    def count(self) -> int:
        """Return how many there are now."""
        if self._path.exists():
            with self._path.open("rb") as file:
                file.seek(self._read)
                more = file.read()
            # Of a torn line, which the next run cuts off, nothing counts as read.
            self._read += more.rfind(b"\n") + 1
            self._lines += more.count(b"\n")
        return self._lines


def _emptied(fleet: Fleet, out: Path) -> tuple[int, int]:
    """Empty Redis; returns the rows in OUT, and the jobs that had left their lanes."""
    redis: Any = fleet.redis
    counts = fleet.counts()
    lost = len(list(redis.scan_iter("celery-task-meta-*", count=1000)))
    redis.flushall()
    return Lines(out).count(), lost + sum(
        counts.get(state, 0) for state in ("hinted", "in_progress")
    )


def _rubles(rows: list[dict[str, Any]]) -> Any:
    from decimal import Decimal  # noqa: PLC0415  # of use here alone

    return sum((Decimal(row["cost_rub"]) for row in rows), Decimal(0))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="visionq-bulk-") as place:
        print(json.dumps(asdict(run(int(sys.argv[1]), Path(place))), indent=2))  # noqa: T201  # a program
