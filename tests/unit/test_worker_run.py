"""How an attempt ends, for every way in which its steps can."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from redis import exceptions as redis_errors

from tests.support.worker_parts import (
    MODEL,
    NOW,
    Clock,
    ScriptedLedger,
    attempt,
    claim,
    dependencies,
)
from visionq import errors
from visionq.contract import DelayReason, ResultDocument, Usage
from visionq.ledger import (
    Admission,
    Billing,
    Completed,
    Ending,
    Failed,
    Held,
    Parked,
    RateLimitFeedback,
    Verdict,
    Waiting,
)
from visionq.pricing.prices import cost_nano_rubles, load_prices
from worker.pipeline import FencedError, GivenBackError, run, run_attempt, steps
from worker.threads.heartbeat import Lease

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from worker.pipeline import Attempt

ANSWERED = Ending(Completed(ResultDocument(id="job-1", model=MODEL, api="responses")))
USAGE = Usage(input_tokens=1000, output_tokens=10)


def lease(clock: Clock | None = None) -> Lease:
    return Lease("job-1", "t", clock or Clock())


def ran(working: Attempt, kept: Lease) -> Ending:
    return asyncio.run(run_attempt(working, kept))


async def passes(_: Attempt) -> None:
    return None


async def answers(_: Attempt) -> Ending:
    return ANSWERED


def fails(error: BaseException, *, sent: bool = False) -> Callable[[Attempt], Awaitable[None]]:
    async def step(attempt: Attempt) -> None:
        attempt.sent = sent
        raise error

    return step


@pytest.fixture
def with_steps(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def replace(*replaced: Callable[[Attempt], Awaitable[Ending | None]]) -> None:
        monkeypatch.setattr(run, "STEPS", tuple(run.Step(step, 10) for step in replaced))

    return replace


def end(error: BaseException, with_steps: Any, *, sent: bool = False, **fields: Any) -> Ending:
    with_steps(fails(error, sent=sent))
    working = attempt(claim(**fields))
    working.worst_case = 12345
    return ran(working, lease())


def failure(ending: Ending) -> Failed:
    assert isinstance(ending.outcome, Failed), ending
    return ending.outcome


def test_the_way() -> None:
    """The steps are those of the design, in its order."""
    names = [step.name for step in run.STEPS]
    assert names == ["load", "recall", "check", "encode", "admit", "ask"]


def test_ends_at_the_first_ending(with_steps: Any) -> None:
    """The step that has the answer is the last; each one before is measured."""
    clock = Clock()

    async def slow(_: Attempt) -> None:
        clock.now += 0.25

    with_steps(slow, answers, fails(AssertionError()))
    working = attempt(with_dependencies=dependencies(clock=clock))
    assert ran(working, lease()) is ANSWERED
    assert working.timings_ms == {"slow": 250.0, "answers": 0.0}


def test_a_way_without_end(with_steps: Any) -> None:
    """Steps that end nothing are a fault of visionq, and are reported as one."""
    with_steps(passes)
    with pytest.raises(RuntimeError, match="last step"):
        ran(attempt(), lease())


def test_fenced(with_steps: Any) -> None:
    """An attempt whose job was taken away writes nothing."""
    with pytest.raises(FencedError):
        end(FencedError("cancelled"), with_steps)


# Errors of the tree -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        errors.NotAnImage("a text", image="b.png"),
        errors.BlobMissing("gone", image="b.png"),
        errors.InvalidJob("answer_schema: no"),
        errors.RequestRejected("no"),
        errors.DeadlineExceeded("late"),
    ],
    ids=lambda error: error.code,
)
def test_wrong_jobs_fail_free(with_steps: Any, error: errors.VisionqError) -> None:
    """A fault of the job ends it at once, at no cost, with code, class and picture."""
    ending = end(error, with_steps, cost=500)
    document = failure(ending).error
    assert (document.code, document.image) == (error.code, error.image)
    assert failure(ending).error_type == type(error).__name__
    assert (ending.billing, ending.cost) == (Billing.RELEASED, 0)
    assert document.cost_rub == Decimal("0.0000005")  # what earlier attempts cost


@pytest.mark.parametrize("kind", [errors.Refused, errors.Incomplete, errors.InvalidOutput])
def test_paid_failures(with_steps: Any, kind: type[errors.VisionqError]) -> None:
    """An answer that is of no use was paid: its cost and its text are in the error's document."""
    price = load_prices().for_model(MODEL)
    assert price is not None
    cost = cost_nano_rubles(price, USAGE)
    error = kind("no", usage=USAGE, text="half an ans", request_id="r1")
    ending = end(error, with_steps, sent=True, cost=1000)
    assert (ending.billing, ending.cost) == (Billing.SETTLED, cost)
    document = failure(ending).error
    assert document.cost_rub == Decimal(cost + 1000) / 10**9
    assert (document.text, document.request_id) == ("half an ans", "r1")


