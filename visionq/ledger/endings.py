"""How a job ends, or is given back: the calls of `finish`, `cancel` and `expire`."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from visionq.contract import State
from visionq.errors import Cancelled, DeadlineExceeded, ProviderUnavailable
from visionq.ledger import celery_results
from visionq.ledger.calls import lane_of, states
from visionq.ledger.rate_limits import feedback_fields
from visionq.ledger.records import (
    Billing,
    Completed,
    Failed,
    Held,
    Moved,
    Parked,
    Waiting,
    Written,
    error_document,
)
from visionq.ledger.scripts import Call, milliseconds
from visionq.pricing.money import day_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from visionq.ledger.options import LedgerOptions
    from visionq.ledger.records import Claim, Ending, Outcome, UsageNote

#: One encoder for all: `json.dumps` makes one for each call.
_as_json: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode

#: The Celery result of a job that waits for the end of an outage.
_PUT_OFF: Final = f"parked: {ProviderUnavailable.code}"


def finish(claim: Claim, ending: Ending, options: LedgerOptions, now: float) -> Call[Written]:
    """Write the end of an attempt. Money is text: Lua's numbers are floats."""
    kept = options.failed_ttl if isinstance(ending.outcome, Failed) else options.result_ttl
    lasts = claim.now + min(options.result_ttl, options.failed_ttl)
    told = {
        "id": claim.id,
        "token": claim.token,
        "lane": lane_of(claim.document),
        "batch": claim.document.batch_id,
        "today": day_of(now, options.time_zone),
        "billing": ending.billing,
        "cost": str(ending.cost),
        "saved": "0",
        "feedback": feedback_fields(ending.rate_limit),
        **_told_cost(ending.usage),
        "answer_ttl": options.answer_ttl,
        "keep": _retention(options, kept),
        # Until then a job of this claim can't have expired.
        "job_expires": milliseconds(lasts),
        "put_off_result": celery_results.retry(claim.id, _PUT_OFF)
        if ending.may_be_put_off
        else None,
        **_outcome(ending.outcome),
    }
    known = {name: value for name, value in told.items() if value is not None}
    stored = _stored(claim.id, ending.outcome, now)
    call = Call("finish", (_as_json(known), *stored), lambda reply: Written(reply.decode()))
    if _is_plain(ending):
        return replace(call, script="finish_plain", otherwise=lambda: call)
    return call


def _is_plain(ending: Ending) -> bool:
    """Return whether an attempt ended with an answer paid at the table's price."""
    return (
        isinstance(ending.outcome, Completed)
        and ending.outcome.saved == 0
        and ending.billing is Billing.SETTLED
        and not _told_cost(ending.usage)
    )


def _told_cost(usage: UsageNote | None) -> dict[str, int]:
    """Return the cost reported by the seller and by the table, if both are known."""
    if usage is None or usage.told_cost <= 0 or usage.table_cost <= 0:
        return {}
    return {"told_cost": usage.told_cost, "table_cost": usage.table_cost}


def _outcome(outcome: Outcome) -> dict[str, Any]:
    """Return the fields of an outcome for `finish`."""
    match outcome:
        case Completed(_, cache_key, saved):
            return {
                "outcome": State.COMPLETED,
                "reason": "",
                "cache_key": cache_key,
                "saved": str(saved),
            }
        case Failed(error):
            return {"outcome": State.FAILED, "reason": error.code, "error": error.to_json()}
        case Waiting(reason, delay, counted, faulty):
            return {
                "outcome": State.WAITING,
                "reason": reason,
                "delay": str(milliseconds(delay)),
                "is_counted": counted,
                "invalid_answer": faulty and faulty.to_json(),
            }
        case Parked(reason, recheck):
            return {
                "outcome": State.PARKED,
                "reason": reason,
                "delay": None if recheck is None else str(milliseconds(recheck)),
            }
        case Moved():
            return _moved(outcome)
        case Held(reason, model, recheck):
            return {
                "outcome": "held",
                "reason": reason,
                "model": model,
                "delay": str(milliseconds(recheck)),
            }


def _moved(outcome: Moved) -> dict[str, Any]:
    return {
        "outcome": "moved",
        "reason": outcome.reason,
        "models": outcome.models,
        "step": _as_json({"sureness": outcome.sureness, "text": outcome.text}),
        "is_counted": True,
        "cache_key": outcome.cache_key,
        "saved": str(outcome.saved),
        "error": outcome.error and outcome.error.to_json(),
    }


def _stored(job_id: str, outcome: Outcome, now: float) -> tuple[str, ...]:
    """Return the values that `finish` stores: Celery's result, and the answer, if any."""
    match outcome:
        case Completed(result):
            answer = result.to_json()
            return celery_results.success(result.id, answer, now), answer
        case Failed(error, error_type):
            return (celery_results.failure(job_id, error, error_type, now),)
        case Waiting(reason):
            return (celery_results.retry(job_id, f"waiting: {reason}"),)
        case Moved(reason=reason, result=result):
            moved = celery_results.retry(job_id, f"queued: {reason}, the next model is asked")
            return (moved,) if result is None else (moved, result.to_json())
        case Parked(reason) | Held(reason):
            return (celery_results.retry(job_id, f"parked: {reason}"),)


def _retention(options: LedgerOptions, ttl: int) -> dict[str, int]:
    """Return how long a job and its blobs are kept, and how many."""
    return {
        "ttl": ttl,
        "blob_grace": options.blob_grace,
        "finished": options.finished_kept,
        "events": options.events_kept,
    }


def cancel(
    job_ids: Sequence[str], options: LedgerOptions, now: float, only: str = ""
) -> Call[list[str]]:
    """Cancel jobs in any state, or in one; return each one's former state."""
    error = Cancelled("the job was cancelled")
    document = error_document(error).to_json()
    arguments: list[str | int] = [
        State.CANCELLED.value,
        error.code,
        only,
        *_retention(options, options.result_ttl).values(),
    ]
    for job_id in job_ids:
        arguments += (job_id, document, celery_results.revoked(job_id, str(error), now))
    return Call("cancel", tuple(arguments), states)


def expire(job_ids: Sequence[str], options: LedgerOptions, now: float) -> Call[list[str]]:
    """Fail the given jobs that are still queued: their deadline passed before any call."""
    error = DeadlineExceeded("the deadline passed while the job was queued; no call was out")
    document = error_document(error)
    arguments: list[str | int] = [
        State.FAILED.value,
        error.code,
        State.QUEUED.value,
        *_retention(options, options.failed_ttl).values(),
    ]
    for job_id in job_ids:
        result = celery_results.failure(job_id, document, type(error).__name__, now)
        arguments += (job_id, document.to_json(), result)
    return Call("cancel", tuple(arguments), states)
