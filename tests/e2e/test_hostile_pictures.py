"""Hostile pictures through a real worker at its full concurrency."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.fleet import running_fleet
from tests.support.hostile_pictures import Hostile, cheap, costly, heavy
from visionq.errors import JobFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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


@pytest.mark.parametrize(
    ("make", "models"),
    [
        pytest.param(heavy, ("gpt-5.6-sol",), id="heavy"),
        pytest.param(costly, ("gpt-5.6-sol", "gpt-5.4-mini"), id="all", marks=pytest.mark.long),
    ],
)
def test_memory_at_full_concurrency(
    make: Callable[[], Iterator[Hostile]], models: tuple[str, ...], tmp_path: Path
) -> None:
    """However hostile 64 pictures at once are, each has its code and the worker stays in 512 MB."""
    files = [file for file in (*cheap(), *make()) if file.data]  # the client refuses an empty one
    asked = [(file, model) for model in models for file in files]
    with running_fleet(tmp_path, workers=1, concurrency=64) as fleet:
        before = peak_memory(fleet.workers[0].pid)
        jobs = [
            fleet.client.submit(prompt="?", images=[(file.name, file.data)], model=model)
            for file, model in asked
        ]
        fates = [fate(fleet.client, job) for job in jobs]
        after = peak_memory(fleet.workers[0].pid)
    wrong = [
        (file.name, found)
        for (file, _), found in zip(asked, fates, strict=True)
        if found not in file.codes
    ]
    print(f"peak memory {before} MB before, {after} MB after {len(jobs)} pictures")  # noqa: T201  # shown by -s
    assert wrong == []
    assert after <= MOST_MEMORY
