"""`visionq run --cascade` against real workers and simulated models whose quality is known."""

from __future__ import annotations

import json
import shlex
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.support.docs_blocks import ROOT, blocks, shell_lines
from tests.support.fleet import running_fleet
from tests.support.pictures import picture
from visionq.devstack.simulator.seen_pictures import look
from visionq.devstack.simulator.truths import truth_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.fleet import Fleet

ROWS: Final = 120
CHEAP, MIDDLE, STRONG = "gpt-6-luna", "gpt-5.6-luna", "gpt-6.1-terra"
LADDER: Final = f"{CHEAP},{STRONG}"
#: A sample is drawn by the path of OUT: by this one, each run of a test draws the same rows.
OUT: Final = "/proc/self/cwd/out.jsonl"
PROMISE: Final = ("--agree", "0.9", "--confidence", "0.9")
PAGE: Final = blocks(ROOT / "docs" / "cascade.md")
CARD: Final = next(block.text for block in PAGE if block.language == "json")
EXAMPLE: Final = next(block for block in PAGE if block.language == "sh")


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with running_fleet(tmp_path_factory.mktemp("fleet"), workers=1, concurrency=32) as running:
        yield running


@pytest.fixture
def folder(fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Pictures, the schema, and models of which the cheap one knows when it is wrong."""
    quality(fleet, 0.75, "informed")
    fleet.simulator.reset_bill()
    fleet.redis.flushall()
    (tmp_path / "photos").mkdir()
    for number in range(ROWS):
        (tmp_path / "photos" / f"{number:03}.png").write_bytes(picture(number * 4099 + 7))
    (tmp_path / "card.json").write_text(CARD)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def quality(fleet: Fleet, accuracy: float, sureness: str) -> None:
    fleet.simulator.configure(accuracies={CHEAP: accuracy, STRONG: 1.0}, sureness={CHEAP: sureness})


def run(fleet: Fleet, *words: str, ladder: str = LADDER) -> tuple[int, Any, str]:
    common = ("photos", "-p", "What is sold?", "--schema", "card.json", "-o", OUT)
    given = ("--cascade", ladder, "--yes", "--json", *words)
    done = fleet.visionq("run", *common, *given)
    return done.returncode, json.loads(done.stdout) if done.stdout else None, done.stderr


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()]


def written(text: str) -> str:
    """Return what was printed, without the breaks of its lines."""
    return " ".join(text.split())


def agreement(folder: Path) -> float:
    """Return the share of rows that are as the strong model, which is always right, says."""
    schema, right = json.loads(CARD), 0
    for row in rows_of(folder):
        content = (folder / "photos" / row["id"]).read_bytes()
        truth = truth_of(schema, look(content, "image").colour)
        right += row["data"]["colour"] == truth["colour"]
    return right / len(rows_of(folder))


def test_a_ladder_keeps_its_promise_and_saves(fleet: Fleet, folder: Path) -> None:
    """As its page shows it: a sample, unsure rows go up, and ledger, OUT and bill say the same."""
    words = shlex.split(shell_lines(EXAMPLE)[0].replace("out.jsonl", OUT))[1:]
    done = fleet.visionq(*words, "--audit", "5", "--json")
    assert done.returncode == 0, done.stderr
    said, found = written(done.stderr), json.loads(done.stdout)
    assert "90.0% of the rows as gpt-6.1-terra would answer them, with confidence 90.0%" in said
    bill, ladder, rows = fleet.simulator.bill(), found["cascade"], rows_of(folder)
    assert Decimal(found["cost_rub"]) == Decimal(bill["rub"])
    assert (ladder["sureness"], len(rows)) == ("field", ROWS)
    assert 0 < ladder["strong_share"] < 1
    assert agreement(folder) >= 0.9
    assert Decimal(ladder["saved_rub"]) > 0
    up = [row for row in rows if row["model"] == STRONG]
    assert len(up) >= ladder["sampled"] + ladder["audited"]
    assert all([step["model"] for step in row["steps"]] == [CHEAP] for row in up)
    assert bill["billed"] == ROWS + len(up)
    assert "audit: " in said

    again = fleet.visionq(*words, "--audit", "5", "--json")
    assert again.returncode == 0, again.stderr
    assert fleet.simulator.bill() == bill


def test_sureness_that_misleads_leaves_the_strong_model(fleet: Fleet, folder: Path) -> None:
    """No threshold keeps the promise: the run stops after its sample, or asks the strong one."""
    quality(fleet, 0.3, "adversarial")
    code, found, said = run(fleet, *PROMISE)
    assert code == 4, said
    assert found["outcome"] == "unpromised"
    assert "no threshold keeps the promise for less than gpt-6.1-terra alone costs" in written(said)
    sampled = found["cascade"]["sampled"]
    assert fleet.simulator.bill()["billed"] == 2 * sampled == 2 * found["rows"]
    code, found, said = run(fleet, *PROMISE, "--strong", "rest")
    assert (code, found["outcome"]) == (0, "done"), said
    assert agreement(folder) == 1
    assert fleet.simulator.bill()["billed"] == sampled + ROWS


def test_an_audit_stops_what_no_longer_agrees(fleet: Fleet, folder: Path) -> None:
    """A model that changes after the sample is found out, and all its answers are asked again."""
    quality(fleet, 0.95, "informed")
    code, found, said = run(fleet, *PROMISE)
    assert code == 0, said
    cheap = [row["id"] for row in rows_of(folder) if not row.get("steps")]
    rows = [row for row in rows_of(folder) if row.get("steps")]
    (folder / "out.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    fleet.redis.flushall()
    quality(fleet, 0.1, "adversarial")
    code, found, said = run(fleet, *PROMISE, "--audit", "2")
    assert code == 4, said
    assert found["outcome"] == "disagrees"
    assert found["cascade"]["differing"] > 0.1 * found["cascade"]["audited"]
    assert "agreement is below the promise" in written(said)
    assert len(cheap) > ROWS // 8
    code, found, said = run(fleet, *PROMISE, "--strong", "all")
    assert (code, found["rows"]) == (0, ROWS), said
    assert agreement(folder) == 1
    assert run(fleet, *PROMISE, "--audit", "2")[0] == 0


def test_three_models_may_agree_instead(fleet: Fleet, folder: Path) -> None:
    """Of a field that misleads, no probabilities and equal answers, the sample takes the last."""
    fleet.simulator.configure(
        accuracies={CHEAP: 0.8, MIDDLE: 0.8, STRONG: 1.0},
        sureness={CHEAP: "adversarial", MIDDLE: "adversarial"},
    )
    ladder = f"{CHEAP},{MIDDLE},{STRONG}"
    words = ("--agree", "0.9", "--confidence", "0.8", "--logprobs")
    code, found, said = run(fleet, *words, ladder=ladder)
    assert code == 0, said
    assert found["cascade"]["sureness"] == "agreement", said
    assert Decimal(found["cost_rub"]) == Decimal(fleet.simulator.bill()["rub"])
    assert agreement(folder) >= 0.9


def test_log_probabilities_need_no_field(fleet: Fleet, folder: Path) -> None:
    """A schema without a sureness has one where they are asked for."""
    schema = json.loads(CARD)
    del schema["properties"]["confidence"]
    schema["required"].remove("confidence")
    (folder / "card.json").write_text(json.dumps(schema))
    code, found, said = run(fleet, *PROMISE, "--logprobs")
    assert code == 0, said
    assert found["cascade"]["sureness"] == "logprobs"
    assert 0 < found["cascade"]["strong_share"] < 0.6
    assert agreement(folder) >= 0.9
