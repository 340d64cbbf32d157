from __future__ import annotations

import json
import re
from fractions import Fraction
from typing import Any, TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visionq.devstack.simulator.instances import UnsatisfiableError, instance

Json: TypeAlias = Any
FACTS = "640x480 #c81e3c"


def fits(value: Json, schema: dict[str, Any]) -> bool:
    """Check a value against the keywords that the tests use, in a plain way of its own."""
    if "anyOf" in schema:
        return any(fits(value, option) for option in schema["anyOf"])
    if "enum" in schema:
        return value in schema["enum"]
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    return any(CHECKS[kind](value, schema) for kind in kinds)


def _number(value: Json, schema: dict[str, Any]) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    exact = Fraction(str(value))
    return (
        exact >= schema.get("minimum", exact)
        and exact <= schema.get("maximum", exact)
        and exact > schema.get("exclusiveMinimum", exact - 1)
        and exact < schema.get("exclusiveMaximum", exact + 1)
        and exact % Fraction(str(schema.get("multipleOf", exact or 1))) == 0
    )


def _string(value: Json, schema: dict[str, Any]) -> bool:
    return (
        isinstance(value, str)
        and schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value))
        and re.search(schema.get("pattern", ""), value) is not None
    )


def _array(value: Json, schema: dict[str, Any]) -> bool:
    if not isinstance(value, list):
        return False
    spelled = {json.dumps(item, sort_keys=True) for item in value}
    return (
        schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value))
        and all(fits(item, schema["items"]) for item in value)
        and (not schema.get("uniqueItems") or len(spelled) == len(value))
    )


def _object(value: Json, schema: dict[str, Any]) -> bool:
    return (
        isinstance(value, dict)
        and set(schema["required"]) <= set(value) <= set(schema["properties"])
        and all(fits(item, schema["properties"][name]) for name, item in value.items())
    )


CHECKS = {
    "null": lambda value, _: value is None,
    "boolean": lambda value, _: isinstance(value, bool),
    "integer": lambda value, schema: isinstance(value, int) and _number(value, schema),
    "number": _number,
    "string": _string,
    "array": _array,
    "object": _object,
}


@st.composite
def numbers(draw: st.DrawFn, kind: str) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": kind}
    low = draw(st.none() | st.integers(-50, 50))
    if low is not None:
        schema[draw(st.sampled_from(["minimum", "exclusiveMinimum"]))] = low
    high = draw(st.none() | st.integers((-50 if low is None else low) + 12, 80))
    if high is not None:
        schema[draw(st.sampled_from(["maximum", "exclusiveMaximum"]))] = high
    multiple = draw(st.none() | st.sampled_from([1, 2, 5] if kind == "integer" else [0.5, 0.1, 3]))
    return {**schema, "multipleOf": multiple} if multiple else schema


@st.composite
def strings(draw: st.DrawFn) -> dict[str, Any]:
    least = draw(st.integers(0, 40))
    return {
        "type": "string",
        "minLength": least,
        "maxLength": least + draw(st.integers(0, 40)),
    }


