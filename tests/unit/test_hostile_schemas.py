"""Schemas, and answers held against them, cost what their size warrants, with any content."""

from __future__ import annotations

import json
import tracemalloc
from contextlib import suppress
from functools import partial
from typing import Any

import pytest

from tests.support.growth import growth, seconds
from visionq.answer_schemas import check_schema
from visionq.errors import InvalidJob
from worker.provider.schema import Mismatch, parse_answer
from worker.provider.strict import strict_form
from worker.provider.validation import SECONDS

STRING = {"type": "string"}


def obj(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


def doubling(levels: int, **company: Any) -> dict[str, Any]:
    """Return a small schema that is 2^levels large with its references written out."""
    definitions: dict[str, Any] = {"d0": STRING}
    for level in range(1, levels):
        one = {"$ref": f"#/$defs/d{level - 1}", **company}
        definitions[f"d{level}"] = obj(a=one, b=one) if company else {"anyOf": [one, one]}
    return obj(x={"$ref": f"#/$defs/d{levels - 1}", **company}) | {"$defs": definitions}


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = STRING
    for _ in range(levels):
        schema = obj(a=schema)
    return schema


# Refused before paying ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schema", "complaint"),
    [
        ({"type": "objekt"}, "type: 'objekt' is no type of JSON Schema"),
        (obj(a={"type": ["string", "nul"]}), r"properties.a.type: .* is no type of JSON Schema"),
        ({"description": "a" * 250_000}, "250,0.. characters as JSON; the limit is 250,000"),
        (nested(60), "nested deeper than 100 levels"),
        (doubling(30), "more than 10,000 alternatives for one value"),
        ({"$ref": "#"}, "leads back to itself"),
        (obj(a={"anyOf": [STRING, {"$ref": "#/properties/a"}]}), "leads back to itself"),
        ({"anyOf": [{"pattern": f"a{n}"} for n in range(21)]}, "21 different patterns"),
        ({"pattern": "a" * 1001}, "a pattern of more than 1,000 characters"),
        ({"pattern": r"(\p{L}{1000}){1000}"}, "too many repetitions"),
        ({"patternProperties": {"(": True}}, "not a regex"),
        ({"patternProperties": {"a": True}, "unevaluatedProperties": False}, "not supported"),
        (obj(a={"$ref": "#/$defs/missing"}), "missing"),
        (obj(a={"$ref": "#here"}), "here"),
    ],
)
def test_what_could_not_be_applied_is_refused(schema: dict[str, Any], complaint: str) -> None:
    """The complaint names the limit or the place."""
    with pytest.raises(InvalidJob, match=f"answer_schema: .*{complaint}"):
        check_schema(schema)


@pytest.mark.parametrize(
    "schema",
    [
        obj(a={"$ref": "#/$defs/n"}) | {"$defs": {"n": obj(next={"$ref": "#/$defs/n"})}},
        obj(a={"$ref": "#/anyOf/0"}) | {"anyOf": [STRING, {}]},
        obj(a={"$ref": "#here"}) | {"$defs": {"n": {"$anchor": "here"}}},
        obj(a={"pattern": r"^(?=.*\d)[\p{L}\d]{8,}$"}, b={"pattern": "^.{1,2000}$"}),
        {"$schema": "https://example.com/of-their-own", **obj(a=STRING)},
        {"$schema": "http://json-schema.org/draft-07/schema#", **obj(a=STRING)},
    ],
)
def test_what_can_be_applied_is_taken(schema: dict[str, Any]) -> None:
    """Recursion through data, anchors, lookaheads, and dialects that nobody knows or fetches."""
    check_schema(schema)


