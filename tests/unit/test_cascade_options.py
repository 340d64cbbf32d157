"""The options of a ladder, and what it asks of each row."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import pytest
from click.testing import CliRunner

from producer.cascade.calibration import Promise
from producer.cascade.ladder import Ladder, LadderQuestion, read_models
from producer.cascade.sampled_rows import RowReader
from producer.compare.answer_fields import rules_of
from producer.prompts import Prompt
from producer.run.run_command import run
from producer.sources import Row
from tests.support.pictures import picture
from visionq.settings import load_settings
from visionq.sureness import Sureness

if TYPE_CHECKING:
    from pathlib import Path

SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "colour": {"enum": ["red", "blue"]},
        "confidence": {"type": "number"},
        "about": {"type": "object", "properties": {"sure": {"type": "number"}}},
    },
}
LUNA, TERRA = "gpt-6-luna", "gpt-6.1-terra"
LADDER: Final = Ladder((LUNA, TERRA), Promise(0.95, 0.95))
AGREE: Final = ("--agree", "0.95")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "photos").mkdir()
    for number in range(70):
        (tmp_path / "photos" / f"{number}.png").write_bytes(picture(number))
    (tmp_path / "card.json").write_text(json.dumps(SCHEMA))
    (tmp_path / "rows.csv").write_text("image,visionq.model\nphotos/0.png,gpt-6-luna\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--cascade", f"{TERRA},{LUNA}", *AGREE), "gpt-6.1-terra is not cheaper than gpt-6-luna"),
        (("--cascade", LUNA, *AGREE), "name 2 to 4 models, the cheapest first"),
        (("--cascade", f"{LUNA},{LUNA}", *AGREE), "a model is named twice"),
        (("--cascade", f"{LUNA},no-such", *AGREE), "no price is known for no-such"),
        (("--cascade", f"{LUNA},{TERRA}"), "--cascade needs --agree"),
        (("--cascade", f"{LUNA},{TERRA}", "--agree", "1.5"), "1.5 is not in the range 0<x<1"),
        (("--cascade", f"{LUNA},{TERRA}", *AGREE, "--confidence", "1"), "0<x<1"),
        (("--cascade", f"{LUNA},{TERRA}", *AGREE, "--sure-field", "certainty"), "'certainty'"),
        (("--cascade", f"{LUNA},{TERRA}", *AGREE, "--model", TERRA), "leave --model out"),
        (("--cascade", f"{LUNA},{TERRA}", *AGREE, "--first", "5"), "leave --first out"),
        (("--cascade", f"{LUNA},{TERRA}", *AGREE, "--only", "a"), "leave --only out"),
        (("--cascade", f"{LUNA},{TERRA}", *AGREE, "--lane", "batch"), "leave --lane batch out"),
        (("--cascade", f"{LUNA},{TERRA}", *AGREE, "--by", "6h"), "leave --by out"),
        (AGREE, "--agree needs --cascade"),
        (("--cascade", f"{LUNA},{TERRA}", *AGREE, "--calibrate", "5"), "--calibrate 37 or more"),
        (("--cascade", f"{LUNA},{TERRA}", *AGREE), "the sample would be all of them"),
    ],
)
def test_a_ladder_that_is_none_is_refused(folder: Path, words: tuple[str, ...], said: str) -> None:
    """In one line, with exit code 2, before anything is asked."""
    common = ("photos", "-p", "?", "--schema", "card.json", "-o", "out.jsonl", "--yes")
    done = CliRunner().invoke(run, [*common, *words])
    assert done.exit_code == 2, done.output
    assert said in " ".join(done.output.split())
    assert not (folder / "out.jsonl").exists()


def test_rows_with_models_of_their_own_are_refused(folder: Path) -> None:
    """A ladder asks the same models of every row."""
    words = ("rows.csv", "-p", "?", "--schema", "card.json", "-o", "out.jsonl", "--yes")
    done = CliRunner().invoke(run, [*words, "--cascade", f"{LUNA},{TERRA}", *AGREE])
    assert done.exit_code == 2, done.output
    assert "column 'visionq.model' says otherwise" in " ".join(done.output.split())
    assert not (folder / "out.jsonl").exists()


def test_kinds_of_sureness_follow_from_schema_and_models() -> None:
    """A field needs its place in the schema, agreement a second cheap model."""
    three = Ladder((LUNA, "gpt-5.6-luna", TERRA), LADDER.promise)
    assert LADDER.kinds(SCHEMA) == (Sureness.FIELD,)
    assert LADDER.kinds(None) == ()
    assert three.kinds(None) == (Sureness.AGREEMENT,)
    assert three.kinds(SCHEMA) == (Sureness.FIELD, Sureness.AGREEMENT)
    likely = Ladder((LUNA, TERRA), LADDER.promise, logprobs=True)
    assert likely.kinds(None) == (Sureness.LOGPROBS,)
    assert likely.kinds(SCHEMA) == (Sureness.LOGPROBS, Sureness.FIELD)
    nested = Ladder((LUNA, TERRA), LADDER.promise, field="about.sure")
    assert nested.kinds(SCHEMA) == (Sureness.FIELD,)
    assert Ladder((LUNA, TERRA), LADDER.promise, field="about.x").kinds(SCHEMA) == ()


def test_models_are_read_in_order() -> None:
    """Spaces do not count; an empty name is none."""
    assert read_models(f"{LUNA}, {TERRA}") == (LUNA, TERRA)
    with pytest.raises(ValueError, match="2 to 4 models"):
        read_models(f"{LUNA},,{TERRA}")


def test_the_lot_falls_on_one_row_in_so_many() -> None:
    """It is the same at each start, regardless of the order of the rows."""
    audited = [number for number in range(20_000) if LADDER.is_audited(f"{number}.png")]
    assert len(audited) == pytest.approx(1_000, rel=0.1)


# Rows ---------------------------------------------------------------------------------------------


READER: Final = RowReader(
    LADDER,
    {name: rule for name, rule in rules_of(SCHEMA).items() if name == "colour"},
    has_schema=True,
    quoted=(1, 9),
)


def row(*steps: dict[str, Any], **fields: Any) -> dict[str, Any]:
    data = {"colour": "red", "confidence": 0.2}
    usual = {"data": data, "text": json.dumps(data), "error": None, "attempt": 1, "cached": False}
    return {"model": TERRA, "cost_rub": "10", "steps": list(steps), **usual, **fields}


def step(colour: str, sure: Any, **fields: Any) -> dict[str, Any]:
    text = json.dumps({"colour": colour, "confidence": sure})
    return {
        "model": LUNA,
        "reason": "unsure",
        "cost_rub": "0.5",
        "text": text,
        "sureness": sure,
        **fields,
    }


def test_a_row_says_what_each_model_answered() -> None:
    """Its cost is divided among them, and the sureness is no part of the answer."""
    found = READER.read(row(step("RED", 0.9)))
    assert found is not None
    (cheap,) = found.steps
    assert (cheap.sureness[Sureness.FIELD], cheap.agrees, cheap.rub) == (0.9, True, 0.5)
    assert found.strong_rub == 9.5
    other = READER.read(row(step("blue", 0.9)))
    assert other is not None
    assert not other.steps[0].agrees


def test_an_answer_that_is_none_has_no_sureness() -> None:
    """Invalid answers go up at any threshold, and stored ones cost what the quote says."""
    for broken in (step("red", 0.9, reason="invalid_output"), step("red", 0.9, text="{")):
        found = READER.read(row(broken))
        assert found is not None
        assert found.steps[0].sureness == {}
    free = READER.read(row(step("red", 0.9, cost_rub="0"), cached=True, cost_rub="0"))
    assert free is not None
    assert (free.steps[0].rub, free.strong_rub) == (1, 9)


def test_log_probabilities_are_read_where_they_were_asked_for() -> None:
    """A step says one kind of sureness; without the option that is not this one."""
    asked = replace(READER, ladder=replace(LADDER, logprobs=True))
    for reader, sureness in ((asked, 0.7), (READER, None)):
        found = reader.read(row(step("red", 0.9, sureness=0.7)))
        assert found is not None
        assert found.steps[0].sureness[Sureness.LOGPROBS] == sureness
        assert found.steps[0].sureness[Sureness.FIELD] == 0.9


def test_rows_that_not_all_models_answered_are_no_sample() -> None:
    """A failed row has nothing to agree with, and a sure answer was not compared."""
    assert READER.read(row(step("red", 0.9), error={"code": "refused"})) is None
    assert READER.read(row()) is None


def test_measured_rows_take_no_near_answer(folder: Path) -> None:
    """Rows by which models are compared are asked themselves; others may have a near answer."""
    options = {"model": LUNA, "near": 4, "answer_schema": SCHEMA}
    asked = LadderQuestion(Prompt("What?"), options, ladder=LADDER)
    settings = load_settings()
    ids = [str(number) for number in range(100)]

    def near(question: LadderQuestion, row_id: str) -> int | None:
        row = Row(1, row_id, (str(folder / "photos" / "0.png"),))
        return question.draft(row, settings, "run-1", 1).job.document.near

    assert {near(asked, one) for one in ids} == {None}  # the sample
    later = replace(asked, sure_at=0.5)
    found = {one: near(later, one) for one in ids}
    assert set(found.values()) == {None, 4}
    assert all((value is None) is LADDER.is_audited(one) for one, value in found.items())
