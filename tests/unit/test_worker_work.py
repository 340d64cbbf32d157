"""From a hint to what the ledger gets, through all that happens on the way."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError
from redis import exceptions as redis_errors

from tests.support.worker_parts import MODEL, Clock, ScriptedLedger, claim, dependencies
from visionq.contract import DelayReason, JobDocument, ResultDocument, State
from visionq.errors import NotAnImage
from visionq.ledger import (
    Billing,
    ClaimRefusal,
    Completed,
    Ending,
    Failed,
    Parked,
    RefusalReason,
    Registration,
    Waiting,
    Written,
    failed,
)
from worker import work as module
from worker.pipeline import FencedError
from worker.threads.heartbeat import Leases
from worker.work import Stale, work

if TYPE_CHECKING:
    from collections.abc import Callable

    from visionq.ledger import Outcome

HERE = Registration("w", 1, ("visionq.bulk",))
ANSWER = Completed(ResultDocument(id="job-1", model=MODEL, api="responses", text="a cat"))
PAID = Ending(ANSWER, Billing.SETTLED, 700)


@pytest.fixture
def go(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Outcome | Stale]:
    def start(
        ledger: ScriptedLedger, ending: Ending | Exception = PAID, clock: Clock | None = None
    ) -> Outcome | Stale:
        async def attempt(*_: Any) -> Ending:
            assert len(leases) == 1
            if isinstance(ending, Exception):
                raise ending
            return ending

        leases = Leases(Clock())
        monkeypatch.setattr(module, "run_attempt", attempt)
        try:
            return asyncio.run(work("job-1", dependencies(ledger, clock), leases, HERE))
        finally:
            assert len(leases) == 0

    return start


@pytest.mark.parametrize(
    "ending",
    [
        PAID,
        Ending(failed(NotAnImage("no"))),
        Ending(Waiting(DelayReason.RATE_LIMITED, 1, counted=False)),
        Ending(Parked(DelayReason.BILLING_UNKNOWN), Billing.UNKNOWN),
    ],
    ids=lambda ending: type(ending.outcome).__name__,
)
def test_an_outcome_is_written_and_told(go: Any, ending: Ending) -> None:
    """Every outcome reaches the ledger under its claim, and then Celery."""
    taken = claim()
    ledger = ScriptedLedger({"claim": [taken], "finish": [Written.DONE]})
    assert go(ledger, ending) is ending.outcome
    ((said, written),) = ledger.said("finish")
    assert said is taken
    assert replace(written, counted={}) == ending


def test_tokens_are_random(go: Any) -> None:
    """No two claims share a token."""
    ledger = ScriptedLedger({"claim": [ClaimRefusal(State.COMPLETED)] * 20})
    assert [go(ledger) for _ in range(20)] == [Stale("completed")] * 20
    assert len({args[1] for args in ledger.said("claim")}) == 20


@pytest.mark.parametrize(
    ("reason", "rests"), [(RefusalReason.GATE_CLOSED, True), (RefusalReason.HELD, False)]
)
def test_a_closed_gate_takes_no_hints_from_others(
    go: Any, reason: RefusalReason, *, rests: bool
) -> None:
    """A worker that may not call leaves the next hints to workers with a key that works."""
    clock = Clock()
    refusal = ClaimRefusal(State.QUEUED, reason)
    assert go(ScriptedLedger({"claim": [refusal]}), clock=clock) == Stale(reason)
    assert bool(clock.slept) == rests


def test_an_outage_at_the_claim(go: Any) -> None:
    """A hint that can't be claimed now is let go: the ledger hints again."""
    ledger = ScriptedLedger({"claim": [redis_errors.ConnectionError("away")]})
    assert isinstance(go(ledger), Stale)


