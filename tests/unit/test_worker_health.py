"""When a process hangs, and when it only waits."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from visionq.health import HealthReport, ReportFile, fleet_of, now, read_reports
from worker.threads.heartbeat import Leases
from worker.threads.watchdog import CONSUMER, DISPATCHER, HEARTBEAT, Progress

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from visionq.ledger import Claim
    from worker.threads.heartbeat import Lease


class Worker:
    """A process with a clock that the test moves."""

    def __init__(self, slots: int = 2) -> None:
        self.now = 1000.0
        self.leases = Leases(lambda: self.now)
        self.progress = Progress(self.leases, slots, lambda: self.now)
        self.live(1)

    def live(self, seconds: int, *dead: str, redis: bool = True) -> None:
        """Let time pass while every thread but the dead comes round once a second."""
        for _ in range(seconds):
            self.now += 1
            for thread in {CONSUMER, DISPATCHER, HEARTBEAT} - set(dead):
                self.progress.beat(thread)
            self.progress.redis_answered(answered=redis)

    def job(self, number: int, seconds: float) -> AbstractContextManager[Lease]:
        claim = SimpleNamespace(id=f"job-{number}", token=f"t{number}")
        return self.leases.hold(cast("Claim", claim), seconds)


@pytest.mark.parametrize("thread", [CONSUMER, DISPATCHER, HEARTBEAT])
def test_a_thread_that_stands_still(thread: str) -> None:
    """Each thread is missed after a minute, and not before; then it may come back."""
    worker = Worker()
    worker.live(60, thread)
    assert worker.progress.trouble() is None
    worker.live(2, thread)
    assert re.fullmatch(rf"its {thread} has .* for 62 s", worker.progress.trouble() or "")
    worker.live(1)
    assert worker.progress.trouble() is None


def test_redis_away_is_no_trouble() -> None:
    """However long Redis is away, nothing that waits for it is missed, nor just afterwards."""
    worker = Worker(slots=1)
    with worker.job(1, seconds=5):
        worker.live(3600, CONSUMER, DISPATCHER, redis=False)
        assert worker.progress.trouble() is None
        assert worker.progress.redis == "away"
        worker.live(59, CONSUMER, DISPATCHER)
        assert worker.progress.trouble() is None
        worker.live(3, CONSUMER, DISPATCHER)
        assert worker.progress.trouble() is not None


def test_a_consumer_that_reconnects_is_not_missed() -> None:
    """While the broker, which may not be the ledger's Redis, is away, the consumer rests."""
    worker = Worker()
    worker.progress.rest(CONSUMER)
    worker.live(600, CONSUMER)
    assert worker.progress.trouble() is None


def test_slots_that_hang() -> None:
    """A slot is lost a minute after its stage's time; with the last of them the process is."""
    worker = Worker(slots=2)
    with worker.job(1, seconds=100):
        worker.live(159)
        assert worker.progress.lost_slots() == 0
        worker.live(2)
        assert worker.progress.lost_slots() == 1
        assert worker.progress.trouble() is None
        with worker.job(2, seconds=10):
            worker.live(71)
            assert worker.progress.is_useless()
            assert worker.progress.trouble() == "all 2 slots hang in stages beyond their time"
    assert worker.progress.trouble() is None


def report(**changes: object) -> HealthReport:
    return HealthReport(**{"pid": os.getpid(), "name": "w", "at": now(), **changes})  # type: ignore[arg-type]  # by name


def test_reports_of_live_processes_alone(tmp_path: Path) -> None:
    """A report is read while its process lives, is that of its fleet, and goes with the process."""
    fleet = fleet_of("redis://somewhere")
    file = ReportFile(tmp_path, fleet)
    file.write(report(trouble="a" * 300))
    file.write(report(jobs=3))
    (tmp_path / f"{fleet}-999999").write_text(json.dumps({"pid": 999999, "name": "w", "at": 0}))
    (found,) = read_reports(tmp_path)
    assert (found.jobs, found.trouble) == (3, None)
    assert read_reports(tmp_path, fleet) == [found]
    assert read_reports(tmp_path, fleet_of("redis://elsewhere")) == []
    file.remove()
    assert not tmp_path.exists()


def test_an_old_report_is_a_process_that_stands_still() -> None:
    """A process that could not even say so is found out by the age of what it said."""
    assert report().trouble_at(now(), 30) is None
    assert "is stuck" in str(report(at=now() - 31).trouble_at(now(), 30))
    assert report(trouble="hangs").trouble_at(now(), 30) == "hangs"


def test_the_command_imports_little() -> None:
    """A check that runs every few seconds loads neither Celery nor Redis's client."""
    code = "import sys, visionq.cli.health; print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"celery", "redis", "openai", "PIL", "rich"} & set(found.stdout.split())
