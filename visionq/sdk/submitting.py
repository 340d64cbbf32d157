"""Jobs on their way into the ledger: read, checked, uploaded and submitted in chunks."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, TypedDict

from visionq.errors import (
    BlobMissing,
    IdempotencyConflict,
    InvalidJob,
    JobError,
    QueueUnavailable,
    VisionqError,
)
from visionq.ledger import BlobsMissing, Conflict, LedgerFull, NewJob, OverQuota, Submitted
from visionq.model_migrations import NO_MIGRATIONS
from visionq.sdk.arguments import shown
from visionq.sdk.images import take_pictures
from visionq.sdk.typed import with_schema
from visionq.submission import defaulted, migrated, prepare

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime, timedelta

    from pydantic import BaseModel

    from visionq.blobs import AsyncBlobStore, BlobStore
    from visionq.contract import (
        Api,
        Cascade,
        Detail,
        Lane,
        PictureOptions,
        Priority,
        PromptCache,
        Reuse,
        UnknownBilling,
        UrlMode,
    )
    from visionq.ledger import AsyncLedger, Ledger, Submission
    from visionq.model_migrations import ModelMigrations
    from visionq.sans_io import Steps
    from visionq.settings import Settings

#: Largest chunk of `submit_many`: one upload and one call of the ledger.
MOST_JOBS: Final = 500
MOST_BYTES: Final = 32_000_000
#: Most uploads of blobs that expire between upload and submission.
_UPLOADS: Final = 3


class QuestionOptions(TypedDict, total=False):
    """Fields of a job besides the question and the answer's form; see `JobDocument`."""

    instructions: str | None
    model: str | None
    fallback: Sequence[str]
    cascade: Cascade | dict[str, Any] | None
    api: Api | str
    detail: Detail | str
    answer_schema: dict[str, Any] | None
    max_output_tokens: int | None
    effort: str | None
    prompt_cache: PromptCache | str | None
    prompt_cache_ttl: str | None
    temperature: float | None
    service_tier: str | None
    extra_body: dict[str, Any]
    repair: bool
    url_mode: UrlMode | str
    pictures: PictureOptions | dict[str, Any]
    tenant: str
    priority: Priority | str
    reuse: Reuse | str
    near: int | None
    together: bool
    on_unknown_billing: UnknownBilling | str
    metadata: dict[str, str]
    batch_id: str | None
    deadline: datetime | None
    #: When the answer is needed: a time with its zone, or a duration (`6h`).
    by: datetime | timedelta | str | None
    lane: Lane | str


class AnalyzeOptions(QuestionOptions, total=False):
    """Fields of `analyze`."""

    idempotency_key: str | None


class JobOptions(QuestionOptions, total=False):
    """Fields of a job besides the question."""

    #: A pydantic model or a JSON Schema, instead of `answer_schema`.
    schema: type[BaseModel] | dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Draft:
    """A job, and the bytes of its pictures by sha256."""

    job: NewJob
    contents: Mapping[str, bytes]


def draft(
    fields: Mapping[str, Any],
    settings: Settings,
    job_id: str,
    migrations: ModelMigrations = NO_MIGRATIONS,
) -> Draft:
    """Read the pictures of a job and check its fields; reads files, calls no service.

    Raises:
        InvalidJob: a field is wrong; the message names it.
        ImageError: a picture can't be read, is empty or too large; the error names it.
    """
    if not isinstance(fields, Mapping):
        raise InvalidJob(f"give the keywords of `submit` as a mapping, not {shown(fields)}")
    fields = with_schema(fields)
    pictures = take_pictures(fields.get("images", ()), most_bytes(fields, settings))
    fields = {**fields, "images": pictures.references}
    return Draft(_new_job(fields, settings, job_id, migrations), pictures.contents)


def redirected(
    one: Draft, fields: Mapping[str, Any], settings: Settings, migrations: ModelMigrations
) -> Draft:
    """Return the draft of `fields` with the model that the migrations name.

    Raises:
        InvalidJob: that model does not take an option of the job.
    """
    if not migrations.by_key:
        return one
    fields = {**with_schema(fields), "images": one.job.document.images}
    return replace(one, job=_new_job(fields, settings, one.job.id, migrations))


