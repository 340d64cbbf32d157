"""Enter plain Celery messages in the ledger; honour or refuse each option by name.

docs/producing.md has the table of options.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import structlog
from pydantic import TypeAdapter, ValidationError

from visionq.contract.base import JobId
from visionq.errors import (
    BlobMissing,
    IdempotencyConflict,
    InvalidJob,
    QueueUnavailable,
    QuotaExceeded,
)
from visionq.ledger import BlobsMissing, Conflict, LedgerFull, NewJob, OverQuota
from visionq.model_migrations import NO_MIGRATIONS
from visionq.submission import defaulted, extract_data_urls, migrated, prepare
from worker.redis_retry import retry_until_redis_returns

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from celery.app.task import Context

    from visionq.blobs import BlobStore
    from visionq.ledger import Ledger
    from visionq.model_migrations import ModelMigrations
    from visionq.settings import Settings

#: Field of the message → the option as callers write it, and what to do without it.
_REFUSED: Final = {
    "eta": ("countdown or eta", "send the job when it may run"),
    "stamps": ("stamps", "put them into `metadata`, and revoke by id"),
}

#: As W3C has it.
_TRACEPARENT: Final = re.compile("[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


def apply_message_options(document: Mapping[str, Any], request: Context) -> dict[str, Any]:
    """Return the document with `expires` as deadline, unless its own is earlier.

    Raises:
        InvalidJob: the message asks for what no job can have; names the option.
    """
    for field, (option, advice) in _REFUSED.items():
        if getattr(request, field, None):
            raise InvalidJob(f"{option}: not supported; {advice}")
    if any(request.timelimit or ()):
        raise InvalidJob("time_limit: not supported; set `deadline`, or `expires`")
    if request.expires is None:
        return dict(document)
    return {**document, "deadline": _earlier(document.get("deadline"), request.expires)}


def trace_of(request: Context) -> str:
    """Return the caller's span, which OpenTelemetry's Celery instrumentation puts into headers."""
    trace = getattr(request, "traceparent", None)
    return trace if isinstance(trace, str) and _TRACEPARENT.fullmatch(trace) else ""


def _earlier(deadline: object, expires: object) -> object:
    """Return the earlier of the two; leave an invalid deadline to the contract."""
    lapse = _aware(expires)
    if deadline is None:
        return lapse.isoformat()
    try:
        return deadline if _aware(deadline) < lapse else lapse.isoformat()
    except (TypeError, ValueError):
        return deadline


def _aware(moment: object) -> datetime:
    found = moment if isinstance(moment, datetime) else datetime.fromisoformat(str(moment))
    return found if found.tzinfo else found.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Intake:
    """The dependencies of entering a job, shared by threads."""

    settings: Settings
    ledger: Ledger
    blobs: BlobStore
    sleep: Callable[[float], None]
    #: Returns which models are asked in the place of others.
    migrations: Callable[[], ModelMigrations] = lambda: NO_MIGRATIONS


log = structlog.get_logger(__name__)
#: Seconds that a thread rests before it gives a message back because the ledger is full.
_PAUSE_WHILE_FULL: Final = 2.0
#: Seconds for which a thread waits for a Redis that is away. The message comes back by itself, and
#: a worker that shuts down must not wait for Redis.
_PATIENCE: Final = 20.0
_JOB_ID: Final = TypeAdapter(JobId)


def enter(
    job_id: str,
    arguments: Sequence[Any],
    document: Mapping[str, Any],
    intake: Intake,
    *,
    trace: str = "",
    canvas: str = "",
) -> None:
    """Enter a job; the same message again is the same job.

    Raises:
        InvalidJob, IdempotencyConflict, BlobMissing: what is wrong with the document.
        QuotaExceeded: its tenant has too much in the ledger.
        QueueUnavailable: the ledger or the blob store is full or away; the message belongs back in
            its queue. A thread that kept it would be missing for the jobs whose end makes room.
    """
    _check_id(job_id)
    settings = intake.settings
    most = max(settings.max_image_bytes, settings.max_original_bytes)
    fields, contents = extract_data_urls(_merged(arguments, document), most)
    migrations = retry_until_redis_returns(intake.migrations, intake.sleep, _PATIENCE)
    asked = prepare(fields, intake.settings, migrations)
    job = NewJob(
        job_id,
        asked,
        trace=trace,
        defaulted=defaulted(fields),
        migrated=migrated(fields, asked),
        canvas=canvas,
    )
    if contents:
        _store(job, contents, intake)
    match retry_until_redis_returns(lambda: intake.ledger.submit([job]), intake.sleep, _PATIENCE)[
        0
    ]:
        case LedgerFull():
            log.warning("intake.ledger_full", job=job_id, error=QueueUnavailable.code)
            intake.sleep(_PAUSE_WHILE_FULL)
            raise QueueUnavailable("Redis is close to its memory limit")
        case OverQuota() as over:
            raise over.error()
        case Conflict(_, known_id) if known_id == job_id:
            # A failure would be written over what the known job has to say under this id.
            log.warning("intake.id_known", job=job_id)
        case Conflict(_, known_id):
            raise IdempotencyConflict(
                f"another document was submitted under the same key, as job {known_id}"
            )
        case BlobsMissing(_, blobs):
            raise BlobMissing(f"not in the blob store: {', '.join(blobs)}; upload them first")
    # Its caller may have revoked it while the message was in the queue.
    if retry_until_redis_returns(lambda: intake.ledger.is_revoked(job_id), intake.sleep, _PATIENCE):
        intake.ledger.cancel([job_id])


def _merged(arguments: Sequence[Any], document: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the document with the fields that the step before it in a chain returned."""
    match arguments:
        case []:
            return document
        case [dict() as given]:
            return {**given, **document}
    raise InvalidJob("args: at most one object of fields is taken; send the document as kwargs")


def _store(job: NewJob, contents: Sequence[bytes], intake: Intake) -> None:
    tenant = job.document.tenant
    try:
        retry_until_redis_returns(
            lambda: intake.blobs.put(contents, tenant), intake.sleep, _PATIENCE
        )
    except QuotaExceeded:
        raise  # the caller gets the error: waiting here would delay others' messages
    except QueueUnavailable as error:
        log.warning("intake.no_room_for_blobs", job=job.id, error=str(error))
        intake.sleep(_PAUSE_WHILE_FULL)
        raise


def _check_id(job_id: str) -> None:
    """Refuse an id that no result document could carry, before anything is paid."""
    try:
        _JOB_ID.validate_python(job_id)
    except ValidationError:
        raise InvalidJob("task_id: 1 to 128 visible ASCII characters are taken") from None
