"""Decide the outcome of a job, and of its money, after a failed attempt: pure rules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from visionq.contract import DelayReason, UnknownBilling
from visionq.errors import (
    AccountFault,
    AnswerError,
    BillingUnknown,
    DeadlineExceeded,
    ProviderUnavailable,
    RateLimited,
)
from visionq.ledger import Billing, Held, Parked, Waiting, failed

if TYPE_CHECKING:
    from collections.abc import Callable

    from visionq.errors import VisionqError
    from visionq.ledger import Outcome

#: Seconds: the backoff doubles from the first to the last.
BACKOFF_BASE: Final = 0.5
BACKOFF_CAP: Final = 60.0
#: Seconds to wait at a rate limit that does not say how long, and at most at one that does: it is
#: asked whether it is over.
RATE_LIMIT_WAIT: Final = 1.0
LONGEST_RATE_LIMIT_WAIT: Final = 60.0
#: Calls of unknown billing that one job makes by itself: two, and in an outage of the provider,
#: which is not the job's fault, one more when others were answered or nobody else can try.
MOST_UNKNOWN_CALLS: Final = 2
MOST_UNKNOWN_CALLS_IN_OUTAGE: Final = 3
#: Seconds until a job is checked again that waits for someone to act on the account.
ACCOUNT_RECHECK: Final = 60.0

_MOST_DOUBLINGS: Final = 16
_REASONS: Final = frozenset(DelayReason)


@dataclass(frozen=True, slots=True)
class AttemptFacts:
    """The facts about an attempt, and the job's past, that the rules need."""

    #: Which attempt this is, from 1; those that only waited or parked are not counted.
    number: int
    max_attempts: int
    #: Calls of unknown billing before this attempt.
    unknown_calls: int = 0
    on_unknown_billing: UnknownBilling = UnknownBilling.RETRY
    #: Times in a row that the job has waited at a rate limit before.
    waits: int = 0
    #: Seconds until the job's deadline.
    deadline_left: float | None = None


def decide(error: VisionqError, attempt: AttemptFacts, *, random: Callable[[], float]) -> Outcome:
    """Return the outcome of the job; `random` returns numbers from 0 up to 1.

    Times are seconds from now, so there is no clock.
    """
    if isinstance(error, BillingUnknown):
        return _unknown_billing(error, attempt, random)
    if isinstance(error, AccountFault):
        return Held(reason_of(error), error.model, ACCOUNT_RECHECK)
    if isinstance(error, RateLimited):
        asked = RATE_LIMIT_WAIT if error.retry_after is None else error.retry_after
        floor = min(asked, LONGEST_RATE_LIMIT_WAIT)
        after = floor + backoff(attempt.waits + 1, random)
        return _in_time(Waiting(reason_of(error), after, counted=False), attempt)
    if error.retryable and attempt.number < attempt.max_attempts:
        after = _delay(error, attempt, random)
        return _in_time(Waiting(reason_of(error), after, counted=True), attempt)
    return failed(error)


def reason_of(error: VisionqError) -> DelayReason:
    """Return why a job does not go on: the error's code, or its nearest parent's."""
    codes = [error.code, *(getattr(kind, "code", "") for kind in type(error).__mro__)]
    return next(DelayReason(code) for code in codes if code in _REASONS)


def may_be_put_off(error: VisionqError, attempt: AttemptFacts) -> bool:
    """Return whether a job may return to its lane, unburned, if the provider is out."""
    if isinstance(error, BillingUnknown):
        return _may_call_again(attempt, MOST_UNKNOWN_CALLS_IN_OUTAGE) and _is_before_deadline(
            0, attempt
        )
    return isinstance(error, ProviderUnavailable)


def billing_of(error: VisionqError) -> Billing:
    """Return the billing of a sent call that ended in an error.

    SETTLED at `error.usage`; where the provider gave none, at the forecast, as an estimate.
    """
    if error.usage is not None:
        return Billing.SETTLED if error.usage.total_tokens else Billing.RELEASED
    if isinstance(error, BillingUnknown):
        return Billing.UNKNOWN
    # What the model wrote was paid for, even if the job is wrong otherwise.
    paid = isinstance(error, AnswerError) or error.text is not None
    return Billing.SETTLED if paid else Billing.RELEASED


def backoff(
    number: int,
    random: Callable[[], float],
    base: float = BACKOFF_BASE,
    cap: float = BACKOFF_CAP,
) -> float:
    """Return seconds with full jitter: up to 0.5, 1, 2, 4 …, 60 at most."""
    doublings = min(number - 1, _MOST_DOUBLINGS)
    return random() * min(cap, base * 2.0**doublings)


def _delay(error: VisionqError, attempt: AttemptFacts, random: Callable[[], float]) -> float:
    """Return the provider's delay plus a random backoff, to spread jobs."""
    return (error.retry_after or 0.0) + backoff(attempt.number, random)


def _unknown_billing(
    error: BillingUnknown, attempt: AttemptFacts, random: Callable[[], float]
) -> Outcome:
    may_repeat = (
        _may_call_again(attempt, MOST_UNKNOWN_CALLS) and attempt.number < attempt.max_attempts
    )
    after = _delay(error, attempt, random)
    # A deadline fails jobs that cost nothing; this one may have, and its answer may yet come.
    if not may_repeat or not _is_before_deadline(after, attempt):
        return Parked(DelayReason.BILLING_UNKNOWN)
    return Waiting(DelayReason.BILLING_UNKNOWN, after, counted=True)


def _may_call_again(attempt: AttemptFacts, most: int) -> bool:
    """Whether the call that has just ended unknown may be followed by another."""
    may_repeat = attempt.on_unknown_billing is UnknownBilling.RETRY
    return may_repeat and attempt.unknown_calls + 1 < most


def _in_time(waiting: Waiting, attempt: AttemptFacts) -> Outcome:
    if _is_before_deadline(waiting.delay, attempt):
        return waiting
    return failed(DeadlineExceeded(f"the deadline passes before the next try ({waiting.reason})"))


def _is_before_deadline(after: float, attempt: AttemptFacts) -> bool:
    return attempt.deadline_left is None or after < attempt.deadline_left
