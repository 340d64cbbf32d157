"""What plain Celery callers send, on its way into the ledger."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from redis import exceptions as redis_errors

from tests.support.worker_parts import MODEL, Clock, ScriptedLedger
from visionq.blobs import sha256_of
from visionq.errors import (
    BlobMissing,
    IdempotencyConflict,
    InvalidJob,
    QueueUnavailable,
    QuotaExceeded,
    VisionqError,
)
from visionq.ledger import BlobsMissing, Conflict, LedgerFull, Submitted
from visionq.settings import Settings
from worker.intake import Intake, enter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from visionq.ledger import Submission

DOCUMENT = {"prompt": "What?", "images": [{"url": "https://example.com/a.png"}]}
ENTERED = Submitted("job-1", created=True)


@dataclass
class Blobs:
    stored: list[bytes] = field(default_factory=list)
    failures: int = 0
    refusal: Exception | None = None

    def put(self, contents: Sequence[bytes], tenant: str) -> list[str]:  # noqa: ARG002  # as the store takes it
        if self.failures:
            self.failures -= 1
            raise redis_errors.ConnectionError
        if self.refusal:
            raise self.refusal
        self.stored += contents
        return []


def intake(
    ledger: Any,
    clock: Clock | None = None,
    blobs: Blobs | None = None,
    settings: Settings | None = None,
) -> Intake:
    stored: Any = blobs or Blobs()
    given = settings or Settings.model_construct(default_model=MODEL)
    return Intake(given, ledger, stored, (clock or Clock()).sleep)


def send(
    document: dict[str, Any],
    *replies: Submission | Exception,
    job_id: str = "job-1",
    args: Sequence[Any] = (),
    blobs: Blobs | None = None,
    clock: Clock | None = None,
    revoked: bool = False,
) -> ScriptedLedger:
    # The ledger answers a list of jobs with a list.
    answers = [reply if isinstance(reply, Exception) else [reply] for reply in replies]
    ledger = ScriptedLedger({"submit": answers, "is_revoked": [revoked], "cancel": [["queued"]]})
    settings = Settings.model_construct(default_model=MODEL, default_max_output_tokens=77)
    enter(job_id, args, document, intake(ledger, clock, blobs, settings))
    return ledger


def entered(ledger: ScriptedLedger) -> Any:
    ((jobs,),) = ledger.said("submit")
    (job,) = jobs
    return job


def test_enters_with_defaults() -> None:
    """A document is entered under its task's id, with the model and limit of the settings."""
    job = entered(send(DOCUMENT, ENTERED))
    assert job.id == "job-1"
    assert (job.document.model, job.document.max_output_tokens) == (MODEL, 77)


def test_revoked_while_its_message_was_queued() -> None:
    """A job whose caller revoked it before it was entered is cancelled as soon as it is."""
    assert send(DOCUMENT, ENTERED).said("cancel") == []
    assert send(DOCUMENT, ENTERED, revoked=True).said("cancel") == [(["job-1"],)]


def test_the_same_message_again() -> None:
    """A message that is delivered twice is the same job."""
    send(DOCUMENT, Submitted("job-1", created=False))


def test_known_under_its_id() -> None:
    """A message whose id is known never fails: that would hide what became of the known job."""
    send(DOCUMENT, Conflict("job-1", "job-1"))


def test_another_document_under_its_key() -> None:
    """Another document under the same key is a conflict, which names the job that has the key."""
    with pytest.raises(IdempotencyConflict, match="job-7"):
        send({**DOCUMENT, "idempotency_key": "k"}, Conflict("job-1", "job-7"))


def test_blobs_that_are_missing() -> None:
    """Blobs that nobody uploaded are named."""
    with pytest.raises(BlobMissing, match="a" * 64):
        send(DOCUMENT, BlobsMissing("job-1", ("a" * 64,)))