def test_a_paid_failure_without_count(with_steps: Any) -> None:
    """If the provider did not count, the most that the call can cost is taken."""
    ending = end(errors.Refused("no"), with_steps, sent=True)
    assert (ending.billing, ending.cost) == (Billing.SETTLED, 12345)


def test_free_faults_come_again(with_steps: Any) -> None:
    """A free transient fault uses up an attempt and comes again, until there are none left."""
    error = errors.ProviderUnavailable("503", retry_after=7)
    ending = end(error, with_steps, sent=True)
    again = Ending(Waiting(DelayReason.PROVIDER_UNAVAILABLE, 7.25, counted=True))
    assert ending == replace(again, may_be_put_off=True)
    ending = end(error, with_steps, sent=True, attempts=2)  # the third of three
    assert failure(ending).error.code == "provider_unavailable"
    assert ending.billing is Billing.RELEASED


def test_rate_limits_use_up_nothing(with_steps: Any) -> None:
    """A rate limit is waited for, without an attempt, however often."""
    ending = end(errors.RateLimited("429", retry_after=3), with_steps, sent=True, attempts=2)
    news = RateLimitFeedback(refused=True, pause=3)
    assert ending == Ending(Waiting(DelayReason.RATE_LIMITED, 3.25, counted=False), rate_limit=news)


def test_the_account(with_steps: Any) -> None:
    """A fault of the account holds every call of the key; the job goes back to its lane."""
    ending = end(errors.InsufficientBalance("402"), with_steps, sent=True)
    assert ending == Ending(Held(DelayReason.INSUFFICIENT_BALANCE, None, 60))


def test_no_try_beyond_the_deadline(with_steps: Any) -> None:
    """A job whose next try would come too late fails now, by the ledger's clock."""
    soon = datetime.fromtimestamp(NOW + 5, UTC)
    error = errors.ProviderUnavailable("503", retry_after=5)
    document = failure(end(error, with_steps, sent=True, deadline=soon)).error
    assert document.code == "deadline_exceeded"
    assert "provider_unavailable" in document.message
    later = datetime.fromtimestamp(NOW + 6, UTC)
    assert isinstance(end(error, with_steps, sent=True, deadline=later).outcome, Waiting)


# Calls of unknown billing -------------------------------------------------------------------------


def test_unknown_billing(with_steps: Any) -> None:
    """A call that may have been paid is repeated once; after that, or under `hold`, it parks."""
    error = errors.BillingUnknown("cut")
    ending = end(error, with_steps, sent=True)
    again = Ending(Waiting(DelayReason.BILLING_UNKNOWN, 0.25, counted=True), Billing.UNKNOWN, 12345)
    assert ending == replace(again, may_be_put_off=True)
    parked = Ending(Parked(DelayReason.BILLING_UNKNOWN), Billing.UNKNOWN, 12345)
    second = end(error, with_steps, sent=True, unknown_calls=1)
    assert second == replace(parked, may_be_put_off=True)
    assert end(error, with_steps, sent=True, unknown_calls=2) == parked
    assert end(error, with_steps, sent=True, on_unknown_billing="hold") == parked


def test_an_interrupted_call_is_made_again(with_steps: Any) -> None:
    """After the first call that died with its worker the job goes on."""
    with_steps(answers)
    interrupted = claim(interrupted=True, unknown_calls=1)
    assert ran(attempt(interrupted), lease()) is ANSWERED


@pytest.mark.parametrize(
    "fields", [{"unknown_calls": 2}, {"unknown_calls": 1, "on_unknown_billing": "hold"}]
)
def test_an_interrupted_call_that_parks(with_steps: Any, fields: dict[str, Any]) -> None:
    """Under `hold`, or after the second one, it parks before anything is looked at."""
    with_steps(fails(AssertionError()))
    ending = ran(attempt(claim(interrupted=True, **fields)), lease())
    assert ending.outcome == Parked(DelayReason.BILLING_UNKNOWN)


def test_unknown_after_an_interruption(with_steps: Any) -> None:
    """An interrupted call and one more of unknown billing are two: the job is parked."""
    error = errors.BillingUnknown("cut")
    ending = end(error, with_steps, sent=True, interrupted=True, unknown_calls=1)
    assert ending.outcome == Parked(DelayReason.BILLING_UNKNOWN)