SHAPES: dict[str, Any] = {
    "properties": lambda n: obj(**{f"p{k}": STRING for k in range(n // 40)}),
    "required": lambda n: {"required": [f"p{k}" for k in range(n // 8)]},
    "enum": lambda n: {"enum": list(range(n // 8))},
    "alternatives": lambda n: {"anyOf": [{"const": k} for k in range(min(n // 16, 9_000))]},
    "definitions": lambda n: {
        "$defs": {f"d{k}": {"$ref": "#/$defs/x"} for k in range(n // 30)} | {"x": {}}
    },
    "words": lambda n: {"description": "a" * n},
}


@pytest.mark.parametrize("shape", SHAPES)
def test_checking_takes_time_as_its_size(shape: str) -> None:
    """From 2 to 200 kB."""

    def check(size: int) -> None:
        fresh = {"title": str(object()), **SHAPES[shape](size)}  # not one that is remembered
        with suppress(InvalidJob):
            check_schema(fresh)
        strict_form(fresh)

    assert growth((size, partial(check, size)) for size in (2_000, 8_000, 32_000, 128_000)) is None


# Written out --------------------------------------------------------------------------------------


@pytest.mark.parametrize("levels", [12, 16, 60])
def test_references_are_counted_before_they_are_written_out(levels: int) -> None:
    """A schema of a few kilobytes takes a few megabytes, or has no strict form."""
    schema = doubling(levels, title="t")
    tracemalloc.start()
    strict = strict_form(schema)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20_000_000
    assert strict is None or len(json.dumps(strict)) < 2_000_000
    assert seconds(lambda: strict_form(schema), 1) < SECONDS


# Applied ------------------------------------------------------------------------------------------


PATTERNS = (r"^(a+)+$", r"(a|aa)+$", r"(.*)*b", r"(\w+\s*)+:", r"^(([a-z])+.)+[A-Z]([a-z])+$")


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("keyword", ["pattern", "patternProperties", "additionalProperties"])
def test_patterns_take_time_as_the_text(pattern: str, keyword: str) -> None:
    """Expressions that are exponential elsewhere are linear, for values and for names."""
    schema: dict[str, Any] = {"pattern": pattern}
    if keyword != "pattern":
        schema = {"patternProperties": {pattern: STRING}, "additionalProperties": False}

    def apply(size: int) -> None:
        text = "a" * size + "!"
        with suppress(Mismatch):
            parse_answer(json.dumps(text if keyword == "pattern" else {text: 1}), schema)

    assert growth((size, partial(apply, size)) for size in (32, 128, 1024, 4096, 16384)) is None


def test_a_lookahead_is_applied_step_by_step() -> None:
    """On texts of ordinary length; on others the complaint says why not."""
    schema = {"pattern": r"^(?=.*\d)(?!.*(.)\1)\w{4,}$"}
    assert parse_answer('"ab1c"', schema) == "ab1c"
    for text in ("abcd", "aab1"):
        with pytest.raises(Mismatch, match="does not match"):
            parse_answer(json.dumps(text), schema)
    with pytest.raises(Mismatch, match="1,000 characters at most, and this text has 1,001"):
        parse_answer(json.dumps("a" * 1001), schema)


@pytest.mark.parametrize("pattern", [r"(?=(a|aa)+$)(a|aa)+c", r"(?=a)(a+)+b", r"(a*)*\1x"])
def test_steps_are_bounded(pattern: str) -> None:
    """A lookahead beside anything: trying it ends in milliseconds."""

    def apply() -> None:
        with suppress(Mismatch):
            parse_answer(json.dumps("a" * 1000), {"pattern": pattern})

    assert seconds(apply, 2) < 0.2


def deep(levels: int) -> Any:
    data: Any = {"b": 1}
    for _ in range(levels):
        data = {"a": data}
    return data


FORK = {"properties": {"a": {"$ref": "#"}}}
FORKING: dict[str, Any] = {"anyOf": [{**FORK, "required": ["x"]}, {**FORK, "required": ["y"]}]}


def test_alternatives_that_fork_at_each_level_are_stopped() -> None:
    """The answer is kept, and the model is not asked to repair what no answer could."""
    check_schema(FORKING)

    def apply() -> None:
        with pytest.raises(Mismatch, match="takes too long") as caught:
            parse_answer(json.dumps(deep(45)), FORKING)
        assert not caught.value.is_repairable

    assert seconds(apply, 1) < 3 * SECONDS


def test_ordinary_recursion_is_well_within_the_allowance() -> None:
    """A tree of two thousand nodes takes no tenth of it."""
    node = {**obj(name=STRING), "$defs": {}}
    node["properties"]["children"] = {
        "type": "array",
        "items": {"anyOf": [{"$ref": "#"}, {"type": "null"}]},
    }
    leaf: dict[str, Any] = {"name": "leaf", "children": [None]}
    tree = {"name": "a", "children": [{"name": "b", "children": [leaf] * 40}] * 50}
    assert parse_answer(json.dumps(tree), node) == tree


@pytest.mark.parametrize(
    ("items", "unique"),
    [
        ([1, 1.0], False),
        ([True, 1], True),
        ([False, 0], True),
        ([{"a": 1}, {"a": 1.0}], False),
        ([{"a": [1, 2]}, {"a": [2, 1]}], True),
        (["1", 1], True),
        ([None, None], False),
        ([[], {}], True),
        ([{"a": 1, "b": 2}, {"b": 2, "a": 1}], False),
    ],
)
def test_unique_items(items: list[Any], unique: bool) -> None:
    """Equal is what JSON Schema calls so."""
    if unique:
        assert parse_answer(json.dumps(items), {"uniqueItems": True}) == items
    else:
        with pytest.raises(Mismatch, match="non-unique"):
            parse_answer(json.dumps(items), {"uniqueItems": True})


def test_unique_items_take_time_as_their_number() -> None:
    """Also of objects, which have no order to sort them by."""

    def apply(size: int) -> None:
        items = [{"a": number} if number % 2 else [number] for number in range(size)]
        parse_answer(json.dumps(items), {"uniqueItems": True})

    assert growth((size, partial(apply, size)) for size in (500, 2000, 8000, 32_000)) is None


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        ({"x1": "a", "y": 1}, None),
        ({"x1": 1}, r"\$.x1: 1 is not of type 'string'"),
        ({"z": 1}, "'z' was unexpected"),
        ({"y": 1, "z": 1, "x2": "a"}, "'z' was unexpected"),
    ],
)
def test_names_by_patterns(data: Any, complaint: str | None) -> None:
    """`patternProperties` and `additionalProperties` mean what they did."""
    schema = {
        "properties": {"y": {"type": "integer"}},
        "patternProperties": {r"^x\d$": STRING},
        "additionalProperties": False,
    }
    if complaint is None:
        assert parse_answer(json.dumps(data), schema) == data
    else:
        with pytest.raises(Mismatch, match=complaint):
            parse_answer(json.dumps(data), schema)


@pytest.mark.parametrize("blanks", ["\n", " ", "\n ", "`"])
def test_a_fence_takes_time_as_the_text(blanks: str) -> None:
    """An answer of a fence and blank lines once took cubic time."""

    def apply(size: int) -> None:
        with suppress(Mismatch):
            parse_answer("```" + blanks * size, {})

    assert growth((size, partial(apply, size)) for size in (1000, 4000, 16_000, 64_000)) is None
