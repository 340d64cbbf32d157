"""Schemas of answers: refused before paying, made strict, applied to what came."""

from __future__ import annotations

from typing import Any

import pytest

from visionq.answer_schemas import check_schema
from visionq.errors import InvalidJob
from worker.provider.schema import Mismatch, parse_answer
from worker.provider.strict import strict_form

STRING = {"type": "string"}


def obj(*required: str, **properties: object) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required)}


@pytest.mark.parametrize(
    "schema",
    [
        obj("a", a=STRING),
        obj(),
        obj("a", a={"type": ["string", "null"]}),
        obj("a", a={"type": "array", "items": obj("b", b={"type": "integer", "minimum": 0})}),
        obj("a", a={"anyOf": [STRING, obj("c", c={"type": "number"})]}),
        {**obj("a", a={"$ref": "#/$defs/x"}), "$defs": {"x": obj("y", y=STRING)}},
        {**obj("a", a={"type": "string", "enum": ["да", "нет"]}), "$schema": "x", "title": "t"},
    ],
)
def test_strict_where_the_sense_stays(schema: dict[str, Any]) -> None:
    """Objects that require all they name are closed, at every depth, and nothing else changes."""
    strict = strict_form(schema)
    assert strict is not None
    assert without_closing(strict) == without_closing(schema)
    assert all(node.get("additionalProperties") is False for node in objects(strict))


@pytest.mark.parametrize(
    "schema",
    [
        {**obj("a", a=STRING), "additionalProperties": True},
        {**obj("a", a=STRING), "additionalProperties": STRING},
        {"type": "array", "items": STRING},
        {**obj("a", a=STRING), "anyOf": [obj()]},
        {**obj("a", a=STRING), "patternProperties": {"^x": STRING}},
        {**obj("a", a=STRING), "if": {}, "then": {"required": ["b"]}},
        {"anyOf": [obj("a", a=STRING), obj("b", b=STRING)]},
        obj("a", a={"allOf": [obj("b", b=STRING), obj("c", c=STRING)]}),
        obj("a", a=obj("b", b={"$ref": "#/properties/a"})),
        obj("a", a={"$ref": "other.json"}),
        obj("a", a={"enum": [[]]}),
        obj("a", a={"type": "array"}),
        obj("a", a=True),
        obj("a", "b", a=STRING),
        {**obj("a", a={"$ref": "#/$defs/x"}), "$defs": {"x": {**obj(), "$id": "x"}}},
    ],
)
def test_not_strict_where_the_sense_would_change(schema: dict[str, Any]) -> None:
    """Anything outside the strict subset is left alone."""
    assert strict_form(schema) is None


def test_the_jobs_schema_is_not_touched() -> None:
    """The strict form is a copy."""
    schema = obj("a", a=obj("b", b=STRING))
    strict_form(schema)
    assert schema == obj("a", a=obj("b", b=STRING))


@pytest.mark.parametrize(
    ("schema", "validation_error"),
    [
        ({"type": "strnig"}, "strnig"),
        ({"type": "object", "required": "a"}, "required"),
        ({"properties": {"a": {"type": 5}}}, "properties.a"),
        ({"pattern": "("}, "regex"),
        ({"$ref": "#/$defs/missing"}, "missing"),
        ({"items": {"$ref": "https://example.com/schema.json"}}, "example.com"),
        ({"$schema": []}, "answer_schema"),
    ],
)
def test_a_schema_that_is_none_is_refused_before_paying(
    schema: dict[str, Any], validation_error: str
) -> None:
    """A broken schema, or one that points outside, fails the job while it is free."""
    with pytest.raises(InvalidJob, match=validation_error):
        check_schema(schema)


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ('{"a": "да"}', {"a": "да"}),
        (' \n{"a": "x"}\n', {"a": "x"}),
        ('```json\n{"a": "x"}\n```', {"a": "x"}),
        ('{"a": "\\ud83d"}', {"a": "?"}),
    ],
)
def test_answers_that_match(text: str, data: object) -> None:
    """The parsed answer is plain, storable values; a fence around it does no harm."""
    assert parse_answer(text, obj("a", a=STRING)) == data


@pytest.mark.parametrize(
    ("text", "validation_error"),
    [
        ("Это кошка", "not JSON"),
        ('{"a": "x"', "not JSON"),
        ('{"a": NaN}', "NaN"),
        ('{"a": 5}', r"\$\.a: 5 is not of type"),
        ("{}", "'a' is a required property"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_answers_that_do_not_match(text: str, validation_error: str) -> None:
    """The complaint says where the answer went wrong."""
    with pytest.raises(Mismatch, match=validation_error):
        parse_answer(text, obj("a", a=STRING))


def test_a_schema_that_breaks_its_validator_loses_no_answer() -> None:
    """An endless $ref is a mismatch, so that the paid text is kept, not a crash."""
    with pytest.raises(Mismatch, match="RecursionError"):
        parse_answer("{}", {"$ref": "#"})


def test_a_long_complaint_is_cut() -> None:
    """The complaint about a huge value stays short."""
    with pytest.raises(Mismatch) as caught:
        parse_answer('{"a": [' + "1," * 5000 + "1]}", obj("a", a=STRING))
    assert len(str(caught.value)) < 300


def objects(node: object) -> list[dict[str, Any]]:
    if isinstance(node, list):
        return [found for child in node for found in objects(child)]
    if not isinstance(node, dict):
        return []
    found = [found for child in node.values() for found in objects(child)]
    return found + ([node] if node.get("type") == "object" else [])


def without_closing(node: object) -> object:
    if isinstance(node, list):
        return [without_closing(child) for child in node]
    if not isinstance(node, dict):
        return node
    dropped = {"additionalProperties", "$schema"}
    return {key: without_closing(child) for key, child in node.items() if key not in dropped}
