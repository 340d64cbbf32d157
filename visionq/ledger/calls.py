"""Each transition as a `Call`: its arguments, and how to read the script's reply.

Pure functions; `Ledger` and `AsyncLedger` make the calls. Those that end a job are in
`endings`.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

from visionq.cache_key import together_key
from visionq.contract import (
    DelayReason,
    JobDocument,
    Lane,
    Priority,
    shown_state,
)
from visionq.errors import (
    BillingUnknown,
    BudgetExhausted,
    InvalidJob,
)
from visionq.ledger import celery_results
from visionq.ledger.claims import read_claim, read_fields
from visionq.ledger.records import (
    Admission,
    BatchPlace,
    BlobsMissing,
    Claim,
    ClaimRefusal,
    Conflict,
    DeliveryHint,
    Dispatch,
    Hint,
    LedgerFull,
    OverQuota,
    RefusalReason,
    Submitted,
    Verdict,
)
from visionq.ledger.scripts import Call, milliseconds
from visionq.names import QUEUE_BULK, QUEUE_INTERACTIVE, batch_queues, lane_name
from visionq.pricing.money import day_of
from visionq.pricing.prices import ORDINARY_TIERS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from visionq.ledger.options import LedgerOptions
    from visionq.ledger.records import (
        GateOrder,
        NewJob,
        Registration,
        Submission,
    )

_DELAY_REASONS: Final = frozenset(DelayReason)
_QUEUES: Final = {Priority.INTERACTIVE: QUEUE_INTERACTIVE, Priority.BULK: QUEUE_BULK}


def submit(jobs: Sequence[NewJob], options: LedgerOptions) -> Call[list[Submission]]:
    """Submit at most `MOST_PER_SCRIPT` jobs; each document must name its model."""
    arguments: list[str | int] = [
        str(options.refuse_at),
        "1" if options.blobs_are_here else "0",
        options.tenant_parked_limit,
        options.tenant_models_limit,
        milliseconds(options.batch_least_wait),
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
    return milliseconds(moment.timestamp()) if moment else ""


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
        milliseconds(options.lease),
        milliseconds(options.gap),
        milliseconds(options.first_wait_for_claim),
        milliseconds(options.longest_wait_for_claim),
        "1" if options.broker_is_here else "0",
        options.slots_per_hint_ahead,
        milliseconds(rest),
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
        milliseconds(options.lease),
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
    arguments = (key, leader, most, milliseconds(_GATHERED_FOR))
    return Call("gather", arguments, lambda reply: tuple(one.decode() for one in reply))


def renew(
    registration: Registration, facts: str, leases: Sequence[tuple[str, str]], lease: float
) -> Call[frozenset[str]]:
    """Keep a worker registered and its (job, token) leases running; returns the jobs it lost."""
    arguments: list[str | int] = [
        registration.worker,
        registration.slots,
        registration.pool,
        milliseconds(lease),
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


def fall_back(most: int) -> Call[int]:
    """Move queued jobs of held models to their fallback; return how many."""
    return Call("fall_back", (most,), int)


def resume(job_ids: Sequence[str]) -> Call[list[str]]:
    """Resume parked jobs of unknown billing; return `resumed` or the state of each."""
    return Call("resume", tuple(job_ids), states)


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


def states(reply: list[bytes]) -> list[str]:
    """Return the states in a reply."""
    return [state.decode() for state in reply]


def _delay_reason(stored: str) -> DelayReason:
    # A newer release may hold lanes for a reason that this one does not know.
    return DelayReason(stored) if stored in _DELAY_REASONS else DelayReason.OPERATOR
