"""Jobs on their way into the ledger: read and checked, not yet submitted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
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
from visionq.sdk.arguments import shown
from visionq.sdk.images import take_pictures
from visionq.sdk.typed import with_schema
from visionq.submission import defaulted, prepare
from visionq.tracing import current_trace

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from pydantic import BaseModel

    from visionq.contract import (
        Api,
        Detail,
        PictureOptions,
        Priority,
        PromptCache,
        Reuse,
        UnknownBilling,
        UrlMode,
    )
    from visionq.ledger import Submission
    from visionq.settings import Settings

#: A portion of `submit_many`: what one upload and one call of the ledger carry.
MOST_JOBS: Final = 500
MOST_BYTES: Final = 32_000_000
#: Times that blobs which expired between upload and submission are uploaded again.
UPLOADS: Final = 3


class QuestionOptions(TypedDict, total=False):
    """Every field of a job but question and form; `JobDocument` says what each means."""

    instructions: str | None
    model: str | None
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
    on_unknown_billing: UnknownBilling | str
    metadata: dict[str, str]
    batch_id: str | None
    deadline: datetime | None


class AnalyzeOptions(QuestionOptions, total=False):
    """What can be said of a question that is waited for."""

    idempotency_key: str | None


class JobOptions(QuestionOptions, total=False):
    """Every field of a job but the question itself."""

    #: A pydantic model, or a JSON Schema, in the place of `answer_schema`.
    schema: type[BaseModel] | dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Draft:
    """A job, and the bytes of its pictures by sha256."""

    job: NewJob
    contents: Mapping[str, bytes]


def draft(fields: Mapping[str, Any], settings: Settings, job_id: str) -> Draft:
    """Read the pictures of a job and check its fields; reads files, asks no service.

    Raises:
        InvalidJob: a field is wrong; the message names it.
        ImageError: a picture can't be read, is empty or too large; the error names it.
    """
    if not isinstance(fields, Mapping):
        raise InvalidJob(f"give the keywords of `submit` as a mapping, not {shown(fields)}")
    fields = with_schema(fields)
    pictures = take_pictures(fields.get("images", ()), most_bytes(fields, settings))
    document = prepare({**fields, "images": pictures.references}, settings)
    job = NewJob(job_id, document, current_trace(), defaulted(fields))
    return Draft(job, pictures.contents)


def most_bytes(fields: Mapping[str, Any], settings: Settings) -> int:
    """Return how large a picture may be: more where the job asks to shrink it first."""
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
    #: Why the job after them can be none; it ends the portion.
    failure: JobError | None = None

    def add(self, new: Draft) -> None:
        """Add one more."""
        self.drafts.append(new)
        self.size += sum(len(content) for content in new.contents.values())

    @property
    def is_full(self) -> bool:
        """Whether it is time to send it."""
        return self.failure is not None or len(self.drafts) >= MOST_JOBS or self.size >= MOST_BYTES


def all_contents(drafts: Iterable[Draft]) -> dict[str, list[bytes]]:
    """Return the bytes of all pictures of each tenant, each once."""
    found: dict[str, dict[str, bytes]] = {}
    for one in drafts:
        found.setdefault(one.job.document.tenant, {}).update(one.contents)
    return {tenant: list(contents.values()) for tenant, contents in found.items()}


class PendingSubmission:
    """Drafts on their way in: which of them are still to be uploaded and submitted."""

    def __init__(self, drafts: Sequence[Draft]) -> None:
        self.remaining = list(drafts)
        self._replies: dict[str, Submission] = {}

    def note(self, replies: Sequence[Submission]) -> None:
        """Take the ledger's replies on `remaining`.

        What remains are jobs whose blobs expired between upload and submission. Blobs that the
        caller only refers to are not here to be uploaded again.
        """
        pairs = list(zip(self.remaining, replies, strict=True))
        self._replies |= {one.job.id: reply for one, reply in pairs}
        self.remaining = [
            one
            for one, reply in pairs
            if isinstance(reply, BlobsMissing) and one.contents.keys() & set(reply.blobs)
        ]

    @property
    def replies(self) -> list[Submission]:
        """The last reply on each draft, in order."""
        return list(self._replies.values())


def accepted(reply: Submission) -> Submitted:
    """Return the reply if the job is in the ledger.

    Raises:
        IdempotencyConflict: the key already names another job.
        BlobMissing: a blob that the job refers to is not stored.
        QueueUnavailable: Redis is close to its memory limit.
        QuotaExceeded: the tenant has too much in the ledger.
    """
    if isinstance(reply, Submitted):
        return reply
    raise _refusal(reply)


def _refusal(reply: Conflict | BlobsMissing | LedgerFull | OverQuota) -> VisionqError:
    match reply:
        case Conflict(_, known):
            return IdempotencyConflict(
                f"the idempotency key already names job {known}, which asks for something else"
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
