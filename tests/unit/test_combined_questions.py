"""Several questions as one: shares add up, schemas keep their meaning, answers come apart."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visionq.cache_key import together_key
from visionq.contract import parse_job
from worker.provider.answer import ProviderAnswer
from worker.provider.combined_questions import combined, parts_of, shares
from worker.provider.schema import Mismatch, parse_answer

TREE = {
    "type": "object",
    "properties": {"name": {"$ref": "#/$defs/Name"}, "inside": {"$ref": "#"}},
    "required": ["name"],
    "$defs": {"Name": {"type": "string", "minLength": 2}},
}
OTHER = {
    "type": "array",
    "items": {"$ref": "#/definitions/Name"},
    "definitions": {"Name": {"type": "integer"}},
}


def job(**fields: Any) -> Any:
    plain = {"prompt": "What?", "images": [{"url": "https://a.b/c.png"}], "model": "gpt-6-luna"}
    return parse_job({**plain, "max_output_tokens": 100, "together": True, **fields})


JOBS = [job(answer_schema=TREE), job(prompt="New?"), job(answer_schema=OTHER)]


@given(st.integers(0, 10**15), st.lists(st.integers(0, 10**12), min_size=1, max_size=16))
def test_shares_add_up(cost: int, weights: list[int]) -> None:
    """The shares of a call are its cost, and each is within one of its proportion."""
    found = shares(cost, weights)
    assert sum(found) == cost
    assert min(found) >= 0
    if total := sum(weights):
        assert all(
            abs(share * total - cost * weight) <= total
            for share, weight in zip(found, weights, strict=True)
        )
        if cost <= total:
            assert all(share <= weight + 1 for share, weight in zip(found, weights, strict=True))


def test_schemas_keep_their_meaning() -> None:
    """References point to where each schema is now, also where two have one name."""
    whole = combined(JOBS)
    good = {"q1": {"name": "ab", "inside": {"name": "cd"}}, "q2": "yes", "q3": [1]}
    assert whole.answer_schema is not None
    assert parse_answer(json.dumps(good), whole.answer_schema) == good
    for name, wrong in (("q1", {"name": "a"}), ("q2", 1), ("q3", ["a"])):
        with pytest.raises(Mismatch, match=rf"^\$\.{name}\b"):
            parse_answer(json.dumps({**good, name: wrong}), whole.answer_schema)
    assert whole.max_output_tokens == 300
    assert "q2:\nNew?" in whole.prompt


def test_an_answer_comes_apart() -> None:
    """Each part is held against its own schema; a missing or empty one is none."""
    text = json.dumps({"q1": {"name": "a"}, "q2": " ", "q3": [1, 2]})
    broken, none, good = parts_of(ProviderAnswer(text=text, request_id="r"), JOBS)
    assert broken is not None
    assert broken.validation_error is not None
    assert none is None
    assert good is not None
    assert (good.data, good.text, good.request_id) == ([1, 2], "[1, 2]", "r")
    assert parts_of(ProviderAnswer(text="no JSON"), JOBS) == (None,) * 3


def test_who_may_share_a_call() -> None:
    """Jobs that differ in question, schema and limit have one key; others have none, or another."""
    keys = {together_key(one) for one in (*JOBS, job(max_output_tokens=17, metadata={"a": "b"}))}
    assert len(keys) == 1
    for other in (
        {"model": "gpt-6.1-terra"},
        {"detail": "low"},
        {"tenant": "b"},
        {"effort": "low"},
    ):
        assert together_key(job(**other)) not in keys | {""}
    for alone in (
        {"together": False},
        {"fallback": ["gpt-5-mini"]},
        {"pictures": {"text": "reject"}},
        {"answer_schema": {"type": "object", "$id": "https://a.b/c"}},
    ):
        assert together_key(job(**alone)) == ""
