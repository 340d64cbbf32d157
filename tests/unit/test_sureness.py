"""How sure an answer is: read from a field, log probabilities, or a second answer."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from visionq.sureness import agreement_sureness, field_sureness, is_sure, logprob_sureness


@pytest.mark.parametrize(
    ("data", "field", "sureness"),
    [
        ({"confidence": 0.9}, "confidence", 0.9),
        ({"confidence": 1}, "confidence", 1.0),
        ({"about": {"sure": 0.25}}, "about.sure", 0.25),
        ({"confidence": True}, "confidence", None),
        ({"confidence": 1.5}, "confidence", None),
        ({"confidence": -0.1}, "confidence", None),
        ({"confidence": math.nan}, "confidence", None),
        ({"confidence": "0.9"}, "confidence", None),
        ({"confidence": None}, "confidence", None),
        ({}, "confidence", None),
        (["confidence"], "confidence", None),
        (None, "confidence", None),
        ({"about": 0.5}, "about.sure", None),
    ],
)
def test_a_field_says_it_as_a_share(data: Any, field: str, sureness: float | None) -> None:
    """Only a number from 0 to 1 is a sureness; anything else is none."""
    assert field_sureness(data, field) == sureness


def test_log_probabilities_are_a_mean_of_tokens() -> None:
    """The length of an answer does not make it less sure."""
    assert logprob_sureness([math.log(0.5)]) == pytest.approx(0.5)
    assert logprob_sureness([math.log(0.5)] * 9) == pytest.approx(0.5)
    assert logprob_sureness([]) is None
    assert logprob_sureness([-math.inf, 0.0]) is None


@pytest.mark.parametrize(
    ("one", "other", "agree"),
    [
        ('{"kind": "Shirt", "confidence": 0.9}', '{"confidence":0.1,"kind":"shirt"}', True),
        ('{"kind": "shirt"}', '{"kind": "boots"}', False),
        ('{"colours": ["red", "blue"]}', '{"colours": ["blue", "red"]}', True),
        ('{"price": 10}', '{"price": 10.0}', True),
        ("A  red chair", "a red chair", True),
        ("A red chair", "A blue chair", False),
        ('{"a": {"confidence": 1}}', '{"a": {"confidence": 0.5}}', False),
        ("[[", "[[", True),
    ],
)
def test_two_answers_agree_or_not(one: str, other: str, *, agree: bool) -> None:
    """Case, spaces and order make no other answer, nor does the sureness itself."""
    assert agreement_sureness(one, other) == float(agree)
    assert agreement_sureness(other, one) == float(agree)


def test_a_nested_sureness_is_left_out() -> None:
    """The field may be part of another one."""
    first, second = ({"about": {"sure": sure, "kind": "x"}} for sure in (0.1, 0.9))
    assert agreement_sureness(json.dumps(first), json.dumps(second), "about.sure") == 1
    assert agreement_sureness(json.dumps(first), json.dumps(second), "sure") == 0


def test_without_a_threshold_no_answer_is_sure() -> None:
    """That is how rows are asked of every model of a ladder."""
    assert is_sure(0.8, 0.8)
    assert not is_sure(0.79, 0.8)
    assert not is_sure(1.0, None)
    assert not is_sure(None, 0.0)
