"""What a comparison is made of: variants, golden set, rows by lot; bad input is one line."""

from __future__ import annotations

import io
import json
import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from producer.compare.answer_fields import FieldKind, FieldRule, fields_of, read_rule, rules_of
from producer.compare.compare_command import compare
from producer.compare.golden_set import GoldenSet, read_golden
from producer.compare.stratified_sample import draw_sample, shares
from producer.compare.variants import make_variants, read_variant
from producer.sources import Row, open_source
from tests.support.pictures import picture
from visionq.errors import InvalidSource, VisionqError
from visionq.settings import load_settings

if TYPE_CHECKING:
    from pathlib import Path

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "colour": {"type": "string", "enum": ["red", "blue"]},
        "price": {"type": ["number", "null"]},
        "parts": {"type": "array", "items": {"type": "string"}},
        "size": {"$ref": "#/$defs/size"},
        "title": {"anyOf": [{"type": "null"}, {"type": "string"}]},
    },
    "$defs": {"size": {"type": "object", "properties": {"side": {"type": "integer"}}}},
}
RULES = rules_of(SCHEMA)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Forty pictures and a table of them, two of which are of another kind."""
    (tmp_path / "photos").mkdir()
    rows = ["id,image,kind"]
    for number in range(40):
        (tmp_path / "photos" / f"{number}.png").write_bytes(picture(number))
        rows.append(f"p{number},photos/{number}.png,{'rare' if number in (3, 7) else 'usual'}")
    (tmp_path / "goods.csv").write_text("\n".join(rows) + "\n")
    (tmp_path / "card.json").write_text(json.dumps(SCHEMA))
    monkeypatch.chdir(tmp_path)
    return tmp_path


# Fields -------------------------------------------------------------------------------------------


def test_the_schema_says_how_fields_are_compared() -> None:
    """Nested fields have names with points, alternatives with null are what else they are."""
    kinds = {name: rule.kind.value for name, rule in RULES.items()}
    assert kinds == {
        "colour": "label",
        "price": "number",
        "parts": "list",
        "size.side": "number",
        "title": "text",
    }
    assert rules_of(None) == {"text": FieldRule(FieldKind.TEXT)}
    assert set(rules_of({"type": "array", "items": {}})) == {"answer"}
    loop = {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}
    assert set(rules_of(loop)) == {"answer"}
    assert fields_of({"data": {"size": {"side": 1}, "x": None}}) == {"size.side": 1, "x": None}
    assert fields_of({"data": None, "text": "a"}) == {"text": "a"}


def test_a_rule_can_be_given() -> None:
    """A tolerance is absolute or a share; what has no such form is refused with the forms."""
    name, rule = read_rule("price=number:2%")
    assert (name, rule.agree(100, 102), rule.agree(100, 103)) == ("price", True, False)
    assert read_rule("price=number:0.5")[1].agree(1, 1.5)
    assert not read_rule("price=number")[1].agree(1, 1.01)
    for wrong in ("price", "=label", "price=foo", "price=label:2", "price=number:-1", "p=number:x"):
        with pytest.raises(ValueError, match=r"NAME=KIND|a tolerance"):
            read_rule(wrong)


def test_values_agree_by_kind() -> None:
    """No value agrees with none alone; lists in any order, texts but for case and marks."""
    for kind in FieldKind:
        assert FieldRule(kind).agree(None, None)
        assert not FieldRule(kind).agree(None, "x")
    assert FieldRule(FieldKind.LIST).agree(["a", "b"], ["B", "a"])
    assert FieldRule(FieldKind.LIST).score(["a", "b"], ["a"]) == pytest.approx(2 / 3)
    assert FieldRule(FieldKind.LIST).overlap(["a", "b"], ["a"]) == 0.5
    assert FieldRule(FieldKind.TEXT).agree("A jacket.", "a Jacket")
    assert FieldRule(FieldKind.NUMBER).agree(1, 1.0)
    assert not FieldRule(FieldKind.NUMBER).agree(1, "one")
    assert FieldRule(FieldKind.LABEL).agree(True, "true")  # noqa: FBT003  # a label
    assert FieldRule(FieldKind.LABEL).score("a", "a") is None
    for kind in (FieldKind.LABEL, FieldKind.LIST):
        assert not FieldRule(kind).agree("<10", ">10")
    assert not FieldRule(FieldKind.TEXT).agree("👍", "👎")


# Variants -----------------------------------------------------------------------------------------


def variants_of(*given: str, **base: Any) -> Any:
    return make_variants(
        [read_variant(one) for one in given],
        base={"prompt": "What is it?", **base},
        source=open_source("photos"),
        settings=load_settings(),
        stdin=io.BytesIO(),
    )


@pytest.mark.usefixtures("folder")
def test_a_variant_is_the_command_with_its_own_fields(folder: Path) -> None:
    """From the command line or a file; a comma within a value is no end of it."""
    (folder / "b.toml").write_text('prompt = "Name it, please."\nschema = "card.json"\n')
    a, b, c = variants_of("model=gpt-6-luna,detail=low", "@b.toml", "prompt=Which one, a or b?")
    assert (a.letter, a.name, a.model) == ("A", "gpt-6-luna, low", "gpt-6-luna")
    assert a.question.options["detail"] == "low"
    assert b.question.prompt.text == "Name it, please."
    assert b.schema == SCHEMA
    assert c.question.prompt.text == "Which one, a or b?"
    assert len({one.digest for one in (a, b, c)}) == 3
    soon, late = (
        variants_of("detail=low", "detail=high", by=datetime.now(UTC) + timedelta(hours=hours))[0]
        for hours in (1, 2)
    )
    assert soon.digest == late.digest  # `--by 1h` again finds its answers
    (folder / "other.json").write_text('{"type": "object", "properties": {"x": {}}}')
    own = variants_of("schema=other.json", "detail=low", schema=folder / "card.json")
    assert [set((one.schema or {})["properties"]) for one in own] == [
        {"x"},
        {*SCHEMA["properties"]},
    ]
    (recipe, plain) = variants_of("recipe=receipt", "detail=low")
    assert recipe.question.prompt.text not in ("What is it?", "")
    assert recipe.schema is not None
    assert plain.schema is None
    assert variants_of("crops=yes", "temperature=0.5")[1].question.options["temperature"] == 0.5


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("", "sets nothing"),
        ("name=x", "sets nothing"),
        ("nonsense", "give NAME=VALUE"),
        ("modle=x", "there is no 'modle'"),
        ("detail=low,detail=high", "sets 'detail' twice"),
        ("@none.toml", "No such file"),
        ("@photos/1.png", "not TOML"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_a_variant_that_is_none(given: str, said: str) -> None:
    """It is refused with what is wrong."""
    with pytest.raises(ValueError, match=said):
        read_variant(given)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("detail=low", "detail=low"), "variants A and B ask the same"),
        (("detail=low", "detail=blurry"), "variant B: detail"),
        (("model=nope", "detail=low"), "variant A: .*no price is known for nope"),
        (("prompt={x}", "detail=low"), "asks for {x}"),
        (("temperature=warm", "detail=low"), "variant A: temperature: 'warm' is not a number"),
        (tuple(f"temperature=0.{n}" for n in range(1, 14)), "at most 12"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_variants_that_can_not_be_asked(given: tuple[str, ...], said: str) -> None:
    """The message names the variant."""
    with pytest.raises((click.UsageError, VisionqError), match=said):
        variants_of(*given)


@pytest.mark.usefixtures("folder")
def test_a_variant_goes_before_a_row() -> None:
    """Else a column `visionq.model` would have all variants ask the same."""
    a, b = variants_of("model=gpt-6-luna", "recipe=receipt")
    row = Row(1, "p1", ("1.png",), overrides={"model": "x", "tenant": "t", "prompt": "Why?"})
    assert [set(one.rows([row])[0].overrides) for one in (a, b)] == [
        {"tenant", "prompt"},
        {"model", "tenant"},
    ]


# Golden set ---------------------------------------------------------------------------------------


def test_a_golden_set_is_read(tmp_path: Path) -> None:
    """As OUT of a run, or as a table; rows of failures are left out."""
    lines = [
        {"id": "a", "data": {"colour": "red", "size": {"side": 3}}, "error": None},
        {"id": "b", "data": None, "text": "", "error": {"code": "refused"}},
        {"id": "c", "text": "A\u2028jacket"},
    ]
    path = tmp_path / "golden.jsonl"
    path.write_text("\n".join(json.dumps(line, ensure_ascii=False) for line in lines), "utf-8")
    assert read_golden(path, RULES).rows == {
        "a": {"colour": "red", "size.side": 3},
        "c": {"text": "A\u2028jacket"},
    }
    table = tmp_path / "golden.csv"
    table.write_text('id,colour,price,parts,title\na,red,"5,5",lid; wheel,007\nb,,,[],\n', "utf-8")
    assert read_golden(table, RULES).rows == {
        "a": {"colour": "red", "price": 5.5, "parts": ["lid", "wheel"], "title": "007"},
        "b": {"parts": []},
    }


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "contains no answers"),
        ("{", "line 1: not JSON"),
        ('{"data": {}}', "line 1: give an object with `id`"),
        ('{"id": "a"}', "line 1: neither `data` nor `text`"),
        ('{"id": "a", "text": ""}\n{"id": "a", "text": ""}', "line 2: the id 'a' comes twice"),
    ],
)
def test_a_golden_set_that_is_none(tmp_path: Path, content: str, said: str) -> None:
    """Line and reason are named."""
    path = tmp_path / "golden.jsonl"
    path.write_text(content)
    with pytest.raises(InvalidSource, match=said):
        read_golden(path, RULES)


# Rows by lot --------------------------------------------------------------------------------------


@given(st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 50), min_size=1), st.data())
def test_shares_of_a_sample(counts: dict[str, int], data: st.DataObject) -> None:
    """They add up, none is empty or too large, they follow the counts, and one more takes none."""
    size = data.draw(st.integers(len(counts), sum(counts.values())))
    found = shares(counts, size)
    assert sum(found.values()) == size
    for name, count in counts.items():
        assert 1 <= found[name] <= count
        assert found[name] <= max(1, count * size / sum(counts.values()) + 1)
    if size < sum(counts.values()):
        assert all(part >= found[name] for name, part in shares(counts, size + 1).items())


@pytest.mark.usefixtures("folder")
def test_rows_are_drawn_by_lot() -> None:
    """The same seed draws the same rows; a larger sample has the rows of the smaller one."""
    source = open_source("goods.csv")
    ten, twenty = (draw_sample(source, size=size, seed="0") for size in (10, 20))
    ids = [{row.id for row in drawn.source.held} for drawn in (ten, twenty)]
    assert (len(ids[0]), len(ids[1]), ten.rows) == (10, 20, 40)
    assert ids[0] < ids[1]
    assert {row.id for row in draw_sample(source, size=10, seed="1").source.held} != ids[0]
    assert draw_sample(source, size=None, seed="0").size == 40


@pytest.mark.usefixtures("folder")
def test_rare_values_are_drawn_too() -> None:
    """Each value of the column is in the sample, and weighs as much as in the source."""
    drawn = draw_sample(open_source("goods.csv"), size=10, seed="0", column="kind")
    assert Counter(row.variables["kind"] for row in drawn.source.held) == {"rare": 1, "usual": 9}
    assert drawn.strata == {"rare": (2, 1), "usual": (38, 9)}
    assert sum(drawn.weights.values()) == pytest.approx(10)
    assert drawn.is_weighted


@pytest.mark.usefixtures("folder")
def test_rows_are_drawn_where_answers_are_known() -> None:
    """A golden set is the source of the sample; an id that SOURCE lacks is named."""
    source = open_source("goods.csv")
    golden = GoldenSet("golden.jsonl", {f"p{number}": {} for number in range(5)})
    assert {
        row.id for row in draw_sample(source, size=None, seed="0", golden=golden).source.held
    } == (set(golden.rows))
    with pytest.raises(InvalidSource, match="SOURCE has no row 'q1' and 1 more"):
        draw_sample(source, size=1, seed="0", golden=GoldenSet("g", {"q1": {}, "q2": {}, "p1": {}}))


# The command --------------------------------------------------------------------------------------

TWO = ("--variant", "detail=low", "--variant", "detail=high")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (TWO[:2], "give two variants or more"),
        ((*TWO, "--sample", "41"), "goods.csv .* has 40 rows that can be asked; take 40 or fewer"),
        ((*TWO, "--stratify", "size"), "has no column 'size'; there are: id, image, kind"),
        ((*TWO, "--stratify", "id", "--sample", "9"), "more values than the sample has rows"),
        ((*TWO, "--field", "nix=label"), "there is no field 'nix'; there are: colour"),
        ((*TWO, "--golden", "ids.jsonl"), "SOURCE has no row 'zzz'"),
        ((*TWO, "--golden", "fields.jsonl"), "row 'p1' has a field 'color', which no answer has"),
        ((*TWO, "--judge", "nope"), "Invalid value for --judge: no price is known for nope"),
        ((*TWO, "-o", "goods.csv"), "OUT ends in .jsonl"),
        ((*TWO, "-o", "ids.jsonl"), "visionq did not write this file"),
        ((*TWO, "-o", "none/a.jsonl"), "there is no folder none"),
        (("--variant", "detail=low", "--variant", "@plain.toml"), "have no field in common"),
    ],
)
def test_bad_input_is_one_line(folder: Path, arguments: tuple[str, ...], said: str) -> None:
    """Nothing is asked, nothing paid, and no file is left."""
    (folder / "ids.jsonl").write_text('{"id":"zzz","data":{"colour":"red"}}\n')
    (folder / "fields.jsonl").write_text('{"id":"p1","data":{"color":"red"}}\n')
    other = '{"type": "object", "properties": {"other": {"type": "string"}}}'
    (folder / "plain.toml").write_text(f"detail = 'low'\nanswer_schema = '{other}'\n")
    before = sorted(folder.rglob("*"))
    command = ["goods.csv", "-p", "What?", "--schema", "card.json", "--yes"]
    out = () if "-o" in arguments else ("-o", "new.jsonl")
    done = CliRunner().invoke(compare, [*command, *out, *arguments], standalone_mode=False)
    assert done.exception is not None
    told = getattr(done.exception, "message", str(done.exception))
    if isinstance(done.exception, click.ClickException):
        told = done.exception.format_message()
    assert "\n" not in told
    assert re.search(said, told), told
    assert sorted(folder.rglob("*")) == before
