"""A run stops where its paid answers fail, and not before that is certain."""

from __future__ import annotations

from typing import Any

from producer.run.waste import WasteBreaker


def row(number: int, *, fails: bool, cost: str = "0.02") -> dict[str, Any]:
    error = {"code": "refused", "message": "I can't help\nwith\x1b[2J that"} if fails else None
    return {"id": f"p{number}", "cost_rub": cost, "error": error}


def breaker(*fails: bool, share: float = 0.5, cost: str = "0.02") -> WasteBreaker:
    made = WasteBreaker(share)
    made.take(row(number, fails=one, cost=cost) for number, one in enumerate(fails))
    return made


def test_it_waits_for_twenty_paid_answers() -> None:
    """Fewer say little, and failures that cost nothing are no waste."""
    assert not breaker(*[True] * 19).has_tripped
    assert breaker(*[True] * 20).has_tripped
    assert not breaker(*[True] * 500, cost="0").has_tripped


def test_it_looks_at_the_last_answers() -> None:
    """Half of them may fail; a good beginning does not excuse what comes after it."""
    assert not breaker(*[False, True] * 200).has_tripped
    assert not breaker(*[False] * 400, *[True] * 25).has_tripped
    assert breaker(*[False] * 400, *[True] * 26).has_tripped
    assert not breaker(*[True] * 400, share=1.0).has_tripped
    assert breaker(*[False] * 19, *[True], share=0.0).has_tripped


def test_it_says_what_was_wasted() -> None:
    """By code and in rubles, with three examples of one printable line each."""
    first, *examples = breaker(*[False] * 9, *[True] * 11).said()
    assert first == "of the last 20 paid answers 11 failed (refused 11), 0.2200 ₽ for nothing"
    assert len(examples) == 3
    assert examples[-1] == "  p19: refused: I can't help with\\x1b[2J that"
