"""Each transition as a `Call`: its arguments, and how to read the script's reply.

Pure functions; `Ledger` and `AsyncLedger` make the calls.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from visionq.cache_key import together_key
from visionq.contract import (
    DelayReason,
    JobDocument,
    Lane,
    Priority,
    State,
    shown_state,
)
from visionq.errors import (
    BillingUnknown,
    BudgetExhausted,
    Cancelled,
    DeadlineExceeded,
    InvalidJob,
    ProviderUnavailable,
)
from visionq.ledger import celery_results
from visionq.ledger.claims import read_claim, read_fields
from visionq.ledger.rate_limits import feedback_fields
from visionq.ledger.records import (
    Admission,
    BatchPlace,
    Billing,
    BlobsMissing,
    Claim,
    ClaimRefusal,
    Completed,
    Conflict,
    DeliveryHint,
    Dispatch,
    Failed,
    Held,
    Hint,
    LedgerFull,
    Moved,
    OverQuota,
    Parked,
    RefusalReason,
    Submitted,
    Verdict,
    Waiting,
    Written,
    error_document,
)
from visionq.ledger.scripts import Call
from visionq.names import QUEUE_BULK, QUEUE_INTERACTIVE, batch_queues, lane_name
from visionq.pricing.money import day_of
from visionq.pricing.prices import ORDINARY_TIERS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from visionq.ledger.options import LedgerOptions
    from visionq.ledger.records import (
        Ending,
        GateOrder,
        NewJob,
        Outcome,
        Registration,
        Submission,
        UsageNote,
    )

#: One encoder for all: `json.dumps` makes one for each call.
_as_json: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode

#: The Celery result of a job that waits for the end of an outage.
PUT_OFF = f"parked: {ProviderUnavailable.code}"

_DELAY_REASONS: Final = frozenset(DelayReason)
_QUEUES: Final = {Priority.INTERACTIVE: QUEUE_INTERACTIVE, Priority.BULK: QUEUE_BULK}


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


def submit(jobs: Sequence[NewJob], options: LedgerOptions) -> Call[list[Submission]]:
    """Submit at most `MOST_PER_SCRIPT` jobs; each document must name its model."""
    arguments: list[str | int] = [
        str(options.refuse_at),
        "1" if options.blobs_are_here else "0",
        options.tenant_parked_limit,
        options.tenant_models_limit,
        _milliseconds(options.batch_least_wait),
    ]
    for job in jobs:
        arguments += _entry(job)

    def read(replies: list[list[bytes]]) -> list[Submission]:
        return [_submission(job, reply) for job, reply in zip(jobs, replies, strict=True)]

    return Call("submit", tuple(arguments), read)


def _entry(job: NewJob) -> list[str | int]:
    document = job.document
    if document.model is None:
        raise InvalidJob("model: none given, and no default filled in")
    online = lane_of(document)
    is_patient = document.by is not None and document.service_tier in ORDINARY_TIERS
    may_wait = document.lane is Lane.BATCH or (document.lane is Lane.AUTO and is_patient)
    return [
        job.id,
        _batch_lane(document) if may_wait else online,
        document.to_compact_json(),
        document.schema_version,
        len(document.images),
        _moment(document.deadline),
        document.batch_id or "",
        _idempotency(document),
        " ".join(document.blobs),
        job.trace,
        _asked(job),
        online if may_wait else "",
        # One that may go only by batch has no moment at which it is asked online instead.
        _moment(document.by) if may_wait and document.lane is Lane.AUTO else "",
        job.canvas,
        " ".join(model for model in document.fallback if model != document.model),
        " ".join(job.defaulted) if document.further_models else "",
        "" if may_wait else together_key(document),
    ]


def _moment(moment: datetime | None) -> int | str:
    return _milliseconds(moment.timestamp()) if moment else ""


def _batch_lane(document: JobDocument) -> str:
    queue = batch_queues(document.api)[document.priority is Priority.BULK]
    return lane_name(queue, document.tenant, document.model or "")


def lane_of(document: JobDocument) -> str:
    """Return the lane in which a job waits."""
    return lane_name(_QUEUES[document.priority], document.tenant, document.model or "")


def _asked(job: NewJob) -> str:
    """Return a digest of the caller's own fields; empty if no default was added.

    A repeated submission is the same although the operator's defaults have changed meanwhile.
    """
    if not job.defaulted and not job.migrated and job.document.by is None:
        return ""
    # When it is needed makes it no other: a duration is another moment each time.
    own = dict.fromkeys((*job.defaulted, "by")) | ({"model": job.migrated} if job.migrated else {})
    asked = job.document.model_copy(update=own)
    return hashlib.sha256(asked.to_compact_json().encode()).hexdigest()[:32]


def _idempotency(document: JobDocument) -> str:
    if document.idempotency_key is None:
        return ""
    digest = hashlib.sha256(document.idempotency_key.encode()).hexdigest()
    return f"{document.tenant}:{digest}"


def _submission(job: NewJob, reply: list[bytes]) -> Submission:
    kind, *details = [part.decode() for part in reply]
    if kind == "conflict":
        return Conflict(job.id, details[0])
    if kind == "missing":
        return BlobsMissing(job.id, tuple(details))
    if kind == "full":
        return LedgerFull(job.id)
    if kind == "over":
        return OverQuota(job.id, job.document.tenant, details[0], int(details[1]))
    return Submitted(details[0] if details else job.id, created=kind == "created")


def dispatch(options: LedgerOptions, limit: int, rest: float, now: float) -> Call[Dispatch]:
    """Process what is due and take the next jobs: at most `limit` of each.

    Nothing is done within `rest` seconds after anybody's last look.
    """
    arguments = (
        limit,
        _milliseconds(options.lease),
        _milliseconds(options.gap),
        _milliseconds(options.first_wait_for_claim),
        _milliseconds(options.longest_wait_for_claim),
        "1" if options.broker_is_here else "0",
        options.slots_per_hint_ahead,
        _milliseconds(rest),
        day_of(now, options.time_zone),
    )

    def read(reply: list[list[Any]]) -> Dispatch:
        hints, expired, deliveries, *rested = reply
        return Dispatch(
            hints=tuple(_hint(fields) for fields in hints),
            expired=tuple(job_id.decode() for job_id in expired),
            deliveries=tuple(
                DeliveryHint(*(field.decode() for field in fields)) for fields in deliveries
            ),
            rested=bool(rested),
        )

    return Call("dispatch", arguments, read)


def _hint(fields: list[bytes]) -> Hint:
    job_id, queue, tenant, model, pictures = (field.decode() for field in fields)
    return Hint(job_id, queue, tenant, model, int(pictures))


def claim(
    job_id: str, token: str, registration: Registration, options: LedgerOptions
) -> Call[Claim | ClaimRefusal]:
    """Take the job that a hint named; the same token again is the same claim."""
    arguments = (
        job_id,
        token,
        registration.worker,
        registration.pool,
        _milliseconds(options.lease),
        registration.schema_version,
    )

    def read(reply: list[Any]) -> Claim | ClaimRefusal:
        known = read_fields(reply)
        if "document" in known:
            return read_claim(job_id, token, known)
        reason = RefusalReason(known["reason"].decode()) if "reason" in known else None
        return ClaimRefusal(shown_state(known["state"].decode()), reason)

    return Call("claim", arguments, read)


#: Seconds after which a job that was taken for a shared call, and not claimed, goes back.
_GATHERED_FOR: Final = 10


def gather(key: str, leader: str, most: int) -> Call[tuple[str, ...]]:
    """Take jobs that one call may answer together, to be claimed one by one."""
    arguments = (key, leader, most, _milliseconds(_GATHERED_FOR))
    return Call("gather", arguments, lambda reply: tuple(one.decode() for one in reply))


def renew(
    registration: Registration, facts: str, leases: Sequence[tuple[str, str]], lease: float
) -> Call[frozenset[str]]:
    """Keep a worker registered and its (job, token) leases running; returns the jobs it lost."""
    arguments: list[str | int] = [
        registration.worker,
        registration.slots,
        registration.pool,
        _milliseconds(lease),
        facts,
        registration.schema_version,
    ]
    for job_id, token in leases:
        arguments += (job_id, token)
    return Call(
        "renew",
        tuple(arguments),
        lambda reply: frozenset(job_id.decode() for job_id in reply),
    )


def admit(
    claim: Claim,
    options: LedgerOptions,
    now: float,
    *,
    cache_key: str,
    reserve: int | None,
    tokens: int,
    place: BatchPlace | None = None,
    near: str = "",
) -> Call[Admission]:
    """Request a call, or a `place` in a batch.

    An empty `cache_key` shares the answer with nobody; `near` is that of a picture
    that looks alike.
    """

    def read(reply: list[bytes]) -> Admission:
        verdict, *details = [part.decode() for part in reply]
        detail = details[0] if details else None
        if verdict == Verdict.ANSWER:
            return Admission(Verdict.ANSWER, answer=detail, is_near=len(details) > 1)
        if verdict == Verdict.WAIT:
            return Admission(Verdict.WAIT, wait=int(detail or 0) / 1000)
        if verdict == Verdict.PARK:
            return Admission(Verdict.PARK, reason=_delay_reason(detail or ""))
        return Admission(Verdict(verdict), state=shown_state(detail) if detail else None)

    asked: tuple[str | int, ...] = (
        claim.id,
        claim.token,
        cache_key,
        claim.document.reuse.value,
        "" if reserve is None else reserve,
        day_of(now, options.time_zone),
        tokens,
    )

    def in_full() -> Call[Admission]:
        reasons = (
            "waiting: follows",
            "waiting: budget",
            f"parked: {BudgetExhausted.code}",
            f"parked: {BillingUnknown.code}",
        )
        of_place: tuple[str | int, ...] = ()
        if place is not None:
            result = celery_results.retry(claim.id, f"waiting: {DelayReason.BATCH}")
            of_place = (place.batch, place.holder, place.line, place.bytes, place.tokens, result)
        results = (celery_results.retry(claim.id, reason) for reason in reasons)
        return Call("admit", (*asked, *results, near, *of_place), read)

    if place is not None or near:
        return in_full()
    return Call("admit_plain", asked, read, otherwise=in_full)


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
        "job_expires": _milliseconds(lasts),
        "put_off_result": celery_results.retry(claim.id, PUT_OFF)
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
                "delay": str(_milliseconds(delay)),
                "is_counted": counted,
                "invalid_answer": faulty and faulty.to_json(),
            }
        case Parked(reason, recheck):
            return {
                "outcome": State.PARKED,
                "reason": reason,
                "delay": None if recheck is None else str(_milliseconds(recheck)),
            }
        case Moved():
            return _moved(outcome)
        case Held(reason, model, recheck):
            return {
                "outcome": "held",
                "reason": reason,
                "model": model,
                "delay": str(_milliseconds(recheck)),
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
    return Call("cancel", tuple(arguments), _states)


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
    return Call("cancel", tuple(arguments), _states)


def fall_back(most: int) -> Call[int]:
    """Move queued jobs of held models to their fallback; return how many."""
    return Call("fall_back", (most,), int)


def resume(job_ids: Sequence[str]) -> Call[list[str]]:
    """Resume parked jobs of unknown billing; return `resumed` or the state of each."""
    return Call("resume", tuple(job_ids), _states)


def block(claim: Claim) -> Call[None]:
    """Block further calls of a job: the end of this claim can't be written."""
    return Call("block", (claim.id, claim.token), lambda _: None)


def note_replays(replays: Mapping[str, str]) -> Call[None]:
    """Record which new job replaces each old one."""
    flat = tuple(job_id for pair in replays.items() for job_id in pair)
    return Call("replay", flat, lambda _: None)


def steer_gate(key: str, order: GateOrder, reason: DelayReason) -> Call[str]:
    """Close, open or slowly reopen a key's gate; return its former state."""
    return Call("gate", (key, order.value, reason.value), lambda reply: reply.decode())


def _states(reply: list[bytes]) -> list[str]:
    return [state.decode() for state in reply]


def _delay_reason(stored: str) -> DelayReason:
    # A newer release may hold lanes for a reason that this one does not know.
    return DelayReason(stored) if stored in _DELAY_REASONS else DelayReason.OPERATOR
