"""The strict form of answers' schemas: what is sent, and how its answer is read."""

from __future__ import annotations

import enum
import json
from datetime import date  # pydantic reads it
from typing import Annotated, Any, Literal, Optional, Union

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from visionq.answer_schemas import check_schema
from visionq.devstack.simulator.instances import instance
from visionq.devstack.simulator.schemas import strictness_fault
from worker.provider.schema import Mismatch, parse_answer
from worker.provider.strict import strict_form

STRING = {"type": "string"}
NULL = {"type": "null"}


class Colour(enum.StrEnum):
    RED = "красный"
    BLUE = "синий"


class Maker(BaseModel):
    name: str = Field(max_length=40, examples=["Завод"])
    since: date | None = None


class Round(BaseModel):
    kind: Literal["round"]
    radius: float


class Square(BaseModel):
    kind: Literal["square"]
    side: Annotated[int, Field(gt=0, lt=100)]


class Product(BaseModel):
    """What is on the shelf."""

    title: str = Field(description="As on the label", min_length=1)
    colours: list[Colour] = []
    maker: Optional[Maker] = Field(default=None, description="Who made it")  # noqa: UP045  # as users write it
    price: float = 5.5
    shape: Union[Round, Square] = Field(discriminator="kind")  # noqa: UP007  # as users write it
    size: tuple[int, int]
    parts: list["Product"] = []


class Node(BaseModel):
    value: int
    next: Optional["Node"] = None  # as users write it


class Loose(BaseModel):
    counts: dict[str, int]


FIRST = {
    "title": "Чай",
    "colours": None,
    "maker": {"name": "Завод", "since": None},
    "price": None,
    "shape": {"kind": "square", "side": 4},
    "size": [1, 2],
    "parts": None,
}


@pytest.mark.parametrize("model", [Product, Node, Maker, Square])
def test_models_have_a_strict_form(model: type[BaseModel]) -> None:
    """Nested, optional, enumerated, dated, discriminated and recursive models can be strict."""
    strict = strict_form(model.model_json_schema())
    assert strict is not None
    assert strictness_fault(strict) is None
    assert not keywords(strict) & {"default", "maxLength", "minLength", "oneOf", "discriminator"}


def test_a_model_of_free_names_has_none() -> None:
    """An object whose names are not known in advance is sent as it is."""
    assert strict_form(Loose.model_json_schema()) is None


def test_what_may_be_left_out_may_be_null() -> None:
    """Optional properties are required and nullable; definitions stay, descriptions come along."""
    strict = strict_form(Product.model_json_schema())
    assert strict is not None
    strict = strict_form(
        {
            "type": "object",
            "properties": {"p": strict},
            "required": ["p"],
            "$defs": strict.pop("$defs"),
        }
    )  # a strict form is strict already
    assert strict is not None
    product = strict["properties"]["p"]
    assert product["required"] == list(Product.model_fields)
    assert product["properties"]["price"]["anyOf"][-1] == NULL
    assert product["properties"]["maker"]["description"] == "Who made it"
    assert product["properties"]["maker"]["anyOf"] == [{"$ref": "#/$defs/Maker"}, NULL]
    assert {"Maker", "Colour", "Round", "Square", "Product"} <= strict["$defs"].keys()
    since = strict["$defs"]["Maker"]["properties"]["since"]["anyOf"]
    assert {"type": "string", "format": "date"} in since


def test_nulls_for_what_was_left_out_are_left_out() -> None:
    """An answer in the strict form is read as the model's own, its defaults included."""
    data = parse_answer(json.dumps(FIRST, ensure_ascii=False), Product.model_json_schema())
    assert data == {
        "title": "Чай",
        "maker": {"name": "Завод", "since": None},
        "shape": {"kind": "square", "side": 4},
        "size": [1, 2],
    }
    product = Product.model_validate(data)
    assert (product.price, product.colours, product.shape) == (
        5.5,
        [],
        Square(kind="square", side=4),
    )


