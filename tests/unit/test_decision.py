"""What becomes of a job after an attempt that brought no answer: the whole table."""

from __future__ import annotations

from dataclasses import replace

import pytest

from visionq import errors
from visionq.contract import DelayReason, UnknownBilling, Usage
from visionq.ledger import Billing, Failed, Held, Outcome, Parked, Waiting, failed
from worker.decision import (
    ACCOUNT_RECHECK,
    AttemptFacts,
    backoff,
    billing_of,
    decide,
    may_be_put_off,
)

FIRST = AttemptFacts(number=1, max_attempts=10)
LAST = AttemptFacts(number=10, max_attempts=10)
HOLD = AttemptFacts(number=1, max_attempts=10, on_unknown_billing=UnknownBilling.HOLD)
AGAIN = AttemptFacts(number=2, max_attempts=10, unknown_calls=1)

ENDINGS = [
    error
    for error in errors.BY_CODE.values()
    if issubclass(error, errors.JobError | errors.AnswerError | errors.JobStopped)
    and not error.retryable
]
FREE_FAULTS = [errors.ProviderUnavailable, errors.DownloadFailed, errors.QueueUnavailable]
ACCOUNT_FAULTS = [errors.InsufficientBalance, errors.KeyRejected, errors.AccessDenied]


def half() -> float:
    return 0.5


def decided(error: errors.VisionqError, attempt: AttemptFacts = FIRST) -> Outcome:
    return decide(error, attempt, random=half)


@pytest.mark.parametrize("error", ENDINGS)
def test_what_no_attempt_can_mend_fails_at_once(error: type[errors.VisionqError]) -> None:
    """A wrong job, a paid non-answer and a stopped job end with their own error."""
    found = error("no")
    assert decided(found) == failed(found)


@pytest.mark.parametrize("error", FREE_FAULTS)
def test_a_free_fault_is_retried(error: type[errors.VisionqError]) -> None:
    """A fault that cost nothing comes back after a jittered pause."""
    assert decided(error("no")) == Waiting(DelayReason(error.code), 0.25, counted=True)


@pytest.mark.parametrize("error", FREE_FAULTS)
def test_attempts_end(error: type[errors.VisionqError]) -> None:
    """The last attempt's error is the job's error."""
    found = error("no")
    assert decided(found, LAST) == failed(found)


@pytest.mark.parametrize("error", ACCOUNT_FAULTS)
@pytest.mark.parametrize("attempt", [FIRST, LAST])
def test_a_fault_of_the_account_holds(
    error: type[errors.VisionqError], attempt: AttemptFacts
) -> None:
    """Nobody's job fails because money, key or access ran out, however often it was tried."""
    assert decided(error("no"), attempt) == Held(DelayReason(error.code), None, ACCOUNT_RECHECK)


@pytest.mark.parametrize("attempt", [FIRST, LAST])
def test_a_rate_limit_waits_and_counts_for_nothing(attempt: AttemptFacts) -> None:
    """Waiting at a limit burns no attempt, not even the last."""
    error = errors.RateLimited("slow", retry_after=7)
    assert decided(error, attempt) == Waiting(DelayReason.RATE_LIMITED, 7.25, counted=False)


def test_a_rate_limit_without_a_time_slows_down_more_and_more() -> None:
    """Without a word from the provider, repeated waits grow."""
    waits = [
        decided(errors.RateLimited("slow"), AttemptFacts(number=1, max_attempts=10, waits=times))
        for times in (0, 3, 40)
    ]
    assert waits == [
        Waiting(DelayReason.RATE_LIMITED, after, counted=False) for after in (1.25, 3.0, 31.0)
    ]


@pytest.mark.parametrize(
    ("attempt", "decision"),
    [
        (FIRST, Waiting(DelayReason.BILLING_UNKNOWN, 0.25, counted=True)),
        (AGAIN, Parked(DelayReason.BILLING_UNKNOWN)),
        (HOLD, Parked(DelayReason.BILLING_UNKNOWN)),
        (LAST, Parked(DelayReason.BILLING_UNKNOWN)),
        (
            AttemptFacts(number=1, max_attempts=10, deadline_left=0.1),
            Parked(DelayReason.BILLING_UNKNOWN),
        ),
    ],
    ids=["first", "repeated", "hold", "last attempt", "deadline"],
)
def test_unknown_billing_is_repeated_once_at_most(attempt: AttemptFacts, decision: Outcome) -> None:
    """A call that may have been billed is never made a third time, nor a second under `hold`."""
    assert decided(errors.BillingUnknown("cut"), attempt) == decision


