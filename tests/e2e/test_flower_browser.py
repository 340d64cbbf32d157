"""Flower as the operator sees it, in a real browser."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import pytest

from tests.support.chromium import PROGRAM, browsing
from tests.support.fleet import running_fleet
from tests.support.flower import PASSWORD, USER, running_flower
from tests.support.pictures import picture
from tests.support.waiting import until
from visionq.ledger.gates import read_gate

if TYPE_CHECKING:
    from tests.support.fleet import Fleet

CHROMIUM: Final = shutil.which(PROGRAM)
#: Where to leave the pictures: `SCREENSHOTS=docs/images` renews those of the documentation.
PICTURES: Final = os.environ.get("SCREENSHOTS")
LIMIT: Final = 200_000

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no `chromium` on PATH: apt-get install chromium"),
    pytest.mark.timeout(180),
]


async def test_operator_sees_it(tmp_path: Path) -> None:
    """Behind the password are the worker, a success, a retry and a failure with their codes."""
    with (
        running_fleet(tmp_path, workers=1) as fleet,
        running_flower(tmp_path, fleet.server.url) as flower,
    ):
        until(lambda: len(flower.workers()) == 1, 30, "the worker in Flower")
        work_on_all_kinds(fleet)
        seen = await look(f"127.0.0.1:{flower.port}", tmp_path / "profile")
    check(seen)


def check(seen: dict[str, bytes]) -> None:
    for name, content in seen.items():
        assert content.startswith(b"\x89PNG")
        assert len(content) < LIMIT
        if PICTURES:
            Path(PICTURES, name).write_bytes(content)


def work_on_all_kinds(fleet: Fleet) -> None:
    """Make jobs of which four complete, two of them after a retry, one fails and one is held."""

    def submit(content: bytes) -> None:
        fleet.client.submit(prompt="Что изображено?", images=[content])

    fleet.simulator.configure(faults_next=["429", "500"])
    for number in range(4):
        submit(picture(number))
    submit(picture(9)[:-30])
    fleet.wait_for_counts(60, completed=4, failed=1)
    fleet.simulator.configure(balance_rub=0)
    submit(picture(10))
    # The gate has closed: the job is back in its lane.
    until(lambda: read_gate(fleet.redis).state == "closed", 60, "the gate to close")
    fleet.wait_for_counts(60, completed=4, failed=1, queued=1)


async def look(site: str, profile: Path) -> dict[str, bytes]:
    """Log in and look at the two pages; return what they look like."""
    async with browsing(str(CHROMIUM), profile, (1920, 960)) as page:
        await page.open(f"http://{site}/tasks")
        assert "Tasks" not in await page.text()
        await page.open(f"http://{USER}:{quote(PASSWORD)}@{site}/tasks")
        shown = await page.text_with("SUCCESS", "FAILURE", "RETRY", "of 6 tasks")
        assert "corrupt_image: picture 1" in shown
        assert "parked: insufficient_balance" in shown
        assert "completed cost_rub=" in shown
        assert "tenant=default model=gpt-6-luna pictures=1" in shown
        assert "Что изображено" not in shown
        tasks = await page.screenshot()
        await page.open(f"http://{site}/workers")
        # Active, processed, failed, succeeded: as of the last heartbeat, so the page is waited for;
        # it renews itself each second.
        row = r"-worker-0@\S+ Online 0 \d+ 1 4 "
        await page.text_matching(row, "Showing 1 to 1 of 1 workers")
        workers = await page.screenshot()
    return {"flower-tasks.png": tasks, "flower-workers.png": workers}
