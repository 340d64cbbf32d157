"""The simulated models of different quality: one truth a picture, and errors that are drawn."""

from __future__ import annotations

from typing import Any

import jsonschema_rs
import pytest

from tests.support.pictures import picture
from visionq.devstack.simulator.instances import instance
from visionq.devstack.simulator.seen_pictures import look
from visionq.devstack.simulator.truths import Quality, SimulatedSureness, truth_of, verdict

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "colour": {"enum": ["red", "green", "blue"]},
        "price": {"type": "integer", "minimum": 1, "maximum": 500},
        "share": {"type": "number", "minimum": 0, "maximum": 1},
        "damaged": {"type": "boolean"},
        "parts": {"type": "array", "items": {"enum": ["lid", "wheel", "cable"]}, "minItems": 1},
        "size": {"$ref": "#/$defs/size"},
        "code": {"type": "string", "pattern": "^[A-Z]{2}$"},
        "title": {"type": "string"},
    },
    "required": ["colour", "price", "share", "damaged", "parts", "size", "code", "title"],
    "$defs": {"size": {"type": "object", "properties": {"side": {"enum": ["s", "m", "l"]}}}},
}
PICTURES = [f"#{number:06x}" for number in range(400)]


def answers(model: str, accuracy: float, seed: int = 0) -> list[Any]:
    quality, made = Quality(seed, model, accuracy), instance(SCHEMA, "any")
    return [quality.answer(SCHEMA, made, one) for one in PICTURES]


def truths(seed: int = 0) -> list[Any]:
    return [truth_of(SCHEMA, one, seed) for one in PICTURES]


def right(given: list[Any], field: str) -> float:
    return sum(bool(a[field] == b[field]) for a, b in zip(given, truths(), strict=True)) / len(
        given
    )


@pytest.mark.parametrize("accuracy", [0.6, 0.9])
def test_a_model_is_as_often_right_as_it_is_told(accuracy: float) -> None:
    """In each field by itself, by a deterministic draw."""
    given = answers("one", accuracy)
    assert given == answers("one", accuracy)
    for field in ("colour", "price", "damaged", "parts", "title"):
        assert right(given, field) == pytest.approx(accuracy, abs=0.07)


def test_models_err_apart_and_a_better_one_less() -> None:
    """Two models err in other places; more accuracy takes errors away and adds none."""
    weak, better, other = answers("a", 0.7), answers("a", 0.9), answers("b", 0.7)
    for one, two, truth in zip(weak, better, truths(), strict=True):
        assert one["price"] != truth["price"] or two["price"] == truth["price"]
    both = sum(
        one["price"] != truth["price"] and two["price"] != truth["price"]
        for one, two, truth in zip(weak, other, truths(), strict=True)
    )
    assert both / len(PICTURES) == pytest.approx(0.09, abs=0.05)


def test_truths_fit_the_schema_and_follow_the_seed() -> None:
    """Drawn values fit the schema; another seed has other truths."""
    for one in (*truths(), *answers("a", 0.1)):
        jsonschema_rs.validate(SCHEMA, one)
    assert truths(1) != truths()
    assert len({one["title"] for one in truths()}) > 50


def test_a_scaled_picture_has_the_same_truth() -> None:
    """The truth hangs on the colour, which scaling leaves as it is."""
    small, large = (look(picture(77, size), "image").colour for size in ((64, 48), (640, 480)))
    assert small == large


def test_a_judge_recognises_the_truth() -> None:
    """The marked text that says what is true is better; of two equal ones neither is."""
    question = "Which?\n<first>\n{}\n</first>\n<second>\n{}\n</second>"
    assert verdict([question.format("A lamp.", "A box.")], "A box") == "second"
    assert verdict([question.format("A box!", "A lamp.")], "A box") == "first"
    assert verdict([question.format("A lamp.", "A lamp.")], "A box") == "equal"
    assert verdict(["What is it?"], "A box") is None


@pytest.mark.parametrize("sureness", list(SimulatedSureness))
def test_sureness_goes_with_rightness_as_it_is_told(sureness: SimulatedSureness) -> None:
    """High where the answer is right, where it is wrong, or anywhere."""
    schema = {"properties": {"colour": {"enum": ["red", "blue"]}, "confidence": {"type": "number"}}}
    made = {"colour": "red", "confidence": 0}
    quality = Quality(0, "one", 0.6, sureness)
    given = [quality.answer(schema, dict(made), one) for one in PICTURES]
    known = [truth_of(schema, one) for one in PICTURES]
    by: dict[bool, list[float]] = {True: [], False: []}
    for one, truth in zip(given, known, strict=True):
        by[one["colour"] == truth["colour"]].append(one["confidence"])
    right_mean, wrong_mean = (sum(by[key]) / len(by[key]) for key in (True, False))
    gap = {"informed": 0.45, "uninformed": 0.0, "adversarial": -0.45}[sureness.value]
    assert right_mean - wrong_mean == pytest.approx(gap, abs=0.08)
