"""The scripts against a plain Python model: no job, slot or ruble is lost in any order."""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.support.ledger_model.both_ways import ComparingLedger
from tests.support.ledger_model.machine import LedgerMachine

if TYPE_CHECKING:
    from redis import Redis

#: Scripts of the common way.
COMMON = ("admit_plain", "finish_plain")
#: How many runs of the machine; thousands are worth it after a change of a script.
EXAMPLES = int(os.environ.get("LEDGER_MODEL_EXAMPLES", "0"))


def _explore(
    redis: Redis,
    examples: int,
    *,
    broker_is_here: bool,
    taken: Counter[tuple[str, bool]] | None = None,
) -> None:
    class Machine(LedgerMachine):
        def __init__(self) -> None:
            super().__init__(redis, broker_is_here=broker_is_here)
            if taken is not None:
                self.ledger = ComparingLedger(redis, self.ledger.options, self.clock)
                self.ledger.taken = taken

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=EXAMPLES or examples,
            stateful_step_count=50,
            derandomize=not EXAMPLES,
            database=None,
            phases=[Phase.generate, Phase.shrink] if EXAMPLES else [Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.timeout(0 if EXAMPLES else 300)
@pytest.mark.parametrize("broker_is_here", [True, False])
def test_model(redis: Redis, *, broker_is_here: bool) -> None:
    """After any steps in any order, the ledger is where its model is, and sound."""
    _explore(redis, 10, broker_is_here=broker_is_here)


@pytest.mark.timeout(0 if EXAMPLES else 300)
def test_both_ways(redis: Redis) -> None:
    """From any state the script of the common way does as the full one, or nothing at all."""
    taken: Counter[tuple[str, bool]] = Counter()
    _explore(redis, 5, broker_is_here=True, taken=taken)
    assert set(taken) == {(name, took) for name in COMMON for took in (True, False)}


@pytest.mark.timeout(0 if EXAMPLES else 300)
def test_model_everywhere(any_redis: Redis) -> None:
    """The same holds on every release and every kind of connection."""
    _explore(any_redis, 2, broker_is_here=True)
