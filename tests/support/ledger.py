"""Short words for what the ledger's tests say again and again."""

from __future__ import annotations

import itertools
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from tests.support.worker_ledger import WorkerLedger
from visionq.contract import (
    UNSURE,
    DelayReason,
    InvalidAnswer,
    JobDocument,
    ResultDocument,
    parse_job,
)
from visionq.errors import ModelNotFound, NotAnImage, ProviderUnavailable, Refused
from visionq.ledger import (
    Billing,
    Claim,
    Completed,
    Ending,
    Held,
    LedgerOptions,
    Moved,
    NewJob,
    Parked,
    Registration,
    Waiting,
    error_document,
    failed,
)
from visionq.ledger.attempt_statistics import statistics_of
from visionq.ledger.views import job_views
from visionq.names import HINT_QUEUES, QUEUE_BULK, QUEUE_INTERACTIVE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis import Redis

    from visionq.contract import State
    from visionq.errors import VisionqError
    from visionq.ledger import Hint, Outcome

BOTH = HINT_QUEUES
BULK = (QUEUE_BULK,)
INTERACTIVE = (QUEUE_INTERACTIVE,)
#: What a hash of 64 digits looks like, by one digit.
SHA = {digit: digit * 64 for digit in "abc"}

#: Ways to fail, by the names that tests give them.
FAILURES: dict[str, VisionqError] = {
    "failed": NotAnImage("no picture", image="a.png"),
    "unavailable": ProviderUnavailable("the provider was not reached"),
    "missing": ModelNotFound("there is no such model"),
}

_numbers = itertools.count(1)


class NewerDocument(JobDocument):
    """A document of the next version; this version can read it, but does not know it."""

    def to_compact_json(self) -> str:
        return JobDocument.model_validate(
            self.model_dump(exclude={"schema_version"}, exclude_unset=True)
        ).to_compact_json()


def newer(job: NewJob) -> NewJob:
    fields = job.document.model_dump(exclude_unset=True)
    return NewJob(job.id, NewerDocument(**fields).model_copy(update={"schema_version": 2}))


def new_job(job_id: str | None = None, **fields: Any) -> NewJob:
    images = fields.pop("images", [{"url": "https://example.com/a.png"}])
    document = {"prompt": "What?", "images": images, "model": "m1", **fields}
    return NewJob(job_id or f"job-{next(_numbers)}", parse_job(document))


def with_blobs(*digits: str) -> list[dict[str, str]]:
    return [{"blob": SHA[digit]} for digit in digits]


def moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def completed(
    job_id: str, text: str = "an answer", cache_key: str = "", saved: int = 0
) -> Completed:
    result = ResultDocument(id=job_id, model="m1", api="responses", text=text)
    return Completed(result, cache_key, saved)


def outcome_of(
    kind: str, job_id: str, text: str = "", cache_key: str = "", saved: int = 0
) -> Outcome:
    """Return an outcome by its name, as `waiting 3` or `parked billing_unknown`."""
    name, *words = kind.split()
    if name in ("completed", "moved", "unsure"):
        answer = completed(job_id, text, cache_key, saved)
        return answer if name == "completed" else _moved(name, tuple(words), answer)
    if name in FAILURES:
        return failed(FAILURES[name])
    if name == "held":
        _, _, model = words[0].partition(":")
        reason = DelayReason.ACCESS_DENIED if model else DelayReason.INSUFFICIENT_BALANCE
        return Held(reason, model or None, *map(float, words[1:]))
    if name == "parked":
        return Parked(DelayReason(words[0]), *map(float, words[1:]))
    if name == "mending":
        return Waiting(
            DelayReason.REPAIR,
            0,
            counted=True,
            faulty=InvalidAnswer(text=text, validation_error="no"),
        )
    reasons = {
        "waiting": DelayReason.RATE_LIMITED,
        "retrying": DelayReason.PROVIDER_UNAVAILABLE,
        "unclear": DelayReason.BILLING_UNKNOWN,
    }
    return Waiting(reasons[name], float(words[0]), counted=name != "waiting")


