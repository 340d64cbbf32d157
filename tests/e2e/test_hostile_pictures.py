"""Hostile pictures through a real worker at its full concurrency."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.e2e.fleet import running_fleet
from tests.hostile_pictures import cheap, costly
from visionq.errors import JobFailed

if TYPE_CHECKING:
    from visionq.sdk import Client, Job

#: Resident memory of a worker process, in MB.
MOST_MEMORY = 512


def peak_memory(pid: int) -> int:
    """Return the most memory that a process has had, in MB."""
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        pytest.skip("only Linux tells the peak of another process")
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) // 1024


def fate(client: Client, job: Job) -> str:
    try:
        client.wait(job, timeout=100)
    except JobFailed as error:
        return error.code
    return "sent"


def test_memory_at_full_concurrency(tmp_path: Path) -> None:
    """However hostile 64 pictures at once are, each has its code and the worker stays in 512 MB."""
    files = [*cheap(), *costly()]
    with running_fleet(tmp_path, workers=1, concurrency=64) as fleet:
        before = peak_memory(fleet.workers[0].pid)
        jobs = [
            fleet.client.submit(
                prompt=f"{number}?", images=[(file.name, file.data)], model=model, detail="auto"
            )
            for number, model in enumerate(("gpt-4o", "gpt-5.6-sol"))
            for file in files
            if file.data  # the client refuses an empty one
        ]
        expected = [file for _ in range(2) for file in files if file.data]
        fates = [fate(fleet.client, job) for job in jobs]
        wrong = [
            (file.name, found)
            for file, found in zip(expected, fates, strict=True)
            if found not in file.codes
        ]
        after = peak_memory(fleet.workers[0].pid)
    print(f"peak memory {before} MB before, {after} MB after {len(jobs)} pictures")  # noqa: T201  # shown by -s
    assert wrong == []
    assert after <= MOST_MEMORY