@pytest.mark.parametrize(
    ("change", "validation_error"),
    [
        ({"title": ""}, "title"),
        ({"title": None}, "title"),
        ({"size": [1]}, "size"),
        ({"maker": {"name": "x" * 41, "since": None}}, "maker"),
        ({"shape": {"kind": "square", "side": 100}}, "shape"),
        ({"colours": ["зелёный"]}, "colours"),
    ],
)
def test_what_was_not_sent_is_checked_all_the_same(
    change: dict[str, Any], validation_error: str
) -> None:
    """Lengths and other keywords that the strict form leaves out still decide."""
    with pytest.raises(Mismatch, match=validation_error):
        parse_answer(json.dumps(FIRST | change), Product.model_json_schema())


def test_a_reference_with_company_is_written_out() -> None:
    """A reference stands alone, as the provider wants it, unless it leads into itself."""
    schema = {
        "type": "object",
        "properties": {"a": {"$ref": "#/$defs/a", "description": "outer"}},
        "required": ["a"],
        "$defs": {
            "a": {
                "type": "object",
                "properties": {"a": {"$ref": "#/$defs/a", "description": "inner"}},
                "required": ["a"],
            }
        },
    }
    strict = strict_form(schema)
    assert strict is not None
    outer = strict["properties"]["a"]
    assert outer["description"] == "outer"
    assert outer["properties"]["a"] == {"$ref": "#/$defs/a"}


LEAVES: st.SearchStrategy[Any] = st.sampled_from(
    [
        STRING,
        {"type": "integer", "minimum": 0, "maximum": 9},
        {"type": "number"},
        {"type": "boolean"},
        {"enum": ["да", "нет"]},
        {"enum": [1, None]},
        {"type": ["string", "null"]},
        {"type": "string", "format": "date"},
        {"const": "x"},
        {"anyOf": [{"type": "integer"}, NULL]},
    ]
)


@st.composite
def objects(draw: st.DrawFn, children: st.SearchStrategy[dict[str, Any]]) -> dict[str, Any]:
    properties = draw(st.dictionaries(st.sampled_from("абв"), children, max_size=3))
    names = sorted(properties)
    required = draw(st.lists(st.sampled_from(names), unique=True)) if names else []
    return {"type": "object", "properties": properties, "required": required, "default": {}}


def nested(children: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return (
        objects(children)
        | st.builds(lambda one: {"type": "array", "items": one, "uniqueItems": False}, children)
        | st.builds(lambda one: {"anyOf": [one, NULL], "title": "t"}, children)
        | st.builds(lambda one: {"allOf": [one]}, children)
    )


SCHEMAS = objects(st.recursive(LEAVES, nested, max_leaves=8))


@given(SCHEMAS, st.text(max_size=5))
def test_what_the_strict_form_admits_the_schema_admits(schema: dict[str, Any], brief: str) -> None:
    """Every answer that keeps to what was sent is an answer to what was asked."""
    before = json.dumps(schema)
    check_schema(schema)
    strict = strict_form(schema)
    assert json.dumps(schema) == before
    assert strict is not None
    assert strictness_fault(strict) is None
    answer = instance(strict, brief)
    data = parse_answer(json.dumps(answer), schema)
    assert parse_answer(json.dumps(data), schema) == data


@given(SCHEMAS)
def test_null_wherever_it_is_admitted(schema: dict[str, Any]) -> None:
    """An answer that leaves out all that it may, by null, is an answer."""
    strict = strict_form(schema)
    assert strict is not None
    data = parse_answer(json.dumps(barest(strict)), schema)
    assert data.keys() >= set(schema["required"])


def barest(node: dict[str, Any]) -> Any:
    if NULL in node.get("anyOf", ()) or "null" in node.get("type", ()):
        return None
    if "anyOf" in node:
        return barest(node["anyOf"][0])
    if node["type"] == "object":
        return {name: barest(child) for name, child in node["properties"].items()}
    return [] if node["type"] == "array" else instance(node, "x")


def keywords(node: object) -> set[str]:
    if isinstance(node, list):
        return {name for child in node for name in keywords(child)}
    if not isinstance(node, dict):
        return set()
    return {*node} | {name for child in node.values() for name in keywords(child)}
