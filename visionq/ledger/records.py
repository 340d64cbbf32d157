"""Arguments and replies of the ledger's transitions."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from visionq.contract import SCHEMA_VERSION, ErrorDocument
from visionq.errors import QuotaExceeded, VisionqError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from visionq.contract import (
        DelayReason,
        InvalidAnswer,
        JobDocument,
        ResultDocument,
        State,
    )


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job to submit; its document names its model."""

    id: str
    document: JobDocument
    #: The caller's span, as a `traceparent`: beside the document, so that it changes no key.
    trace: str = ""
    #: Fields of the document that the operator's defaults filled in, not the caller.
    defaulted: tuple[str, ...] = ()
    #: The model that the caller named, where the operator has migrated it to another.
    migrated: str | None = None
    #: What Celery is to send when the job ends, as JSON.
    canvas: str = ""


@dataclass(frozen=True, slots=True)
class Submitted:
    """The job is in the ledger; `created` is false when the same one already was."""

    id: str
    created: bool


@dataclass(frozen=True, slots=True)
class Conflict:
    """This id or idempotency key already names another document."""

    id: str
    known_id: str


@dataclass(frozen=True, slots=True)
class BlobsMissing:
    """Nothing was submitted: these blobs must be uploaded first."""

    id: str
    blobs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LedgerFull:
    """Nothing was submitted: Redis is close to its memory limit."""

    id: str


@dataclass(frozen=True, slots=True)
class OverQuota:
    """The job was not submitted: its tenant exceeds a quota."""

    id: str
    tenant: str
    #: `parked` or `models`.
    of: str
    most: int

    def error(self) -> QuotaExceeded:
        """Return the refusal as an error that says what to do."""
        if self.of == "models":
            said = f"has jobs in line for {self.most:,} models"
            return QuotaExceeded(f"tenant {self.tenant} {said}; wait until some are done")
        said = f"has {self.most:,} parked jobs"
        return QuotaExceeded(
            f"tenant {self.tenant} {said}; raise its budget or cancel them: visionq jobs list"
            " --state parked"
        )


Submission = Submitted | Conflict | BlobsMissing | LedgerFull | OverQuota


@dataclass(frozen=True, slots=True)
class Hint:
    """A message to publish: look at this job."""

    id: str
    queue: str
    tenant: str
    model: str
    pictures: int


class DeliveryState(StrEnum):
    """The state of a delivery to a webhook."""

    WAITING = "waiting"
    """Not delivered yet, or due again."""
    HINTED = "hinted"
    """On its way to a worker."""
    SENDING = "sending"
    """In a worker's hands."""
    DELIVERED = "delivered"
    FAILED = "failed"
    """Given up; `visionq webhooks redeliver` tries again."""


@dataclass(frozen=True, slots=True)
class DeliveryHint:
    """A message to publish: deliver this event."""

    id: str
    tenant: str
    event: str


@dataclass(frozen=True, slots=True)
class Dispatch:
    """Hints to publish, queued jobs whose deadline passed, and events for webhooks."""

    hints: tuple[Hint, ...]
    expired: tuple[str, ...]
    deliveries: tuple[DeliveryHint, ...] = ()
    #: Nothing was done: another dispatcher had just looked.
    rested: bool = False


@dataclass(frozen=True, slots=True)
class AskedModel:
    """A model that was asked, and why the job went on to the next one."""

    model: str
    reason: str
    #: Nano-rubles and attempts of the job until it went on.
    cost: int
    attempts: int
    sureness: float | None = None
    #: What the model wrote.
    text: str = ""


@dataclass(frozen=True, slots=True)
class Claim:
    """A worker's right to work on a job, until its lease lapses."""

    id: str
    token: str
    document: JobDocument
    #: Seconds since the epoch, by the ledger's clock.
    now: float
    submitted: float
    #: Attempts that count against the limit, so far.
    attempts: int
    #: Times in a row that the job has waited without using up an attempt.
    waits: int
    #: Calls that may have been billed without an answer, so far.
    unknown_calls: int
    #: The last attempt was sent and its worker did not live to tell its end.
    interrupted: bool
    #: Times that a worker lost the job before it had sent the call.
    lapses: int
    #: Nano-rubles paid so far.
    cost: int
    #: The answer that the attempt repairs, instead of asking about the pictures again.
    faulty: InvalidAnswer | None = None
    #: What the provider said less than a minute ago of the job's model, which it does not know.
    missing_model: ErrorDocument | None = None
    #: The span of who submitted it, as a `traceparent`.
    trace: str = ""
    #: A cheaper service tier at which it is asked while time allows; empty: none.
    tier: str = ""
    #: The models that were asked before the document's, which is the one to ask now.
    steps: tuple[AskedModel, ...] = ()
    #: Fields of the document that the operator's defaults filled in; only where it names further
    #: models, which have defaults of their own.
    defaulted: frozenset[str] = frozenset()