@pytest.mark.parametrize(
    ("document", "args", "says"),
    [
        (DOCUMENT, ["What?"], "args"),
        ({}, [], "prompt"),
        ({**DOCUMENT, "colour": 1}, [], "colour"),
        ({**DOCUMENT, "images": "https://example.com/a.png"}, [], "images"),
        ({**DOCUMENT, "images": ["https://example.com/a.png"]}, [], "images.0"),
        ({**DOCUMENT, "images": [{"url": "data:image/png;base64,@"}]}, [], "images.0.url"),
        ({**DOCUMENT, "schema_version": 2}, [], "schema_version"),
        ({**DOCUMENT, "answer_schema": {"title": "\ud83d"}}, [], "answer_schema"),
    ],
)
def test_malformed(document: dict[str, Any], args: list[Any], says: str) -> None:
    """A document that can't be a job is refused by its field, and reaches no ledger."""
    ledger = ScriptedLedger()
    with pytest.raises(InvalidJob, match=says):
        enter("job-1", args, document, intake(ledger))
    assert ledger.calls == []


def test_a_schema_too_deep_to_be_read_back() -> None:
    """A schema that no worker could read back from the ledger is refused before it is entered."""
    schema: dict[str, Any] = {}
    for _ in range(250):
        schema = {"items": schema}
    with pytest.raises(InvalidJob, match="answer_schema: nested too deep"):
        send({**DOCUMENT, "answer_schema": schema})


@pytest.mark.parametrize("job_id", ["", "two words", "зад", "x" * 129, "line\n"])
def test_ids_that_no_result_can_carry(job_id: str) -> None:
    """An id that a result document would refuse is refused before anything is paid."""
    with pytest.raises(InvalidJob, match="task_id"):
        send(DOCUMENT, job_id=job_id)


def test_pictures_in_the_message() -> None:
    """Pictures sent as data URLs are stored first, and referred to by their hash."""
    blobs = Blobs()
    data = base64.b64encode(b"picture").decode()
    image = {"url": f"data:image/png;base64,{data}", "name": "a.png"}
    job = entered(send({**DOCUMENT, "images": [image]}, ENTERED, blobs=blobs))
    assert blobs.stored == [b"picture"]
    (reference,) = job.document.images
    assert (reference.blob, reference.name, reference.url) == (sha256_of(b"picture"), "a.png", None)


def test_waits_for_redis() -> None:
    """A Redis that is away is waited for, at the blobs and at the ledger."""
    clock, blobs = Clock(), Blobs(failures=2)
    image = {"url": "data:;base64,AAAA"}
    send(
        {**DOCUMENT, "images": [image]},
        redis_errors.ConnectionError(),
        ENTERED,
        blobs=blobs,
        clock=clock,
    )
    assert len(clock.slept) == 3


def test_an_outage_that_lasts_gives_the_message_back() -> None:
    """A Redis that stays away is not waited for without end: the worker may have to end."""
    clock = Clock()
    with pytest.raises(QueueUnavailable):
        send(DOCUMENT, *[redis_errors.ConnectionError()] * 99, clock=clock)
    assert 20 <= sum(clock.slept) < 30


def test_a_full_ledger_gives_the_message_back() -> None:
    """At a full ledger the thread rests shortly and goes: jobs that make room need it."""
    clock = Clock()
    with pytest.raises(QueueUnavailable):
        send(DOCUMENT, LedgerFull("job-1"), clock=clock)
    assert clock.slept == [2.0]


@pytest.mark.parametrize(
    ("refusal", "slept"),
    [(QueueUnavailable("no room for pictures"), [2.0]), (QuotaExceeded("too much of yours"), [])],
)
def test_no_room_for_pictures(refusal: VisionqError, slept: list[float]) -> None:
    """A full store gives the message back after a rest; a tenant's own quota is raised at once."""
    clock = Clock()
    with pytest.raises(type(refusal)):
        send(
            {**DOCUMENT, "images": [{"url": "data:;base64,AAAA"}]},
            blobs=Blobs(refusal=refusal),
            clock=clock,
        )
    assert clock.slept == slept
