"""One vocabulary for what keeps a job from going on: the contract's, wherever it is named."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

from monitoring.exporter.snapshot import label_of
from visionq.contract import DelayReason
from visionq.errors import BY_CODE
from visionq.ledger import Held, Parked, Waiting
from visionq.ledger.scripts import SCRIPTS, script_text
from worker.decision import AttemptFacts, decide

ROOT: Final = Path(__file__).parents[2]
REASONS: Final = frozenset(DelayReason)
#: Reasons that a worker decides on in another place than `decide`, or an operator.
ELSEWHERE: Final = frozenset(
    {DelayReason.REPAIR, DelayReason.OPERATOR, DelayReason.QUEUE_UNAVAILABLE}
)


def named_in(page: str, pattern: str) -> set[str]:
    return set(re.findall(pattern, (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE))


def test_every_reason_is_emitted() -> None:
    """A reason that neither a script nor the worker's decision gives is dropped."""
    scripts = "\n".join(script_text(name) for name in SCRIPTS)
    by_scripts = {reason for reason in DelayReason if f"'{reason}'" in scripts}
    outcomes = (
        decide(error("no"), AttemptFacts(1, 10), random=lambda: 0.5) for error in BY_CODE.values()
    )
    decided = {one.reason for one in outcomes if isinstance(one, Waiting | Parked | Held)}
    assert by_scripts | decided | ELSEWHERE == REASONS


@pytest.mark.parametrize("reason", DelayReason)
def test_the_exporter_shows_every_reason(reason: DelayReason) -> None:
    """No reason of the contract is shown as `other`."""
    assert label_of(reason) == reason


@pytest.mark.parametrize("page", ["docs/operations.md", "docs/operations.ru.md"])
def test_operators_find_every_reason(page: str) -> None:
    """The table of what waits and is parked names every reason, and no other."""
    rows = named_in(page, r"^\| `(?:queued|waiting|parked)` \| (`[^|]+`) \|")
    assert {one for row in rows for one in re.findall(r"`(\w+)`", row)} == REASONS


@pytest.mark.parametrize("page", ["visionq.rules.yml", "visionq.rules_test.yml"])
def test_alerts_know_their_reasons(page: str) -> None:
    """An alert that waits for a reason which nobody gives would never fire."""
    matchers = named_in(
        f"monitoring/prometheus/{page}",
        r"(?:jobs_delayed_total|parked_jobs|gate_reason)\{[^}]*reason[=!]~?\"([^\"]+)\"",
    )
    named = {one for matcher in matchers for one in matcher.split("|")}
    assert named
    assert named <= REASONS
