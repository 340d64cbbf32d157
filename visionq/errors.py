"""Everything that can go wrong, as one tree. A class says what to do about it."""

from __future__ import annotations

import re
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from visionq.contract.result import Usage

#: An address: scheme, user and password, host and path, query and fragment.
_ADDRESS: Final = re.compile(
    r"(?P<scheme>\b[a-z][a-z0-9+.-]{0,15}://)"
    r"(?:[^\s/?#\"'<>]*@)?"
    r"(?P<place>[^\s?#\"'<>]*)"
    r"(?:[?#][^\s\"'<>]*)?",
    re.IGNORECASE,
)


def without_secrets(text: str) -> str:
    """Return the text with each address in it cut down to its host and path."""
    return _ADDRESS.sub(r"\g<scheme>\g<place>", text) if "://" in text else text


class VisionqError(Exception):
    """Root of the tree: carries the decision, not only the message."""

    #: The stable name that users, logs, Flower and the command line show.
    code: str = "internal_error"
    #: Whether another attempt of the same job may succeed; an instance may know better.
    retryable: bool = False
    #: The status with which an HTTP gateway answers.
    http_status: ClassVar[int] = 500

    def __init_subclass__(
        cls,
        *,
        code: str | None = None,
        http_status: int | None = None,
        retryable: bool | None = None,
    ) -> None:
        """Take what is given; the rest is its parent's."""
        given = {"code": code, "http_status": http_status, "retryable": retryable}
        for name, value in given.items():
            if value is not None:
                setattr(cls, name, value)

    def __init__(
        self,
        message: str,
        *,
        image: str | None = None,
        retry_after: float | None = None,
        cost_rub: Decimal = Decimal(0),
        request_id: str | None = None,
        usage: Usage | None = None,
        text: str | None = None,
    ) -> None:
        """Describe what happened.

        `message` is for the owner of the job: no key, no picture bytes, and of addresses, here as
        in `image`, no more than host and path. `image` names the picture at fault, `retry_after`
        is seconds asked for by the provider, `cost_rub` what was billed.
        `usage` is what the provider counted, `text` what it wrote before things went wrong:
        paid for, hence kept.
        """
        # Celery rebuilds an exception from its text, which already leads with the code.
        message = without_secrets(message.removeprefix(f"{self.code}: "))
        image = without_secrets(image) if image else image
        where = f"{image}: " if image else ""
        # The code leads, then the picture at fault: what a person needs first.
        super().__init__(f"{self.code}: {where}{message}")
        self.message = message
        self.image = image
        self.retry_after = retry_after
        self.cost_rub = cost_rub
        self.request_id = request_id
        self.usage = usage
        self.text = text


class JobError(VisionqError, http_status=400):
    """The job itself is wrong: no attempt can succeed, and none is paid."""


class InvalidJob(JobError, code="invalid_job", http_status=422):
    """The document does not have the form of the contract."""


class InvalidSource(JobError, code="invalid_source", http_status=422):
    """The source of jobs can't be read, or has another form."""


class JobNotFound(JobError, code="job_not_found", http_status=404):
    """The ledger holds no such job: never submitted, or ended so long ago that it expired."""


class IdempotencyConflict(JobError, code="idempotency_conflict", http_status=409):
    """The idempotency key already names a job with another document."""


class ModelNotFound(JobError, code="model_not_found", http_status=404):
    """The provider does not know the model."""


class RequestRejected(JobError, code="request_rejected"):
    """The provider refused the request as malformed, too long or against its rules."""


class ImageError(JobError):
    """One of the job's pictures can't be sent."""


class InputFileNotFound(ImageError, code="file_not_found"):
    """There is no such file, or it can't be read."""


class EmptyFile(ImageError, code="empty_file"):
    """The file has no bytes."""


class NotAnImage(ImageError, code="not_an_image"):
    """The content is of no picture type, regardless of its name."""


class UnsupportedFormat(ImageError, code="unsupported_format", http_status=415):
    """A picture, but of a type that the provider does not take."""


class AnimatedImage(ImageError, code="animated_image"):
    """More than one frame."""


class TooLarge(ImageError, code="too_large", http_status=413):
    """More bytes than the provider takes."""


class TooManyPixels(ImageError, code="too_many_pixels", http_status=413):
    """More pixels than may be decoded."""


class CorruptImage(ImageError, code="corrupt_image"):
    """The picture does not decode wholly."""


class PictureRejected(ImageError, code="picture_rejected", http_status=422):
    """The picture does not meet a requirement that the job insists on.

    Free when the worker saw it; paid, with `text`, when the model did.
    """


class UnsafeUrl(ImageError, code="unsafe_url"):
    """The address leads where downloads must not go."""


class DownloadFailed(ImageError, code="download_failed", http_status=424, retryable=True):
    """The picture could not be fetched."""


class BlobMissing(ImageError, code="blob_missing", http_status=409):
    """The bytes that the job refers to are not in the blob store."""