class RefusalReason(StrEnum):
    """Why a hinted job can't be claimed."""

    GATE_CLOSED = "gate_closed"
    """The gate of this worker's key; workers with another key may have the job."""
    HELD = "held"
    RATE_LIMITED = "rate_limited"
    TOO_NEW = "too_new"


@dataclass(frozen=True, slots=True)
class ClaimRefusal:
    """The job can't be claimed.

    `state` is where it is now; None: the ledger does not know it. `reason` is what kept it back;
    None: the hint was stale.
    """

    state: State | None
    reason: RefusalReason | None = None


class Verdict(StrEnum):
    """The verdict of `admit`."""

    GO = "GO"
    ANSWER = "ANSWER"
    FOLLOW = "FOLLOW"
    WAIT = "WAIT"
    PARK = "PARK"
    REFUSED = "REFUSED"
    UNPRICED = "UNPRICED"
    EXPIRED = "EXPIRED"


@dataclass(frozen=True, slots=True)
class Admission:
    """The verdict on a call, and its details."""

    verdict: Verdict
    #: ANSWER: the cached result document, as JSON.
    answer: str | None = None
    #: ANSWER: whether it is that of a picture that looks alike.
    is_near: bool = False
    #: PARK: what keeps the job back.
    reason: DelayReason | None = None
    #: REFUSED: where the job is; None: the ledger does not know it.
    state: State | None = None
    #: WAIT: seconds until asking again.
    wait: float = 0


@dataclass(frozen=True, slots=True)
class BatchPlace:
    """The place of a job's line in a batch at the provider."""

    #: Id of our record of the batch, and who holds that.
    batch: str
    holder: str
    #: What settles the line, as JSON.
    line: str
    bytes: int
    #: Of its input, as forecast.
    tokens: int


@dataclass(frozen=True, slots=True)
class Registration:
    """A registered worker process. Zero slots: it is shutting down."""

    worker: str
    slots: int
    queues: tuple[str, ...]
    facts: Mapping[str, str | int | float] = field(default_factory=dict)
    #: Names the provider's key without telling it: each key has a gate of its own.
    key: str = ""
    #: The newest documents that it reads.
    schema_version: int = SCHEMA_VERSION

    @property
    def pool(self) -> str:
        """Return the name of the pool: workers of the same queues and key."""
        return f"{','.join(sorted(self.queues))}@{self.key}"


class GateOrder(StrEnum):
    """What an operator can do to a gate."""

    CLOSE = "close"
    REFUSE = "refuse"
    """Close it until a trial passes: the provider has refused the key."""
    ADVANCE = "advance"
    """Take one step, if it reopens: the provider has taken something from the key."""
    REOPEN = "reopen"
    """In steps, if it is closed."""
    OPEN = "open"
    """At once."""
    POSTPONE = "postpone"
    """Put the next trial off, if it is closed for an outage that still lasts."""


class Billing(StrEnum):
    """What is known of the cost of a sent call; unused for an attempt that was not sent."""

    SETTLED = "settled"
    UNKNOWN = "unknown"
    RELEASED = "released"


@dataclass(frozen=True, slots=True)
class Completed:
    """The attempt produced an answer."""

    result: ResultDocument
    #: Under which to keep the answer for the same question; empty: not kept.
    cache_key: str = ""
    #: Nano-rubles that a stored answer saved.
    saved: int = 0


@dataclass(frozen=True, slots=True)
class Failed:
    """The job can't be answered."""

    error: ErrorDocument
    #: The class of the error, as Celery's callers will see it.
    error_type: str
    #: Which of the job's pictures is at fault, counted from 1.
    picture: int | None = None