def arrays(children: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.builds(
        lambda items, least, more: {
            "type": "array",
            "items": items,
            "minItems": least,
            "maxItems": least + more,
        },
        children,
        st.integers(0, 3),
        st.integers(0, 3),
    )


@st.composite
def objects(draw: st.DrawFn, children: st.SearchStrategy[dict[str, Any]]) -> dict[str, Any]:
    properties = draw(st.dictionaries(st.text(max_size=5), children, max_size=4))
    required = [name for name in properties if draw(st.booleans())]
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


leaves = st.one_of(
    st.sampled_from([{"type": "null"}, {"type": "boolean"}, {"type": ["null", "string"]}]),
    st.lists(st.integers() | st.text(), min_size=1, max_size=4).map(lambda it: {"enum": it}),
    numbers("integer"),
    numbers("number"),
    strings(),
)
schemas = st.recursive(
    leaves,
    lambda inner: (
        arrays(inner)
        | objects(inner)
        | st.lists(inner, min_size=1, max_size=3).map(lambda it: {"anyOf": it})
    ),
    max_leaves=12,
)


@given(schemas)
def test_instance_satisfies_its_schema(schema: dict[str, Any]) -> None:
    """For any schema, the value made for it satisfies it and is JSON."""
    value = instance(schema, FACTS)
    assert fits(value, schema)
    assert json.loads(json.dumps(value)) == value


@pytest.mark.parametrize(
    "items",
    [
        {"type": "string"},
        {"type": "string", "maxLength": 8},
        {"type": "integer", "minimum": 3, "maximum": 9},
        {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
        {"enum": ["a", "b", "c", "d"]},
        {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]},
    ],
)
def test_unique_items_differ(items: dict[str, Any]) -> None:
    """A list that must hold different things does."""
    schema = {"type": "array", "items": items, "minItems": 4, "uniqueItems": True}
    assert fits(instance(schema, FACTS), schema)


@pytest.mark.parametrize(
    "pattern",
    [
        r"^#[0-9a-f]{6}$",
        r"^\d{3}-\d{2,}$",
        r"^[^a-z\s]+$",
        r"(red|green)!?",
        r"^\w+@\w+\.(com|ru)$",
        r"^(.)\1$",
        r"^[А-Яа-я]{2,5}$",  # noqa: RUF001  # Cyrillic on purpose
        r"^\S\D\W$",
    ],
)
def test_strings_match_their_pattern(pattern: str) -> None:
    """A string with a pattern matches it, and its lengths too where they can be met."""
    assert re.search(pattern, instance({"type": "string", "pattern": pattern}, FACTS))
    longer = {"type": "string", "pattern": "^[a-z]+$", "minLength": 12, "maxLength": 12}
    assert fits(instance(longer, FACTS), longer)


def test_references_and_recursion_end() -> None:
    """A tree of nodes that may hold nodes is made, as deep as it must be and no deeper."""
    schema = {
        "type": "object",
        "properties": {"root": {"$ref": "#/$defs/node"}},
        "required": ["root"],
        "$defs": {
            "node": {
                "type": "object",
                "properties": {
                    "name": {"type": "string"},
                    "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
                    "children": {"type": "array", "items": {"$ref": "#/$defs/node"}},
                },
                "required": ["name", "next", "children"],
            }
        },
    }
    assert instance(schema, FACTS) == {"root": {"name": FACTS, "next": None, "children": []}}


def test_all_of_joins_its_parts() -> None:
    """Properties and bounds of all parts hold together."""
    schema = {
        "allOf": [
            {"type": "object", "properties": {"a": {"const": 1}}, "required": ["a"]},
            {"properties": {"b": {"allOf": [{"minimum": 3}, {"type": "integer"}]}}},
        ],
        "required": ["b"],
    }
    assert instance(schema, FACTS) == {"a": 1, "b": 3}


def test_free_strings_tell_the_facts() -> None:
    """Strings that nothing limits say what was seen, so that an answer shows its picture."""
    schema = {"type": "object", "properties": {"seen": {"type": "string"}}, "required": ["seen"]}
    assert instance(schema, FACTS) == {"seen": FACTS}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "integer", "minimum": 3, "maximum": 2},
        {"type": "nonsense"},
        {"$ref": "#/$defs/none"},
        {"$ref": "https://example.com/schema"},
        {"$defs": {"a": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"},
        {"enum": []},
        {"enum": ["a"], "type": "integer"},
        {"type": "string", "pattern": "("},
        {"type": "string", "pattern": "^a$", "minLength": 2},
        {"type": "string", "minLength": "x"},
        {"type": "array", "items": False, "minItems": 1},
        {"type": "array", "items": {"type": "null"}, "minItems": 2, "uniqueItems": True},
        {"properties": 5, "type": "object"},
        {"type": "object", "required": ["a"], "additionalProperties": False},
    ],
)
def test_schemas_without_a_value_are_told(schema: dict[str, Any]) -> None:
    """A schema that is malformed, or that nothing satisfies, raises and gets no wrong answer."""
    with pytest.raises(UnsatisfiableError):
        instance(schema, FACTS)
