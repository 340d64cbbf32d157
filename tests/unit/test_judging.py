"""A judge sees what was asked for each answer, in the order of the answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from producer.compare.comparison_plan import ComparisonOptions, ComparisonPlan
from producer.compare.judging import rows_to_quote
from producer.compare.stratified_sample import HeldRows
from producer.compare.variants import Variant
from producer.prompts import Prompt
from producer.run.plan import Question
from producer.sources import Row

if TYPE_CHECKING:
    from pathlib import Path


def questions(tmp_path: Path, *prompts: str) -> list[Any]:
    rows = [Row(1, "a", ("a.png",), {"name": "cup"})]
    variants = [
        Variant(letter, Question(Prompt(prompt), {"model": "m"}), letter)
        for letter, prompt in zip("AB", prompts, strict=True)
    ]
    options = ComparisonOptions(tmp_path / "out.jsonl", judge="m")
    plan = ComparisonPlan(HeldRows("rows", rows, ""), variants, {}, None, options)
    return [row.variables["question"] for row in rows_to_quote(plan, rows).held]


def test_the_same_question_comes_once(tmp_path: Path) -> None:
    """One question is shown as it was asked."""
    assert questions(tmp_path, "What is {name}?", "What is {name}?") == ["What is cup?"] * 2


def test_different_questions_come_with_their_answers(tmp_path: Path) -> None:
    """Two questions change their places with the answers."""
    one, other = questions(tmp_path, "Name {name}.", "Describe {name}.")
    assert one.index("Name cup.") < one.index("Describe cup.")
    assert other.index("Describe cup.") < other.index("Name cup.")
