"""The examples of docs/bulk.md that save calls, run by real workers."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.alike import scene
from tests.support.docs_blocks import ROOT, blocks, shell_lines, visionq_arguments
from tests.support.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.fleet import Fleet

BLOCKS = blocks(ROOT / "docs" / "bulk.md")
QUESTIONS = next(block.text for block in BLOCKS if block.text.startswith("id,file,question"))


def example(option: str) -> list[str]:
    """Return the arguments of the `visionq run` with this option."""
    lines = [line for block in BLOCKS for line in shell_lines(block)]
    (found,) = [line for line in lines if line.startswith("visionq run") and option in line]
    arguments = visionq_arguments(found)
    assert arguments is not None
    return arguments


@pytest.fixture
def folder(fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    fleet.simulator.reset_bill()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    for number in range(1, 4):
        scene(number).save(tmp_path / f"{number}.png")
        scene(number).save(tmp_path / "photos" / f"{number}.png")
        scene(number).save(tmp_path / "photos" / f"{number}-again.jpg", quality=80)
    (tmp_path / "questions.csv").write_text(QUESTIONS)
    return tmp_path


def run(fleet: Fleet, folder: Path, option: str) -> list[dict[str, Any]]:
    done = fleet.visionq(*example(option))
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (folder / "answers.jsonl").read_text().splitlines()]
    paid = sum(Decimal(row["cost_rub"]) for row in rows)
    assert paid == Decimal(fleet.simulator.bill()["rub"])
    assert all(row["text"] and row["error"] is None for row in rows)
    return rows


def test_many_questions_about_one_picture(fleet: Fleet, folder: Path) -> None:
    """Four questions about two pictures are two calls, whose cost the rows share."""
    rows = run(fleet, folder, "--together")
    assert len(rows) == 4
    assert fleet.simulator.bill()["calls"] == 2


def test_near_duplicates(fleet: Fleet, folder: Path) -> None:
    """Six pictures of three scenes are three calls; three rows say whose answer they have."""
    rows = run(fleet, folder, "--near 4")
    assert len(rows) == 6
    assert fleet.simulator.bill()["calls"] == 3
    near = [row for row in rows if row["near"]]
    assert [(row["cost_rub"], row["cached"]) for row in near] == [("0", True)] * 3

    def is_counted() -> bool:  # workers write their counters once a second
        shown = json.loads(fleet.visionq("spend", "--json").stdout)
        return bool(shown["near_answers"] == len(near))

    until(is_counted, 20, "the near-duplicates to be counted")
