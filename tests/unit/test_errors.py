"""The error tree: stable codes, and messages that survive every way they travel."""

from __future__ import annotations

import pickle
from decimal import Decimal

import pytest

from visionq import errors
from visionq.errors import BY_CODE, JobFailed, NotAnImage, VisionqError
from visionq.ledger import error_document, failed

#: Codes with which commands end, and no job.
OF_COMMANDS = {"configuration", "record_failed", "start_failed", "redis_missing"}
#: The codes that callers, scripts and dashboards know.
PUBLIC = [
    "invalid_job",
    "file_not_found",
    "not_an_image",
    "unsupported_format",
    "animated_image",
    "too_large",
    "too_many_pixels",
    "corrupt_image",
    "empty_file",
    "unsafe_url",
    "download_failed",
    "model_not_found",
    "request_rejected",
    "picture_rejected",
    "refused",
    "incomplete",
    "invalid_output",
    "insufficient_balance",
    "budget_exhausted",
    "key_rejected",
    "access_denied",
    "rate_limited",
    "provider_unavailable",
    "billing_unknown",
    "deadline_exceeded",
    "cancelled",
    "quarantined",
    "blob_missing",
    "idempotency_conflict",
    "queue_unavailable",
    "quota_exceeded",
]
#: Codes besides those: of a wait, of a look-up, and of a fault of our own.
OURS = {"wait_timeout", "wrong_event_loop", "job_not_found", "invalid_source", "internal_error"}

every_error = pytest.mark.parametrize("error", list(BY_CODE.values()), ids=list(BY_CODE))


def test_codes() -> None:
    """The tree has exactly the codes that were promised, each once."""
    assert set(BY_CODE) == set(PUBLIC) | OURS
    spelled = [
        value.code
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, VisionqError) and "code" in vars(value)
    ]
    # No job and no call ends with a wrong setting: no process begins with one.
    assert set(spelled) == {*BY_CODE, *OF_COMMANDS}


@every_error
def test_says_its_code_first(error: type[VisionqError]) -> None:
    """The text leads with the code, then the picture, then the message; said again it stays so."""
    said = str(error("what happened", image="a.png"))
    assert said == f"{error.code}: a.png: what happened"
    assert str(error(said)) == said


@every_error
def test_survives_pickle(error: type[VisionqError]) -> None:
    """Another process sees the same error with all that it carries."""
    original = error(
        "what happened",
        image="a.png",
        retry_after=3,
        cost_rub=Decimal("0.5"),
        request_id="req_1",
    )
    copy = pickle.loads(pickle.dumps(original))  # noqa: S301  # our own bytes
    assert type(copy) is error
    assert str(copy) == str(original)
    assert vars(copy) == vars(original)


@every_error
def test_status_and_document(error: type[VisionqError]) -> None:
    """Each error says what a gateway answers, and makes a document from which all can be told."""
    assert 400 <= error.http_status < 600
    document = error_document(error("why", image="a.png", cost_rub=Decimal("0.25")))
    assert (document.code, document.message, document.image) == (error.code, "why", "a.png")
    assert (document.retryable, document.http_status) == (error.retryable, error.http_status)
    assert document.cost_rub == Decimal("0.25")
    assert failed(error("why")).error_type == error.__name__


def test_built_in_kinds() -> None:
    """Callers that know nothing of the tree catch what they know."""
    assert issubclass(errors.WaitTimeout, TimeoutError)
    assert issubclass(errors.QueueUnavailable, ConnectionError)


def test_job_failed_has_the_code_of_its_job() -> None:
    """`wait` raises an error with the code of the job's own error."""
    error = JobFailed("not_an_image", "why")
    assert error.code == "not_an_image"
    assert str(error) == "not_an_image: why"
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301  # our own bytes
    assert (copy.code, str(copy)) == (error.code, str(error))


def test_families() -> None:
    """A fault of the job is not retried; a fault of the provider is."""
    assert not NotAnImage.retryable
    for error in BY_CODE.values():
        if issubclass(error, errors.ProviderFault):
            assert error.retryable
        if issubclass(error, errors.AnswerError | errors.JobStopped):
            assert not error.retryable