def test_a_document_of_tomorrow(go: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """A document that this version can't read is left to another worker, and not shown."""
    with pytest.raises(ValidationError) as raised:
        JobDocument.model_validate({"schema_version": 2, "prompt": 7, "images": "canary"})
    ledger = ScriptedLedger({"claim": [raised.value]})
    assert go(ledger) == Stale("unreadable")
    said = capsys.readouterr()
    assert "canary" not in said.out + said.err


def test_fenced(go: Any) -> None:
    """A job that was taken away is not written to."""
    ledger = ScriptedLedger({"claim": [claim()]})
    assert go(ledger, FencedError("cancelled")) == Stale("cancelled")
    assert ledger.said("finish") == []


def test_late(go: Any) -> None:
    """An ending that the ledger no longer takes as the job's is reported as stale."""
    ledger = ScriptedLedger({"claim": [claim()], "finish": [Written.FENCED]})
    assert go(ledger) == Stale("taken over")


def test_put_off(go: Callable[..., Outcome | Stale]) -> None:
    """An attempt in an outage of the provider is reported as parked for it, not as it ended."""
    ledger = ScriptedLedger({"claim": [claim()], "finish": [Written.PUT_OFF]})
    assert go(ledger, Ending(Waiting(DelayReason.BILLING_UNKNOWN, 1, counted=True))) == Parked(
        DelayReason.PROVIDER_UNAVAILABLE
    )


def test_a_paid_answer_outlives_an_outage(go: Any) -> None:
    """A paid answer is written again and again until Redis takes it."""
    clock = Clock()
    away: list[Any] = [redis_errors.ConnectionError("away")] * 50
    ledger = ScriptedLedger({"claim": [claim()], "finish": [*away, Written.DONE]})
    assert go(ledger, clock=clock) is ANSWER
    assert len(clock.slept) == 50


def test_an_ending_that_can_t_be_written(go: Any) -> None:
    """A result that can't be written ends the job all the same, with its money on the books."""
    broken = UnicodeEncodeError("utf-8", "\ud83d", 0, 1, "surrogates not allowed")
    replies = [broken, broken, Written.DONE]
    ledger = ScriptedLedger({"claim": [claim(cost=300)], "finish": replies, "block": [None] * 2})
    outcome = go(ledger)
    ((_, first), _, (_, second)) = ledger.said("finish")
    assert first.outcome is ANSWER
    assert outcome is second.outcome
    assert isinstance(second.outcome, Failed)
    assert second.outcome.error.code == "internal_error"
    assert second.outcome.error.cost_rub == Decimal("0.000001")
    assert (second.billing, second.cost) == (Billing.SETTLED, 700)


def test_an_ending_that_redis_refuses(go: Any) -> None:
    """A result that Redis refuses is written plainer, and at last as an unrepeatable call."""
    refused = redis_errors.ResponseError("value is not an integer or out of range")
    plain = ScriptedLedger({"claim": [claim()], "finish": [refused, Written.DONE], "block": [None]})
    assert go(plain) is ANSWER
    assert plain.said("finish")[1][1] == PAID
    open_ = ScriptedLedger(
        {"claim": [claim()], "finish": [refused] * 3 + [Written.DONE], "block": [None] * 3}
    )
    assert go(open_) == Parked(DelayReason.BILLING_UNKNOWN)
    assert open_.said("finish")[-1][1].billing is Billing.UNKNOWN
    lost = ScriptedLedger({"claim": [claim()], "finish": [refused] * 4, "block": [None] * 4})
    assert go(lost) == Stale("taken over")


def test_what_was_not_sent_is_not_of_unknown_billing(go: Any) -> None:
    """An ending without a call leaves no money open, however Redis refuses it."""
    refused = redis_errors.ResponseError("value is not an integer or out of range")
    ledger = ScriptedLedger({"claim": [claim()], "finish": [refused] * 3, "block": [None] * 3})
    assert go(ledger, Ending(Waiting(DelayReason.RATE_LIMITED, 1, counted=False))) == Stale(
        "taken over"
    )
    assert {one.billing for _, one in ledger.said("finish")} == {Billing.RELEASED}
