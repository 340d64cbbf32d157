"""What goes into the ledger's transitions and what comes out of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from visionq.contract import ErrorDocument, JobDocument, ResultDocument


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job to enter: its document names its model."""

    id: str
    document: JobDocument


@dataclass(frozen=True, slots=True)
class Submitted:
    """The job is in the ledger; `created` is false when the same one already was."""

    id: str
    created: bool


@dataclass(frozen=True, slots=True)
class Conflict:
    """Another document already stands under this id or idempotency key."""

    id: str
    known_id: str


@dataclass(frozen=True, slots=True)
class BlobsMissing:
    """Nothing was entered: these blobs have to be uploaded first."""

    id: str
    blobs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LedgerFull:
    """Nothing was entered: Redis is close to its memory limit."""

    id: str


Submission = Submitted | Conflict | BlobsMissing | LedgerFull


@dataclass(frozen=True, slots=True)
class Hint:
    """A message to publish: look at this job."""

    id: str
    queue: str
    tenant: str
    model: str
    pictures: int


@dataclass(frozen=True, slots=True)
class Dispatch:
    """Hints to publish, and queued jobs whose deadline passed."""

    hints: tuple[Hint, ...]
    expired: tuple[str, ...]


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
    #: Times that a worker lost the job.
    lapses: int
    #: Nano-rubles paid so far.
    cost: int


@dataclass(frozen=True, slots=True)
class Refusal:
    """The hint is stale: the job is in this state, or `missing`."""

    state: str


class Verdict(StrEnum):
    """What `admit` says to a call."""

    GO = "GO"
    ANSWER = "ANSWER"
    FOLLOW = "FOLLOW"
    WAIT = "WAIT"
    PARK = "PARK"
    REFUSED = "REFUSED"
    EXPIRED = "EXPIRED"


@dataclass(frozen=True, slots=True)
class Admission:
    """The verdict on a call; `answer` is the stored result document of ANSWER, as JSON."""

    verdict: Verdict
    answer: str | None = None
    state: str | None = None


@dataclass(frozen=True, slots=True)
class Registration:
    """A worker process as the ledger knows it. No slots: it takes its leave."""

    worker: str
    slots: int
    queues: tuple[str, ...]
    facts: Mapping[str, str | int | float] = field(default_factory=dict)

    @property
    def pool(self) -> str:
        """The workers that serve the same queues, and so share their hints."""
        return ",".join(sorted(self.queues))


class Billing(StrEnum):
    """How a sent call ended for the purse; of no meaning for an attempt that was not sent."""

    SETTLED = "settled"
    UNKNOWN = "unknown"
    RELEASED = "released"


@dataclass(frozen=True, slots=True)
class Completed:
    """The attempt brought an answer."""

    result: ResultDocument
    #: Under which to keep the answer for the same question; empty: not kept.
    content_key: str = ""


@dataclass(frozen=True, slots=True)
class Failed:
    """The job can't be answered."""

    error: ErrorDocument
    #: The class of the error, as Celery's callers will see it.
    error_type: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """The job comes back after `delay` seconds; `counted` if that used up an attempt."""

    reason: str
    delay: float
    counted: bool


@dataclass(frozen=True, slots=True)
class Parked:
    """The job comes back after `recheck` seconds, or only when somebody acts."""

    reason: str
    recheck: float | None = None


Outcome = Completed | Failed | Waiting | Parked


@dataclass(frozen=True, slots=True)
class Ending:
    """The end of an attempt: what becomes of the job, and of the money."""

    outcome: Outcome
    billing: Billing = Billing.RELEASED
    #: Nano-rubles, when settled.
    cost: int = 0
