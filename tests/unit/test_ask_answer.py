"""The line below an answer tells what it is worth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from producer.ask_command import _print_answer
from visionq.contract.result import ResultDocument

GOLDEN = Path(__file__).parents[1] / "contract" / "golden" / "result-full.json"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"cost_rub": "0.5", "cost_is_estimate": True, "cached": False}, "· ~0.5 ₽ · 1.0 s"),
        ({"cost_rub": "0", "cost_is_estimate": True, "cached": True}, "· 0 ₽ · 1.0 s · cached"),
        (
            {"cost_rub": "0.5", "cost_is_estimate": False, "cached": False, "simulated": True},
            "· 0.5 ₽ · 1.0 s · simulated",
        ),
    ],
)
def test_the_line_below(
    capsys: pytest.CaptureFixture[str], fields: dict[str, Any], words: str
) -> None:
    """Nothing is not about nothing, and no answer of the simulator passes for a model's."""
    document = (
        json.loads(GOLDEN.read_text("utf-8"))
        | {"simulated": False, "steps": [], "near": None}
        | fields
    )
    _print_answer(ResultDocument.model_validate(document), 1.0)
    assert capsys.readouterr().out.rstrip().endswith(words)
