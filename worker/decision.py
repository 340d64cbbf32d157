"""What becomes of a job, and of its money, after an attempt that brought no answer: pure rules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from visionq.contract import UnknownBilling
from visionq.errors import (
    AccountFault,
    AnswerError,
    BillingUnknown,
    DeadlineExceeded,
    InternalError,
    ProviderUnavailable,
    RateLimited,
    VisionqError,
)
from visionq.ledger.records import Billing

if TYPE_CHECKING:
    from collections.abc import Callable

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
#: Seconds until a job is looked at again that waits for somebody to act on the account.
ACCOUNT_RECHECK: Final = 60.0

_MOST_DOUBLINGS: Final = 16


@dataclass(frozen=True, slots=True)
class AttemptFacts:
    """What the rules need to know of the attempt and of the job's past."""

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


@dataclass(frozen=True, slots=True)
class Retry:
    """Again after so many seconds; the attempt counts."""

    after: float
    reason: str


@dataclass(frozen=True, slots=True)
class Wait:
    """Again after so many seconds; the attempt does not count."""

    after: float
    reason: str


@dataclass(frozen=True, slots=True)
class Park:
    """Until somebody acts; looked at again after `recheck` seconds, if at all. Does not count."""

    reason: str
    recheck: float | None = None


@dataclass(frozen=True, slots=True)
class Hold:
    """No call like this one can succeed now: all of its kind are held. Does not count."""

    reason: str
    #: `gate` for every call of the key, else `model:…`.
    scope: str
    #: Seconds until a held model is tried again.
    recheck: float = ACCOUNT_RECHECK


@dataclass(frozen=True, slots=True)
class Fail:
    """The job ends with this error."""

    error: VisionqError


Decision = Retry | Wait | Park | Hold | Fail


def decide(error: Exception, attempt: AttemptFacts, *, random: Callable[[], float]) -> Decision:
    """Return what becomes of the job; `random` gives numbers from 0 up to 1.

    Times are seconds from now, so there is no clock. An error from outside the tree is a fault of
    our own: the job fails with `internal_error`, and the error stays attached as the cause.
    """
    if not isinstance(error, VisionqError):
        return Fail(_internal(error))
    if isinstance(error, BillingUnknown):
        return _unknown_billing(error, attempt, random)
    if isinstance(error, AccountFault):
        return Hold(error.code, error.scope)
    if isinstance(error, RateLimited):
        told = RATE_LIMIT_WAIT if error.retry_after is None else error.retry_after
        floor = min(told, LONGEST_RATE_LIMIT_WAIT)
        after = floor + backoff(attempt.waits + 1, random)
        return _in_time(Wait(after, error.code), attempt)
    if error.retryable and attempt.number < attempt.max_attempts:
        return _in_time(Retry(_delay(error, attempt, random), error.code), attempt)
    return Fail(error)


def may_be_put_off(error: Exception, attempt: AttemptFacts) -> bool:
    """Return whether the job may go back to its lane, unburned, should the provider be out."""
    if isinstance(error, BillingUnknown):
        return _may_call_again(attempt, MOST_UNKNOWN_CALLS_IN_OUTAGE) and _is_before_deadline(
            0, attempt
        )
    return isinstance(error, ProviderUnavailable)


def billing_of(error: Exception) -> Billing:
    """Return what an error means for the money that a sent call had reserved.

    SETTLED at `error.usage`; where the provider gave none, at the forecast, as an estimate.
    """
    if not isinstance(error, VisionqError):
        return Billing.UNKNOWN
    if error.usage is not None:
        return Billing.SETTLED if error.usage.total_tokens else Billing.RELEASED
    if isinstance(error, BillingUnknown):
        return Billing.UNKNOWN
    # What the model wrote was paid for, whatever is wrong with the job otherwise.
    paid = isinstance(error, AnswerError) or error.text is not None
    return Billing.SETTLED if paid else Billing.RELEASED


def backoff(
    number: int,
    random: Callable[[], float],
    base: float = BACKOFF_BASE,
    cap: float = BACKOFF_CAP,
) -> float:
    """Return seconds with full jitter: up to 0.5, 1, 2, 4 … and at most 60."""
    doublings = min(number - 1, _MOST_DOUBLINGS)
    return random() * min(cap, base * 2.0**doublings)


def _delay(error: VisionqError, attempt: AttemptFacts, random: Callable[[], float]) -> float:
    """Return the backoff on top of what the provider asks for, so that not all come at once."""
    return (error.retry_after or 0.0) + backoff(attempt.number, random)


def _unknown_billing(
    error: BillingUnknown, attempt: AttemptFacts, random: Callable[[], float]
) -> Decision:
    may_repeat = (
        _may_call_again(attempt, MOST_UNKNOWN_CALLS) and attempt.number < attempt.max_attempts
    )
    after = _delay(error, attempt, random)
    # A deadline fails jobs that cost nothing; this one may have, and its answer may yet come.
    if not may_repeat or not _is_before_deadline(after, attempt):
        return Park(error.code)
    return Retry(after, error.code)


def _may_call_again(attempt: AttemptFacts, most: int) -> bool:
    """Whether the call that has just ended unknown may be followed by another."""
    may_repeat = attempt.on_unknown_billing is UnknownBilling.RETRY
    return may_repeat and attempt.unknown_calls + 1 < most


def _in_time(decision: Retry | Wait, attempt: AttemptFacts) -> Decision:
    if _is_before_deadline(decision.after, attempt):
        return decision
    return Fail(DeadlineExceeded(f"the deadline passes before the next try ({decision.reason})"))


def _is_before_deadline(after: float, attempt: AttemptFacts) -> bool:
    return attempt.deadline_left is None or after < attempt.deadline_left


def _internal(error: Exception) -> VisionqError:
    internal = InternalError(f"an unexpected {type(error).__name__}")
    internal.__cause__ = error
    return internal