def _moved(name: str, models: tuple[str, ...], answer: Completed) -> Moved:
    if name == "moved":
        return Moved(models, Refused.code, error=error_document(Refused("no")))
    return Moved(models, UNSURE, 0.5, "", answer.result, answer.cache_key, answer.saved)


def paid(outcome: Outcome, cost: int = 700) -> Ending:
    return Ending(outcome, Billing.SETTLED, cost)


def unpaid(outcome: Outcome) -> Ending:
    return Ending(outcome, Billing.RELEASED)


def unclear(outcome: Outcome) -> Ending:
    return Ending(outcome, Billing.UNKNOWN)


@contextmanager
def unusable(redis: Redis, *keys: str) -> Iterator[None]:
    """Put a text where scripts expect something else, and bring back what was there."""
    kept = {key: redis.dump(key) for key in keys}
    for key in keys:
        redis.set(key, "of another kind")
    try:
        yield
    finally:
        for key, value in kept.items():
            redis.delete(key)
            if value is not None:
                redis.restore(key, 0, value)


@dataclass
class Clock:
    """A clock that a test moves."""

    now: float = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class LedgerDriver:
    """A ledger with its own time and the moves that most tests begin with."""

    redis: Redis
    options: LedgerOptions = field(default_factory=LedgerOptions)
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        self.ledger = WorkerLedger(self.redis, self.options, self.clock)
        self._tokens = itertools.count(1)

    def enter(self, *jobs: NewJob) -> list[str]:
        for reply in self.ledger.submit(jobs):
            assert getattr(reply, "created", False), reply
        return [job.id for job in jobs]

    def registration(self, name: str = "w1", slots: int = 8) -> Registration:
        return Registration(name, slots, BOTH)

    def worker(
        self, name: str = "w1", slots: int = 8, queues: tuple[str, ...] = BOTH, **more: Any
    ) -> Registration:
        registration = Registration(name, slots, queues, **more)
        self.ledger.renew(registration)
        return registration

    def hints(self, limit: int = 500) -> tuple[Hint, ...]:
        return self.ledger.dispatch(limit).hints

    def claim(self, job_id: str, worker: Registration, token: str | None = None) -> Claim:
        claim = self.ledger.claim(job_id, token or f"token-{next(self._tokens)}", worker)
        assert isinstance(claim, Claim), claim
        return claim

    def begin(self, job: NewJob | None = None, worker: Registration | None = None) -> Claim:
        """Bring one job as far as a worker's hands."""
        worker = worker or self.worker()
        (job_id,) = self.enter(job or new_job())
        assert [hint.id for hint in self.hints()] == [job_id]
        return self.claim(job_id, worker)

    def add_statistics(self, claim: Claim, ending: Ending) -> None:
        """Have a worker write what the attempt counted."""
        self.ledger.add_statistics([statistics_of(claim.document, ending)])

    def pass_time(self, seconds: float, step: float = 3) -> list[str]:
        """Let time pass as it does while dispatchers live; returns the ids that were hinted."""
        hinted: list[str] = []
        end = self.clock.now + seconds
        while self.clock.now < end:
            self.clock.now = min(end, self.clock.now + step)
            hinted += [hint.id for hint in self.hints()]
        return hinted

    def live(self, seconds: int, slots: int = 64) -> list[str]:
        """Let time pass while a worker lives; returns the ids that were hinted."""
        hinted: list[str] = []
        for _ in range(seconds):
            self.clock.now += 1
            self.worker(slots=slots)
            hinted += [hint.id for hint in self.hints()]
        return hinted

    def state(self, job_id: str) -> State:
        (view,) = job_views(self.redis, [job_id])
        assert view is not None
        return view.state

    def money(self) -> dict[str, int]:
        stored: dict[Any, Any] = self.redis.hgetall("visionq:money")
        return {name.decode(): int(value) for name, value in stored.items() if int(value)}

    def lapse(self, claim: Claim) -> None:
        """Let the lease of a silent worker lapse, and its registration with it."""
        self.pass_time(self.options.lease + 1)
        assert str(self.state(claim.id)) != "in_progress"