# What nobody foresaw ------------------------------------------------------------------------------


def test_unforeseen_before_sending(with_steps: Any) -> None:
    """An unforeseen error before the call is free and tried again, in the end as internal."""
    ending = end(ZeroDivisionError("oh"), with_steps)
    assert ending == Ending(Waiting(DelayReason.INTERNAL_ERROR, 0.25, counted=True))
    document = failure(end(ZeroDivisionError("oh"), with_steps, attempts=2)).error
    assert (document.code, document.cost_rub) == ("internal_error", Decimal(0))


def test_unforeseen_after_sending(with_steps: Any) -> None:
    """An unforeseen error behind the call leaves its billing unknown."""
    ending = end(ZeroDivisionError("oh"), with_steps, sent=True)
    again = Ending(Waiting(DelayReason.BILLING_UNKNOWN, 0.25, counted=True), Billing.UNKNOWN, 12345)
    assert ending == replace(again, may_be_put_off=True)
    ending = end(MemoryError(), with_steps, sent=True, unknown_calls=1)
    assert ending.outcome == Parked(DelayReason.BILLING_UNKNOWN)


@pytest.mark.parametrize(
    "error",
    [
        redis_errors.ConnectionError("gone"),
        redis_errors.OutOfMemoryError("full"),
        errors.QueueUnavailable("the blob store is away"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_outages_use_up_nothing(with_steps: Any, error: Exception) -> None:
    """A job never fails because Redis or the blobs were away or full: it keeps its attempts."""
    ending = end(error, with_steps, attempts=2, waits=3)
    assert ending == Ending(Waiting(DelayReason.QUEUE_UNAVAILABLE, 2.0, counted=False))


# The lease ----------------------------------------------------------------------------------------


def test_each_step_has_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step extends the lease by its own patience, counted from its beginning."""
    clock, kept = Clock(), lease()
    kept.clock = clock
    seen: list[float] = []

    async def look(_: Attempt) -> None:
        seen.append(kept.renew_until - clock.now)
        clock.now += 1

    monkeypatch.setattr(run, "STEPS", (run.Step(look, 10), run.Step(look, 3), run.Step(answers, 1)))
    ran(attempt(), kept)
    assert seen == [10, 3]


def test_progress_within_a_step(with_steps: Any) -> None:
    """A step that comes on, picture by picture, is not hung however many there are."""
    clock, kept = Clock(), lease()
    kept.clock = clock

    async def many_pictures(attempt: Attempt) -> None:
        for _ in range(5):
            clock.now += 9
            attempt.progress()
        assert kept.renew_until == clock.now + 10

    with_steps(many_pictures, answers)
    assert ran(attempt(), kept) is ANSWERED


def test_asking_may_take_its_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The call itself may take as long as its own timeouts allow."""
    clock, kept = Clock(), lease()
    kept.clock = clock
    seen: list[float] = []

    async def ask(_: Attempt) -> Ending:
        seen.append(kept.renew_until - clock.now)
        return ANSWERED

    monkeypatch.setattr(steps, "ask", ask)
    monkeypatch.setattr(run, "STEPS", (run.Step(ask, 60),))
    working = attempt()
    ran(working, kept)
    settings = working.dependencies.settings
    assert seen == [60 + settings.connect_timeout + settings.request_timeout]


def test_waiting_for_a_permit() -> None:
    """A call that is early waits for the time given, counts as alive, and asks again."""
    said = [Admission(Verdict.WAIT, wait=1.5), Admission(Verdict.WAIT, wait=0.25)]
    ledger = ScriptedLedger({"admit": [*said, Admission(Verdict.GO)]})
    clock = Clock()
    going = attempt(with_dependencies=dependencies(ledger, clock))
    signs: list[float] = []
    going.progress = lambda: signs.append(clock.now)
    assert asyncio.run(steps.admit(going)) is None
    assert going.sent
    assert clock.slept == [1.5, 0.25]
    assert signs == [100.0, 101.5, 101.75]


def test_a_permit_that_is_too_far_off() -> None:
    """A job that was put back for its model's rate waits; it is not parked."""
    ledger = ScriptedLedger({"admit": [Admission(Verdict.PARK, reason=DelayReason.RATE_LIMITED)]})
    with pytest.raises(GivenBackError) as given_back:
        asyncio.run(steps.admit(attempt(with_dependencies=dependencies(ledger))))
    assert given_back.value.outcome == Waiting(DelayReason.RATE_LIMITED, 0, counted=False)
