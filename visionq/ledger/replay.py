"""Replays of jobs that ended without an answer: new jobs that name the old ones."""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Final

from visionq.crops import MOST_CROPS
from visionq.errors import (
    BlobMissing,
    IdempotencyConflict,
    JobFailed,
    QueueUnavailable,
    VisionqError,
)
from visionq.ledger.records import BlobsMissing, Conflict, LedgerFull, NewJob, OverQuota, Submitted
from visionq.ledger.scripts import MOST_PER_SCRIPT
from visionq.ledger.views import job_documents
from visionq.pricing.prices import worst_case_nano_rubles
from visionq.pricing.vision import REQUEST_TOKENS, most_image_tokens, most_text_tokens

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from visionq.contract import JobDocument
    from visionq.ledger.ledger import Ledger
    from visionq.ledger.records import Submission
    from visionq.pricing.prices import PriceTable
    from visionq.pricing.vision import VisionRules

#: Nobody asks for longer answers without saying so.
_USUAL_TOKENS: Final = 2048


def most_cost(job: JobDocument, prices: PriceTable, rules: VisionRules) -> int | None:
    """Return the most nano-rubles a job can cost with pictures of any size.

    None: no price is known for its model, or for the service tier that it asks for.
    """
    model = job.model or ""
    price = prices.for_model(model)
    if price is None or price.tier_factor(job.service_tier) is None:
        return None
    texts = (job.prompt, job.instructions or "", json.dumps(job.answer_schema or ""))
    tokens = REQUEST_TOKENS + most_text_tokens(*texts)
    tokens += _most_pictures(job, rules) * most_image_tokens(rules, model, job.detail)
    answer = job.max_output_tokens or _USUAL_TOKENS
    return worst_case_nano_rubles(price, tokens, answer, job.service_tier)


def _most_pictures(job: JobDocument, rules: VisionRules) -> int:
    """Return the most pictures in a call of the job."""
    count = len(job.images) * (MOST_CROPS if job.pictures.crops else 1)
    return min(count, rules.request_of(job.model or "").max_images)


def replay(
    ledger: Ledger, job_ids: Sequence[str]
) -> Iterator[tuple[str, Submitted | VisionqError]]:
    """Submit the same questions again, each in its old batch; yield each old id's result.

    A job is replayed once: asked for again, it is the same new job. Only what ended without an
    answer can be replayed; the caller has made sure of that.
    """
    for start in range(0, len(job_ids), MOST_PER_SCRIPT):
        some = job_ids[start : start + MOST_PER_SCRIPT]
        found = job_documents(ledger.redis, some)
        jobs = {
            old: NewJob(str(uuid.uuid4()), _anew(old, document))
            for old, document in zip(some, found, strict=True)
            if document is not None
        }
        replies = dict(zip(jobs, ledger.submit(list(jobs.values())), strict=True)) if jobs else {}
        entered = {old: new.id for old, new in replies.items() if isinstance(new, Submitted)}
        ledger.note_replays(entered)
        for old in some:
            yield old, _outcome(old, replies.get(old))


def _anew(old: str, document: JobDocument) -> JobDocument:
    return document.model_copy(
        # The deadline is that of the first try; the key makes two replays of a job one.
        update={
            "replay_of": old,
            "idempotency_key": f"replay:{old}",
            "deadline": None,
            "by": None,
        }
    )


def _outcome(old: str, reply: Submission | None) -> Submitted | VisionqError:
    match reply:
        case Submitted():
            return reply
        case BlobsMissing(_, blobs):
            return BlobMissing(
                f"{old}: its pictures are not kept any more ({', '.join(blobs)}); submit it with"
                " them, and raise VISIONQ_BLOB_GRACE to be able to replay for longer"
            )
        case LedgerFull():
            return QueueUnavailable("Redis is close to its memory limit; nothing was submitted")
        case OverQuota():
            return reply.error()
        case Conflict(_, known):
            return IdempotencyConflict(f"{old}: job {known} stands for it, with another document")
        case None:
            return JobFailed("job_not_found", f"{old}: no such job, or its record has expired")