class AnswerError(VisionqError, http_status=422):
    """The model answered, and was paid, but there is no usable answer."""


class Refused(AnswerError, code="refused"):
    """The model, or the content filter, declined."""


class Incomplete(AnswerError, code="incomplete"):
    """The answer was cut off, usually by `max_output_tokens`."""


class InvalidOutput(AnswerError, code="invalid_output"):
    """The answer does not match the JSON Schema asked for."""


class ProviderFault(VisionqError, http_status=502, retryable=True):
    """A call that brought no answer, for no fault of the job."""


class RateLimited(ProviderFault, code="rate_limited", http_status=429):
    """Too many requests or tokens in the minute; waiting burns no attempt."""


class ProviderUnavailable(ProviderFault, code="provider_unavailable", http_status=503):
    """Not reached, overloaded or broken, and known not to have billed."""


class BillingUnknown(ProviderFault, code="billing_unknown"):
    """The call was sent and its answer was not seen: it may have been billed."""


class AccountFault(ProviderFault):
    """No call of this key, or of this model, can succeed until an operator acts."""

    #: Whose calls can't succeed; None: all calls of the key.
    model: str | None = None


class InsufficientBalance(AccountFault, code="insufficient_balance", http_status=402):
    """The balance, or the key's own budget, is used up."""


class KeyRejected(AccountFault, code="key_rejected"):
    """The provider does not accept the key."""


class AccessDenied(AccountFault, code="access_denied"):
    """The key may not use this model, endpoint or address."""


class BatchApiMissing(AccessDenied):
    """The provider has no Batch API at this address: its models are asked online."""


class JobStopped(VisionqError, http_status=409):
    """Ended by a rule or by a person."""


class BudgetExhausted(JobStopped, code="budget_exhausted", http_status=402):
    """The budget that the job is charged to can't cover it."""


class DeadlineExceeded(JobStopped, code="deadline_exceeded", http_status=408):
    """The job's deadline passed before its call was sent."""


class Cancelled(JobStopped, code="cancelled"):
    """The job was cancelled."""


class Quarantined(JobStopped, code="quarantined"):
    """The job killed its worker repeatedly."""


class InternalError(VisionqError, code="internal_error", retryable=True):
    """A defect of visionq or of the machine; another attempt may succeed."""


class ConfigurationError(VisionqError, code="configuration"):
    """A variable of the environment has a value that can't be used."""


class RecordRefused(ConfigurationError):
    """The file can't record this run: it is another question's, in use, or not writable."""


class RecordFailed(VisionqError, code="record_failed"):
    """The record of a run could not be written; what it holds already is whole."""


class WrongEventLoop(VisionqError, code="wrong_event_loop"):
    """An `AsyncClient` is used outside its event loop."""


class JobFailed(VisionqError):
    """Raised by `wait` for a job that ended without an answer; `code` says why."""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        image: str | None = None,
        cost_rub: Decimal = Decimal(0),
        request_id: str | None = None,
        **details: object,
    ) -> None:
        """Carry the code of the job's own error, and the rest of its document."""
        self.code = code  # first, since the text begins with it
        paid: dict[str, Any] = {name: details.get(name) for name in ("usage", "text")}
        super().__init__(message, image=image, cost_rub=cost_rub, request_id=request_id, **paid)
        self.details = details

    def __reduce__(self) -> tuple[object, ...]:
        """Make pickle keep all parts; by default it keeps the message only."""
        known: dict[str, Any] = {
            "image": self.image,
            "cost_rub": self.cost_rub,
            "request_id": self.request_id,
            **self.details,
        }
        return partial(type(self), **known), (self.code, self.message)


class WaitTimeout(VisionqError, TimeoutError, code="wait_timeout", http_status=504):
    """The job has not ended within the time that the caller gave; it goes on."""


class QueueUnavailable(
    VisionqError, ConnectionError, code="queue_unavailable", http_status=503, retryable=True
):
    """Redis can't be reached or does not take jobs now: nothing was accepted."""


class QuotaExceeded(QueueUnavailable, code="quota_exceeded", http_status=429):
    """The tenant has as much in the queue as one may; nothing was accepted."""


class StartFailed(QueueUnavailable, code="start_failed"):
    """A part of the local stack did not start, or was not ready in time."""


class RedisMissing(QueueUnavailable, code="redis_missing"):
    """No usable Redis server is installed."""


def _coded(root: type[VisionqError]) -> Iterator[type[VisionqError]]:
    for child in root.__subclasses__():
        if "code" in vars(child):
            yield child
        yield from _coded(child)


#: Classes with which no job or call ends: of commands, and of waiting for any job.
_NO_ENDINGS: Final = {JobFailed, ConfigurationError, RecordFailed, StartFailed, RedisMissing}
#: Every class with a code of its own that a job or a call can end with, by code.
BY_CODE: Final[dict[str, type[VisionqError]]] = {
    error.code: error for error in _coded(VisionqError) if error not in _NO_ENDINGS
}