def error_document(error: VisionqError) -> ErrorDocument:
    """Return the stored and public form of an error."""
    return ErrorDocument(
        code=error.code,
        message=error.message,
        retryable=error.retryable,
        http_status=error.http_status,
        image=error.image,
        cost_rub=error.cost_rub,
        request_id=error.request_id,
        text=error.text,
        usage=error.usage,
    )


def failed(error: VisionqError, picture: int | None = None) -> Failed:
    """Return the outcome of a failed job; `picture`, from 1, is at fault."""
    return Failed(error_document(error), type(error).__name__, picture)


@dataclass(frozen=True, slots=True)
class Waiting:
    """The job returns after `delay` seconds; `counted` if that used an attempt."""

    reason: DelayReason
    delay: float
    counted: bool
    #: The paid answer that the next attempt repairs.
    faulty: InvalidAnswer | None = None


@dataclass(frozen=True, slots=True)
class Parked:
    """The job returns after `recheck` seconds, or only when an operator acts."""

    reason: DelayReason
    recheck: float | None = None


@dataclass(frozen=True, slots=True)
class Held:
    """No call like this can succeed now: its kind is held, and the job goes back to its lane."""

    reason: DelayReason
    #: Whose calls are held; None: all calls of the key.
    model: str | None
    #: Seconds until a held model is tried again; the gate has a rhythm of its own.
    recheck: float = 60


@dataclass(frozen=True, slots=True)
class Moved:
    """The job is asked of another model: the first of these that nothing holds."""

    models: tuple[str, ...]
    #: What was not good enough: `unsure`, or the code of `error`.
    reason: str
    sureness: float | None = None
    text: str = ""
    #: The answer that was not sure enough, and the key under which it is kept for others.
    result: ResultDocument | None = None
    cache_key: str = ""
    #: Nano-rubles, if it was a stored answer.
    saved: int = 0
    #: What the model failed with.
    error: ErrorDocument | None = None


Outcome = Completed | Failed | Waiting | Parked | Held | Moved


@dataclass(frozen=True, slots=True)
class UsageNote:
    """Tokens of a paid call beside their forecast."""

    model: str
    detail: str
    #: What the answer's length depends on, as `visionq.ledger.usage.question_of` names it.
    question: str
    #: As forecast.
    pictures: int
    texts: int
    #: As counted.
    input: int
    cached: int
    output: int
    written: int = 0
    #: Whether the texts were those of the question alone, without what a worker adds.
    plain: bool = True
    effort: str | None = None
    #: Nano-rubles, by the provider's own word and by the table of prices; 0: it does not say.
    told_cost: int = 0
    table_cost: int = 0
    #: Whether there was a forecast; without one the costs alone are learned from.
    is_forecast: bool = True


@dataclass(frozen=True, slots=True)
class RateLimitFeedback:
    """What a finished call tells about its model's limits."""

    #: Tokens that the provider counted; None: nobody knows.
    tokens: int | None = None
    #: The limits for a minute, as the provider says.
    requests_limit: float | None = None
    tokens_limit: float | None = None
    #: The call was refused for coming too fast.
    refused: bool = False
    #: Seconds that the provider then asks to wait.
    pause: float | None = None


@dataclass(frozen=True, slots=True)
class Ending:
    """The end of an attempt: what becomes of the job, and of the money."""

    outcome: Outcome
    billing: Billing = Billing.RELEASED
    #: Nano-rubles: of a settled call what it cost, of one of unknown billing what it can have cost.
    cost: int = 0
    #: Of a settled call, if the provider said what it counted: forecasts learn from it.
    usage: UsageNote | None = None
    rate_limit: RateLimitFeedback = field(default_factory=RateLimitFeedback)
    #: What the attempt counted, as `visionq.ledger.metrics` names it.
    counted: Mapping[str, int] = field(default_factory=dict)
    #: Should the provider turn out to be out, the job goes back to its lane instead, unburned.
    may_be_put_off: bool = False


class Written(StrEnum):
    """How an ending was written; FENCED is false."""

    FENCED = ""
    """The job was no longer this worker's: money and a paid answer were taken, nothing else."""
    DONE = "done"
    PUT_OFF = "put_off"
    """The provider is out: the job went back to its lane instead."""
