"""Answers as objects of the caller's models."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from pydantic import BaseModel, field_validator

from visionq.contract import ResultDocument
from visionq.errors import InvalidJob, InvalidOutput
from visionq.sdk.submitting import draft
from visionq.sdk.typed import typed, with_schema
from visionq.settings import Settings


class Answer(BaseModel):
    n: int
    note: str = "none"

    @field_validator("n")
    @classmethod
    def _even(cls, n: int) -> int:
        if n % 2:
            raise ValueError("not even")
        return n


def result(data: Any) -> ResultDocument:
    return ResultDocument(
        id="1", model="m", api="responses", text="сырой", data=data, cost_rub=Decimal("1.5")
    )


def test_a_result_and_its_object() -> None:
    """All that a result says is there, beside the object; its documents are as without it."""
    found = typed(result({"n": 2}), Answer)
    assert found.parsed == Answer(n=2)
    assert found.cost_rub == Decimal("1.5")
    assert found.to_public() == result({"n": 2}).to_public()


@pytest.mark.parametrize("data", [{"n": 3}, {"n": "x"}, None])
def test_what_the_model_does_not_take(data: Any) -> None:
    """A validator of the caller's own loses neither the paid text nor its cost."""
    with pytest.raises(InvalidOutput, match="the answer is no Answer: ") as caught:
        typed(result(data), Answer)
    assert (caught.value.text, caught.value.cost_rub) == ("сырой", Decimal("1.5"))


@pytest.mark.parametrize("schema", [Answer, Answer.model_json_schema()])
def test_a_model_becomes_the_schema_of_the_job(schema: Any) -> None:
    """The job carries the model's JSON Schema."""
    fields = {"prompt": "?", "images": ["https://example.com/a.png"], "schema": schema}
    document = draft(fields, Settings.model_construct(), "1").job.document
    assert document.answer_schema == Answer.model_json_schema()


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"schema": 7}, "schema: give a pydantic model or a JSON Schema"),
        ({"schema": Answer(n=2)}, "schema: give a pydantic model or a JSON Schema"),
        ({"schema": Answer, "answer_schema": {}}, "either schema or answer_schema"),
    ],
)
def test_a_schema_that_is_none(fields: dict[str, Any], complaint: str) -> None:
    """A class that is no schema is refused before anything is uploaded."""
    with pytest.raises(InvalidJob, match=complaint):
        with_schema(fields)
