"""The page on metrics names those that are served: no more, no fewer."""

from __future__ import annotations

import re
from pathlib import Path

from monitoring.exporter.catalogue import ALL

PAGE = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text("utf-8")
ROWS = re.findall(r"^\| `(visionq_\w+)` \| (.*?) ?\| (.+) \|$", PAGE, re.MULTILINE)


def test_each_metric_has_its_row() -> None:
    """Name, labels and meaning of every metric are in the tables as they are served."""
    said = {name: (re.findall(r"`(\w+)`", labels), text) for name, labels, text in ROWS}
    assert said == {metric.name: (list(metric.labels), metric.help) for metric in ALL}
    assert len(ROWS) == len(ALL)


def test_names_in_the_text_exist() -> None:
    """Every other name on the page is a metric, or a part of a histogram."""
    named = set(re.findall(r"\bvisionq_\w+", PAGE))
    tails = ("_bucket", "_sum", "_count")
    known = {metric.name for metric in ALL}
    assert {re.sub(f"({'|'.join(tails)})$", "", name) for name in named} <= known
