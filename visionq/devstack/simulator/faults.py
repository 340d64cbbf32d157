"""Faults of the simulator: on demand, or at random with a seed."""

from __future__ import annotations

from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Final

from visionq.devstack.simulator.refusals import (
    SimulatedRefusal,
    by_openai,
    insufficient_balance,
    invalid_key,
)

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Mapping


class Fault(StrEnum):
    """The fault of one call."""

    RATE_LIMIT = "429"
    SERVER_ERROR = "500"
    OVERLOADED = "503"
    INVALID_KEY = "401"
    INSUFFICIENT_BALANCE = "402"
    BAD_GATEWAY = "502"
    """A page of something in front that reaches nobody. Not billed."""
    NO_FORM = "no_form"
    """JSON of nobody's form, with status 503, from something in front. Not billed."""
    HTML_200 = "html_200"
    """A page instead of an answer. Billed: the answer was made, something in front ate it."""
    ERROR_200 = "error_200"
    """An error that calls itself a success. Not billed."""
    BROKEN_JSON = "broken_json"
    """Half an answer, whole by its length. Billed."""
    HANG = "hang"
    """No answer until the client goes. Not billed."""
    CUT_BEFORE_BILLING = "cut_before_billing"
    """The connection ends without an answer. Not billed."""
    CUT_AFTER_BILLING = "cut_after_billing"
    """The connection ends in the middle of the answer. Billed."""
    REFUSAL = "refusal"
    """The model declines. Billed, with usage."""
    INCOMPLETE = "incomplete"
    """The answer stops at the limit of tokens. Billed, with usage."""
    WRONG_FORM = "wrong_form"
    """The answer is plain text in place of any form asked for. Billed, with usage."""


class BatchFault(StrEnum):
    """The fault of a file or a batch."""

    UPLOAD_LOST = "upload_lost"
    """The file is kept, and the connection ends without an answer."""
    CREATE_LOST = "create_lost"
    """The batch is made, and the connection ends without an answer."""
    DOWNLOAD_CUT = "download_cut"
    """The connection ends in the middle of a file."""
    VALIDATION_FAILURE = "validation_failure"
    """The first line counts as no JSON: nothing is asked."""
    PARTIAL_EXPIRY = "partial_expiry"
    """The share of the lines is not asked before the window ends."""
    CANCELLED_FINALIZING = "cancelled_finalizing"
    """The batch ends as cancelled after all of its lines were asked, and billed."""
    LINES_MISSING = "lines_missing"
    """The share of the lines is in no file. Billed."""
    LINES_DOUBLED = "lines_doubled"
    """The share of the lines is in the file twice. Billed once."""
    LINES_FAILED = "lines_failed"
    """The share of the lines gets a 500. Not billed."""
    LINES_TIMED_OUT = "lines_timed_out"
    """The share of the lines gets an error in place of an answer. Billed."""


#: Faults that leave the call unanswered and unbilled: they strike before the request is read.
EARLY: Final = frozenset(
    {
        Fault.RATE_LIMIT,
        Fault.SERVER_ERROR,
        Fault.OVERLOADED,
        Fault.INVALID_KEY,
        Fault.INSUFFICIENT_BALANCE,
        Fault.BAD_GATEWAY,
        Fault.NO_FORM,
        Fault.ERROR_200,
        Fault.HANG,
        Fault.CUT_BEFORE_BILLING,
    }
)

#: Seconds of `Retry-After` of an ordered 429: no limit was really reached.
RETRY_AFTER_FAULT: Final = 0.1


def draw(odds: Mapping[Fault, float], random: random.Random) -> Fault | None:
    """Draw the fault of the next call; `None` if it succeeds."""
    if not odds:
        return None
    point = random.random()
    for fault, probability in odds.items():
        point -= probability
        if point < 0:
            return fault
    return None


def refusal_of(fault: Fault) -> SimulatedRefusal | None:
    """Return the response to an early fault; `None` if it sends none."""
    make = _REFUSALS.get(fault)
    return make() if make else None


def _server_error(status: int) -> SimulatedRefusal:
    return by_openai(
        "The server had an error while processing your request.",
        status=status,
        kind="server_error",
        code="server_error",
    )


def _overloaded() -> SimulatedRefusal:
    return by_openai(
        "The server is overloaded, please try again later.",
        status=503,
        kind="service_unavailable_error",
        code="server_is_overloaded",
    )


def rate_limited(kind: str, seconds: float) -> SimulatedRefusal:
    """Return a 429; `kind` is `requests` or `tokens`, `seconds` when the next call may pass."""
    milliseconds = max(1, round(seconds * 1000))
    return by_openai(
        f"Rate limit reached on {kind} per minute. Please try again in {milliseconds}ms.",
        status=429,
        kind=kind,
        code="rate_limit_exceeded",
        headers={
            "Retry-After": str(-(-milliseconds // 1000)),
            "retry-after-ms": str(milliseconds),
        },
    )


_REFUSALS: Final[dict[Fault, Callable[[], SimulatedRefusal]]] = {
    Fault.RATE_LIMIT: partial(rate_limited, "requests", RETRY_AFTER_FAULT),
    Fault.SERVER_ERROR: partial(_server_error, 500),
    Fault.OVERLOADED: _overloaded,
    Fault.INVALID_KEY: invalid_key,
    Fault.INSUFFICIENT_BALANCE: insufficient_balance,
    Fault.NO_FORM: partial(SimulatedRefusal, 503, {"message": "no upstream"}),
    Fault.ERROR_200: partial(_server_error, 200),
}
