"""Documents that plain Celery callers send: validated, and entered in the ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog

from visionq.errors import BlobMissing, IdempotencyConflict, InvalidJob, QueueUnavailable
from visionq.ledger import BlobsMissing, Conflict, LedgerFull, NewJob
from visionq.submission import extract_data_urls, prepare
from worker.persistence import persistently

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from worker.pipeline import Tools

log = structlog.get_logger(__name__)
#: Seconds until a full ledger is asked again; the message stays with the broker meanwhile.
_PAUSE_WHILE_FULL = 5.0


def enter(job_id: str, arguments: Sequence[Any], document: Mapping[str, Any], tools: Tools) -> None:
    """Enter a job; the same message again is the same job.

    Raises:
        InvalidJob, IdempotencyConflict, BlobMissing: what is wrong with the document.
    """
    if arguments:
        raise InvalidJob("args: none are taken; send the document as kwargs")
    fields, contents = extract_data_urls(document)
    job = NewJob(job_id, prepare(fields, tools.settings))
    if contents:
        persistently(lambda: tools.blobs.put(contents), tools.sleep)
    while True:
        submission = persistently(lambda: tools.ledger.submit([job]), tools.sleep)[0]
        match submission:
            case LedgerFull():
                log.warning("intake.ledger_full", job=job_id, error=QueueUnavailable.code)
                tools.sleep(_PAUSE_WHILE_FULL)
            case Conflict(_, known_id):
                raise IdempotencyConflict(
                    f"another document was submitted under the same id or key, as job {known_id}"
                )
            case BlobsMissing(_, blobs):
                raise BlobMissing(f"not in the blob store: {', '.join(blobs)}; upload them first")
            case _:
                return