def _new_job(
    fields: Mapping[str, Any], settings: Settings, job_id: str, migrations: ModelMigrations
) -> NewJob:
    document = prepare(fields, settings, migrations)
    return NewJob(
        job_id, document, current_trace(), defaulted(fields), migrated=migrated(fields, document)
    )


def current_trace() -> str:
    """Return the caller's span as W3C's `traceparent`; empty outside a span.

    OpenTelemetry is no dependency: a caller that uses it has imported it.
    """
    trace: Any = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return ""
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return ""
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"


def most_bytes(fields: Mapping[str, Any], settings: Settings) -> int:
    """Return the size limit of a picture, which is higher if the job shrinks it."""
    options = fields.get("pictures")
    shrink = (
        options.get("shrink") if isinstance(options, dict) else getattr(options, "shrink", False)
    )
    if shrink is not True:
        return settings.max_image_bytes
    return max(settings.max_original_bytes, settings.max_image_bytes)


@dataclass(slots=True)
class SubmissionChunk:
    """Drafts that are uploaded and submitted together."""

    drafts: list[Draft] = field(default_factory=list)
    size: int = 0
    #: Error of the job after them, which is not submitted and ends the chunk.
    failure: JobError | None = None

    def __len__(self) -> int:
        return len(self.drafts) + (self.failure is not None)

    def add(self, new: Draft) -> None:
        """Add a draft."""
        self.drafts.append(new)
        self.size += sum(len(content) for content in new.contents.values())

    @property
    def is_full(self) -> bool:
        """Whether to submit it now."""
        return self.failure is not None or len(self.drafts) >= MOST_JOBS or self.size >= MOST_BYTES


def submit_drafts(
    drafts: Iterable[Draft], blobs: BlobStore | AsyncBlobStore, ledger: Ledger | AsyncLedger
) -> Steps[list[Submission]]:
    """Upload pictures, submit jobs, and return the ledger's replies in order.

    Blobs that expire between upload and submission are uploaded again; those that a job only
    refers to can't be.
    """
    remaining, replies = list(drafts), dict[str, Any]()
    for _ in range(_UPLOADS):
        if not remaining:
            break
        for tenant, contents in _contents_by_tenant(remaining).items():
            yield blobs.put(contents, tenant)
        answers: list[Submission] = yield ledger.submit([one.job for one in remaining])
        pairs = list(zip(remaining, answers, strict=True))
        replies |= {one.job.id: reply for one, reply in pairs}
        remaining = [
            one
            for one, reply in pairs
            if isinstance(reply, BlobsMissing) and one.contents.keys() & set(reply.blobs)
        ]
    return list(replies.values())


def _contents_by_tenant(drafts: Iterable[Draft]) -> dict[str, list[bytes]]:
    found: dict[str, dict[str, bytes]] = {}
    for one in drafts:
        found.setdefault(one.job.document.tenant, {}).update(one.contents)
    return {tenant: list(contents.values()) for tenant, contents in found.items()}


def accepted(reply: Submission) -> Submitted:
    """Return the reply if the job is in the ledger.

    Raises:
        IdempotencyConflict: the key belongs to another job.
        BlobMissing: a blob of the job is not stored.
        QueueUnavailable: Redis is close to its memory limit.
        QuotaExceeded: the tenant has reached its quota.
    """
    if isinstance(reply, Submitted):
        return reply
    raise _refusal(reply)


def _refusal(reply: Conflict | BlobsMissing | LedgerFull | OverQuota) -> VisionqError:
    match reply:
        case Conflict(_, known):
            return IdempotencyConflict(
                f"the idempotency key belongs to job {known}, which has a different question"
            )
        case BlobsMissing(_, blobs):
            return BlobMissing(
                f"blob {blobs[0][:12]}… is not stored, or expired; submit the picture itself"
            )
        case OverQuota():
            return reply.error()
        case LedgerFull():
            return QueueUnavailable(
                "Redis is close to its memory limit and takes no jobs; wait, or raise maxmemory"
            )