@pytest.mark.parametrize(
    ("error", "attempt", "may"),
    [
        (errors.ProviderUnavailable("x"), LAST, True),
        (errors.BillingUnknown("x"), AGAIN, True),
        (errors.BillingUnknown("x"), replace(AGAIN, unknown_calls=2), False),
        (errors.BillingUnknown("x"), HOLD, False),
        (errors.BillingUnknown("x"), replace(FIRST, deadline_left=-1), False),
        (errors.RateLimited("x"), FIRST, False),
        (errors.Refused("x"), FIRST, False),
    ],
)
def test_who_waits_for_the_end_of_an_outage(
    error: errors.VisionqError, attempt: AttemptFacts, *, may: bool
) -> None:
    """A job whose call brought no word of the provider may, unless it has called enough."""
    assert may_be_put_off(error, attempt) is may


def test_a_rate_limit_is_tried_within_a_minute() -> None:
    """However long the provider asks to wait, the job asks again after a minute."""
    wait = decided(errors.RateLimited("slow", retry_after=999_999_999))
    assert wait == Waiting(DelayReason.RATE_LIMITED, 60.25, counted=False)


def test_what_the_provider_asks_for_is_the_least() -> None:
    """A retry comes no sooner than `Retry-After`, and not all jobs come at that very moment."""
    error = errors.ProviderUnavailable("busy", retry_after=20)
    soonest = decide(error, FIRST, random=lambda: 0.0)
    later = decide(error, FIRST, random=lambda: 0.99)
    assert soonest == Waiting(DelayReason.PROVIDER_UNAVAILABLE, 20, counted=True)
    assert isinstance(later, Waiting)
    assert later.delay > 20
    unknown = decided(errors.BillingUnknown("cut", retry_after=20))
    assert unknown == Waiting(DelayReason.BILLING_UNKNOWN, 20.25, counted=True)


@pytest.mark.parametrize(
    ("number", "longest"), [(1, 0.5), (2, 1), (3, 2), (7, 32), (8, 60), (9, 60), (10_000, 60)]
)
def test_backoff_doubles_with_full_jitter(number: int, longest: float) -> None:
    """The pause lies anywhere between nothing and a limit that doubles up to a minute."""
    assert backoff(number, lambda: 0.0) == 0
    assert backoff(number, lambda: 1.0) == longest


@pytest.mark.parametrize(
    "error",
    [errors.ProviderUnavailable("x", retry_after=30), errors.RateLimited("x", retry_after=30)],
)
def test_no_pause_outlasts_the_deadline(error: errors.VisionqError) -> None:
    """A job that can't be tried again in time fails now, not after a useless wait."""
    decision = decided(error, AttemptFacts(number=1, max_attempts=10, deadline_left=20))
    assert isinstance(decision, Failed)
    assert decision.error.code == "deadline_exceeded"
    assert not isinstance(
        decided(error, AttemptFacts(number=1, max_attempts=10, deadline_left=60)), Failed
    )


def test_every_code_of_the_tree_has_a_decision() -> None:
    """No class falls through without an outcome, whose reason is its code or that of a parent."""
    for error in errors.BY_CODE.values():
        outcome = decided(error("no"))
        if not isinstance(outcome, Failed):
            assert isinstance(outcome, Waiting | Parked | Held)
            assert outcome.reason in {getattr(kind, "code", None) for kind in error.__mro__}


PAID = Usage(input_tokens=10, output_tokens=1)


@pytest.mark.parametrize(
    ("error", "billing"),
    [
        (errors.ProviderUnavailable("x"), Billing.RELEASED),
        (errors.RateLimited("x"), Billing.RELEASED),
        (errors.InsufficientBalance("x"), Billing.RELEASED),
        (errors.CorruptImage("x"), Billing.RELEASED),
        (errors.CorruptImage("x", usage=PAID), Billing.SETTLED),
        (errors.Refused("x", usage=Usage()), Billing.RELEASED),
        (errors.Refused("x", usage=PAID), Billing.SETTLED),
        (errors.Incomplete("x"), Billing.SETTLED),
        (errors.BillingUnknown("x"), Billing.UNKNOWN),
    ],
)
def test_what_an_error_means_for_the_money(error: errors.VisionqError, billing: Billing) -> None:
    """Refused calls are free, counted ones settled, and a doubt is never taken for free."""
    assert billing_of(error) is billing
