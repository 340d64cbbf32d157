"""A picture that kills its decoder is found out, and costs no more than two workers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.deadly_picture import DEADLY, install_killer
from tests.support.fleet import Fleet, running_fleet
from tests.support.pictures import picture
from tests.support.waiting import until
from visionq import JobFailed

if TYPE_CHECKING:
    from pathlib import Path


def dead(fleet: Fleet) -> int:
    return sum(worker.poll() is not None for worker in fleet.workers)


def test_a_picture_that_kills_is_quarantined(tmp_path: Path) -> None:
    """Two workers die; the third prepares it alone, lives on, and fails the job at no cost."""
    environment = install_killer(tmp_path / "site")
    ask: dict[str, Any] = {"prompt": "Что изображено?", "pictures": {"logo": "warn"}}
    with running_fleet(tmp_path, workers=1, concurrency=4, extra=environment) as fleet:
        job = fleet.client.submit(images=[("deadly.png", DEADLY)], **ask)
        for deaths in (1, 2):
            until(lambda: dead(fleet) == deaths, 30, f"death {deaths}")  # noqa: B023  # called here
            fleet.start_workers(1)
        with pytest.raises(JobFailed) as caught:
            fleet.client.wait(job, timeout=40)
        assert caught.value.code == "quarantined"
        assert caught.value.image == "deadly.png"
        assert "2 workers died" in caught.value.message
        assert "SIGKILL" in caught.value.message
        assert f"visionq jobs picture {job.id} 1" in caught.value.message
        assert caught.value.cost_rub == 0
        assert fleet.simulator.bill()["calls"] == 0
        good = fleet.client.submit(images=[picture(7)], **ask)
        assert "64x48" in fleet.client.wait(good, timeout=20).text
        assert dead(fleet) == 2
