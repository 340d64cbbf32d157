"""A job that holds the interpreter of its worker costs two workers, and no call."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.fleet import running_fleet
from tests.support.pictures import picture
from tests.support.waiting import until
from visionq import JobFailed

if TYPE_CHECKING:
    from pathlib import Path

#: Stands for a fault of visionq, or of a library, that a prompt brings about.
FAULT = """
import re
from visionq.pricing import vision

forecast = vision.forecast_texts

def forecast_texts(prompt, *others):
    if prompt == "hold":
        re.match("(a+)+$", "a" * 64 + "!")
    return forecast(prompt, *others)

vision.forecast_texts = forecast_texts
"""


@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_job_that_holds_the_interpreter_is_quarantined(tmp_path: Path) -> None:
    """The third worker tries its texts alone, lives on, and works for others meanwhile."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(FAULT)
    path = os.pathsep.join(filter(None, [str(tmp_path / "site"), os.environ.get("PYTHONPATH")]))
    extra = {"PYTHONPATH": path, "VISIONQ_LEASE": "5"}
    with running_fleet(tmp_path, workers=1, concurrency=4, extra=extra) as fleet:
        ask: dict[str, Any] = {"images": [picture(1)]}
        job = fleet.client.submit(prompt="hold", **ask)
        for deaths in (1, 2):
            until(lambda: sum(w.poll() is not None for w in fleet.workers) == deaths, 60, "death")  # noqa: B023  # called here
            assert fleet.workers[-1].poll() == -signal.SIGPROF
            fleet.start_workers(1)
        neighbour = fleet.client.submit(prompt="go on", **ask)
        assert "64x48" in fleet.client.wait(neighbour, timeout=30).text
        with pytest.raises(JobFailed) as caught:
            fleet.client.wait(job, timeout=60)
        assert caught.value.code == "quarantined"
        assert "2 workers died with this job, and then, its question alone" in caught.value.message
        assert caught.value.cost_rub == 0
        assert fleet.simulator.bill()["calls"] == 1
