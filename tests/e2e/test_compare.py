"""`visionq compare` against real workers and simulated models whose quality is known."""

from __future__ import annotations

import json
import shlex
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import pytest
from PIL import Image

from tests.support.docs_blocks import ROOT, blocks, shell_lines, visionq_arguments
from tests.support.fleet import running_fleet
from tests.support.pictures import picture
from visionq.devstack.simulator.seen_pictures import look
from visionq.devstack.simulator.truths import truth_of
from visionq.ledger.views import job_document
from visionq.names import BLOB
from visionq.sdk import Client

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.fleet import Fleet

ROWS: Final = 60
ACCURACIES: Final = {"gpt-6-luna@low": 0.6, "gpt-6-luna": 0.95, "gpt-6.1-terra": 1.0}
PAGE: Final = blocks(ROOT / "docs" / "compare.md")
CARD: Final = next(block.text for block in PAGE if block.language == "json")
LOW: Final = ("--variant", "model=gpt-6-luna,detail=low")
HIGH: Final = ("--variant", "model=gpt-6-luna,detail=high")


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with running_fleet(tmp_path_factory.mktemp("fleet"), workers=1, concurrency=32) as running:
        yield running


@pytest.fixture
def folder(fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Sixty pictures, the schema of the documentation, and what is true of the pictures."""
    fleet.simulator.configure(accuracies=ACCURACIES)
    fleet.simulator.reset_bill()
    fleet.redis.flushall()
    (tmp_path / "photos").mkdir()
    golden = []
    for number in range(ROWS):
        content = picture(number * 4099 + 7)
        (tmp_path / "photos" / f"{number:02}.png").write_bytes(content)
        truth = truth_of(json.loads(CARD), look(content, "image").colour)
        golden.append(json.dumps({"id": f"{number:02}.png", "data": truth}) + "\n")
    (tmp_path / "golden.jsonl").write_text("".join(golden))
    (tmp_path / "card.json").write_text(CARD)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def compare(fleet: Fleet, *words: str, prompt: str = "What is sold?") -> tuple[int, Any, str]:
    schema = () if "-" in words else ("--schema", "card.json")
    words = tuple(word for word in words if word != "-")
    common = ("photos", "-p", prompt, *schema, "-o", "compare.jsonl", "--yes", "--json")
    done = fleet.visionq("compare", *common, *words)
    return done.returncode, json.loads(done.stdout) if done.stdout else None, done.stderr


def test_the_better_variant_is_found(fleet: Fleet, folder: Path) -> None:
    """Rightness follows the simulator's truth, costs its bill; a second comparison is free."""
    code, found, said = compare(fleet, "--golden", "golden.jsonl", "--sample", "60", *LOW, *HIGH)
    assert code == 0, said
    low, high = found["variants"]
    assert low["right"]["value"] == pytest.approx(0.6**3, abs=0.15)
    assert high["right"]["low"] < 0.95**3 < high["right"]["high"]
    assert [one["is_certain"] for one in found["differences"]] == [True]
    colour = next(one for one in found["pairs"][0]["fields"] if one["field"] == "colour")
    assert colour["agreement"]["low"] < 0.6 < colour["agreement"]["high"]
    bill = fleet.simulator.bill()
    assert bill["billed"] == 2 * ROWS
    assert Decimal(found["spent_rub"]) == Decimal(bill["rub"])
    assert low["source_rub"]["value"] == pytest.approx(float(low["spent_rub"]))
    rows = [json.loads(line) for line in (folder / "compare.jsonl").read_text().splitlines()]
    assert len(rows) == ROWS
    assert all(row["differ"] for row in rows if row["answers"]["A"] != row["answers"]["B"])
    assert (folder / "compare.html").read_text().count("<img") == sum(
        bool(r["differ"]) for r in rows
    )

    again, figures, said = compare(fleet, "--golden", "golden.jsonl", *LOW, *HIGH)
    assert (again, figures["sample"]) == (0, 50), said
    fleet.redis.flushall()
    assert compare(fleet, "--golden", "golden.jsonl", "--sample", "60", *LOW, *HIGH)[1] == found
    assert fleet.simulator.bill()["billed"] == 2 * ROWS


def test_a_budget_stops_it_and_more_goes_on(fleet: Fleet, folder: Path) -> None:
    """One budget for all variants; what is answered is not asked again."""
    short = ("--max-output-tokens", "64", *LOW, *HIGH)
    code, found, said = compare(fleet, "--max-rub", "0.1", *short)
    assert (code, found) == (4, None), said
    assert "stopped by --max-rub" in said
    assert Decimal(fleet.simulator.bill()["rub"]) <= Decimal("0.1")
    assert not (folder / "compare.jsonl").exists()
    code, found, said = compare(fleet, "--max-rub", "100", *short)
    assert code == 0, said
    assert fleet.simulator.bill()["billed"] == 2 * 50
    assert found["golden"] is None


def test_failures_are_figures(fleet: Fleet, folder: Path) -> None:
    """A picture that is none fails in all variants, and ends nothing."""
    (folder / "photos" / "00.png").write_bytes(b"no picture")
    code, found, said = compare(fleet, "--sample", "60", *LOW, *HIGH)
    assert code == 0, said
    assert [one["failed"] for one in found["variants"]] == [{"not_an_image": 1}] * 2


def test_a_judge_sees_who_is_right(fleet: Fleet, folder: Path) -> None:
    """Asked in both orders, it prefers the text that is true of the picture, converted or not."""
    for path in (folder / "photos").iterdir():
        Image.open(path).save(path, "BMP")
    words = (
        "--sample", "30", "--convert", *LOW, "--variant", "model=gpt-6.1-terra",
        "--judge", "gpt-6.1-terra",
    )  # fmt: skip
    code, found, said = compare(fleet, "-", *words)
    assert code == 0, said
    (judged,) = found["judged"]
    assert judged["rows"] == judged["judged"] == judged["second_preferred"] > 5
    assert judged["preference"]["low"] > 0.5
    assert fleet.simulator.bill()["billed"] == 60 + 2 * judged["rows"]
    asked = ("photos", "-p", "What is sold?", "-o", "compare.jsonl", "--json")
    again = fleet.visionq("compare", *asked, *words)  # asks nothing, nor whether to begin
    assert again.returncode == 0, again.stderr


def test_the_example_of_the_documentation(fleet: Fleet, folder: Path) -> None:
    """Its command works unchanged, and writes what the page says."""
    block = next(one for one in PAGE if "visionq compare" in one.text)
    (line,) = shell_lines(block)
    words = visionq_arguments(line)
    assert words is not None, shlex.split(line)
    done = fleet.visionq(*words)
    assert done.returncode == 0, done.stderr
    for said in ("strong", "price", "20 pictures:", "compare.html"):
        assert said in done.stdout
    assert len((folder / "compare.jsonl").read_text().splitlines()) == 20


def test_the_example_of_a_migration(fleet: Fleet, folder: Path) -> None:
    """It pays for the new model alone, moves jobs without a model there, and can be undone."""
    block = next(one for one in PAGE if "visionq models migrate" in one.text)
    migrate, undo = map(visionq_arguments, shell_lines(block))
    assert migrate is not None
    assert undo is not None
    schema = json.loads(CARD)
    asked = [
        {"prompt": f"What is sold by {number}?", "images": [path], "answer_schema": schema}
        for number, path in enumerate(sorted((folder / "photos").iterdir())[:24])
    ]
    jobs = list(fleet.client.submit_many(asked))
    for job in jobs:
        fleet.client.wait(job, 30)
    gone = job_document(fleet.redis, jobs[0].id)
    assert gone is not None
    fleet.redis.delete(BLOB + gone.blobs[0])
    before = fleet.simulator.bill()
    done = fleet.visionq(*migrate, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["questions"] == {"found": 24, "available": 23, "gone": 1}
    assert found["migrated"] is True
    after = fleet.simulator.bill()
    assert after["billed"] - before["billed"] == 20
    comparison = found["comparison"]
    paid = Decimal(after["rub"]) - Decimal(before["rub"])
    assert Decimal(comparison["spent_rub"]) == paid
    old, new = comparison["variants"]
    assert (old["model"], old["cached"], new["model"]) == ("gpt-6-luna", 20, "gpt-6.1-terra")
    assert {one["field"] for one in comparison["pairs"][0]["fields"]} == set(schema["properties"])
    assert "ends" not in {one["before"] for one in found["changes"]}
    assert (folder / "migrate-gpt-6-luna-gpt-6.1-terra.html").read_text().count("<img")
    with Client(redis_url=fleet.server.url) as client:
        moved = job_document(fleet.redis, client.submit(**asked[1]).id)
    assert moved is not None
    assert moved.model == "gpt-6.1-terra"
    assert fleet.visionq(*undo).returncode == 0
    shown = fleet.read("models", "show")
    assert (shown["asked"], len(shown["changes"])) == ("gpt-6-luna", 2)
