"""A real run, seen through a real Prometheus."""

from __future__ import annotations

import json
import math
import time
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

import pytest

from tests.support.fleet import jobs, running_fleet
from tests.support.prometheus import (
    Server,
    needs_prometheus,
    running_exporter,
    running_prometheus,
)
from tests.support.waiting import until
from visionq.ledger import BudgetScope, Ledger
from visionq.names import FINISHED

if TYPE_CHECKING:
    from tests.support.fleet import Fleet

pytestmark = [needs_prometheus, pytest.mark.timeout(240)]

DASHBOARD = json.loads(
    (Path(__file__).parents[2] / "monitoring/grafana/dashboards/visionq.json").read_text("utf-8")
)
PROMPT = "canary-question"
KEY = "sk-canary-key-5d21"
#: Seconds over which the panel of jobs a second takes its rate.
WINDOW = 60


def expressions() -> dict[str, str]:
    """Return `panel, letter` → what is asked."""
    return {
        f"{panel['title']}, {target['refId']}": target["expr"]
        for panel in DASHBOARD["panels"]
        for target in panel.get("targets", ())
    }


def feed(fleet: Fleet) -> None:
    """Submit steady work for more than a window, and a little of everything else."""
    fleet.simulator.configure(latency_s=0.25, faults_next=["503", "503"])
    # One batch is back at once, the next stays out.
    fleet.simulator.configure(batch_durations_next=[0], batch_duration_s=50_000)
    lines = [{**job, "prompt": PROMPT, "lane": "batch"} for job in jobs(6, first=2000)]
    list(fleet.client.submit_many(lines))
    ledger = Ledger(fleet.redis)
    ledger.set_budget(BudgetScope.tenant("default"), Decimal(10_000))
    broken = {"prompt": PROMPT, "images": [b"no picture"]}
    again = {"prompt": PROMPT, "images": [next(jobs(1))["images"][0]]}
    steady = [{**job, "prompt": PROMPT} for job in jobs(1400, first=1)]
    list(fleet.client.submit_many([broken, again, *steady[:20], again, *steady[20:]]))


def own_rate(fleet: Fleet, moment: float) -> float:
    """Return completed jobs a second in the window before a moment, as the ledger lists them."""
    since, until_ = (moment - WINDOW) * 1000, moment * 1000
    return float(fleet.redis.zcount(FINISHED, since, until_)) / WINDOW


def value_of(result: list[dict[str, Any]]) -> float:
    assert len(result) == 1, result
    return float(result[0]["value"][1])


def text_of(url: str) -> str:
    with urlopen(f"http://{url}/metrics", timeout=10) as response:  # our own, on loopback
        return str(response.read().decode())


def test_panels_show_a_real_run(tmp_path: Path) -> None:
    """Every panel has data, jobs a second are those of the run, and nothing says what was asked."""
    with (
        running_fleet(tmp_path, workers=1, concurrency=4, extra={"PROXYAPI_API_KEY": KEY}) as fleet,
        running_exporter(fleet, tmp_path / "exporter.log") as exporter,
        running_prometheus(tmp_path / "prometheus", exporter) as prometheus,
    ):
        feed(fleet)
        until(lambda: fleet.counts().get("completed", 0) > 20, 60, "the first answers")
        time.sleep(WINDOW + 5)
        moment = time.time()
        assert fleet.counts().get("queued", 0) > 0, "the run has to last for the whole window"
        time.sleep(1.5)  # the scrape after the moment
        assert_panels_have_data(prometheus, moment)
        seen = prometheus.query(expressions()["Jobs per second, A"], time=str(moment))
        assert value_of(seen) == pytest.approx(own_rate(fleet, moment), rel=0.1)
        text = text_of(exporter)
        labels = json.dumps(prometheus.get("series", **{"match[]": '{job="visionq"}'}))
    for canary in (PROMPT, KEY, "iVBORw0KGgo", "data:image"):
        assert canary not in text
        assert canary not in labels
        assert canary not in (tmp_path / "exporter.log").read_text()


def assert_panels_have_data(prometheus: Server, moment: float) -> None:
    empty = []
    for name, expression in expressions().items():
        values = [float(one["value"][1]) for one in prometheus.query(expression, time=str(moment))]
        if not values or all(map(math.isnan, values)):
            empty.append(name)
    assert empty == []
