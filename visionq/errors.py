"""Everything that can go wrong, as one tree. A class says what to do about it.

VisionqError
├── JobError                      the job itself is wrong: fails at once, nothing paid
│   ├── InvalidJob                  invalid_job
│   ├── InvalidSource               invalid_source
│   ├── JobNotFound                 job_not_found
│   ├── IdempotencyConflict         idempotency_conflict
│   ├── ModelNotFound               model_not_found
│   ├── RequestRejected             request_rejected
│   └── ImageError                one of its pictures is wrong
│       ├── InputFileNotFound       file_not_found
│       ├── EmptyFile               empty_file
│       ├── NotAnImage              not_an_image
│       ├── UnsupportedFormat       unsupported_format
│       ├── AnimatedImage           animated_image
│       ├── TooLarge                too_large
│       ├── TooManyPixels           too_many_pixels
│       ├── CorruptImage            corrupt_image
│       ├── PictureRejected         picture_rejected     (by a policy of the job)
│       ├── UnsafeUrl               unsafe_url
│       ├── DownloadFailed          download_failed      (retryable)
│       └── BlobMissing             blob_missing
├── AnswerError                   the model answered, and was paid, but not with an answer
│   ├── Refused                     refused
│   ├── Incomplete                  incomplete
│   └── InvalidOutput               invalid_output
├── ProviderFault                 a call that brought no answer
│   ├── RateLimited                 rate_limited         (waits, burns no attempt)
│   ├── ProviderUnavailable         provider_unavailable (retried with backoff)
│   ├── BillingUnknown              billing_unknown      (policy of the job)
│   └── AccountFault              no call can succeed until an operator acts: parks
│       ├── InsufficientBalance     insufficient_balance
│       ├── KeyRejected             key_rejected
│       └── AccessDenied            access_denied
│           └── BatchApiMissing     access_denied        (only its batch lane is closed)
├── JobStopped                    ended by a rule or by a person
│   ├── BudgetExhausted             budget_exhausted
│   ├── DeadlineExceeded            deadline_exceeded
│   ├── Cancelled                   cancelled
│   └── Quarantined                 quarantined
├── JobFailed                     what `wait` raises: the code of a job that did not complete
├── ConfigurationError            configuration        (a variable of the environment)
│   └── RecordRefused               configuration        (the file of a run)
├── RecordFailed                  record_failed        (the file of a run)
├── WrongEventLoop                wrong_event_loop     (an AsyncClient belongs to one)
├── WaitTimeout                   the job goes on, the waiting ended (a TimeoutError)
└── QueueUnavailable                queue_unavailable    (a ConnectionError)
    ├── QuotaExceeded               quota_exceeded       too much of one tenant
    ├── StartFailed                 start_failed         (a part of the local stack)
    └── RedisMissing                redis_missing        (no server is installed)
"""

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


class JobError(VisionqError):
    """The job itself is wrong: no attempt can succeed, and none is paid."""

    http_status = 400


class InvalidJob(JobError):
    """The document does not have the form of the contract."""

    code = "invalid_job"
    http_status = 422


class InvalidSource(JobError):
    """The source of jobs can't be read, or has another form."""

    code = "invalid_source"
    http_status = 422


class JobNotFound(JobError):
    """The ledger holds no such job: never submitted, or ended so long ago that it expired."""

    code = "job_not_found"
    http_status = 404


class IdempotencyConflict(JobError):
    """The idempotency key already names a job with another document."""

    code = "idempotency_conflict"
    http_status = 409


class ModelNotFound(JobError):
    """The provider does not know the model."""

    code = "model_not_found"
    http_status = 404


class RequestRejected(JobError):
    """The provider refused the request as malformed, too long or against its rules."""

    code = "request_rejected"


class ImageError(JobError):
    """One of the job's pictures can't be sent."""


class InputFileNotFound(ImageError):
    """There is no such file, or it can't be read."""

    code = "file_not_found"


class EmptyFile(ImageError):
    """The file has no bytes."""

    code = "empty_file"


class NotAnImage(ImageError):
    """The content is of no picture type, regardless of its name."""

    code = "not_an_image"


class UnsupportedFormat(ImageError):
    """A picture, but of a type that the provider does not take."""

    code = "unsupported_format"
    http_status = 415


class AnimatedImage(ImageError):
    """More than one frame."""

    code = "animated_image"


class TooLarge(ImageError):
    """More bytes than the provider takes."""

    code = "too_large"
    http_status = 413


class TooManyPixels(ImageError):
    """More pixels than may be decoded."""

    code = "too_many_pixels"
    http_status = 413


class CorruptImage(ImageError):
    """The picture does not decode wholly."""

    code = "corrupt_image"


class PictureRejected(ImageError):
    """The picture does not meet a requirement that the job insists on.

    Free when the worker saw it; paid, with `text`, when the model did.
    """

    code = "picture_rejected"
    http_status = 422


class UnsafeUrl(ImageError):
    """The address leads where downloads must not go."""

    code = "unsafe_url"


class DownloadFailed(ImageError):
    """The picture could not be fetched."""

    code = "download_failed"
    retryable = True
    http_status = 424


class BlobMissing(ImageError):
    """The bytes that the job refers to are not in the blob store."""

    code = "blob_missing"
    http_status = 409


class AnswerError(VisionqError):
    """The model answered, and was paid, but there is no usable answer."""

    http_status = 422


class Refused(AnswerError):
    """The model, or the content filter, declined."""

    code = "refused"


class Incomplete(AnswerError):
    """The answer was cut off, usually by `max_output_tokens`."""

    code = "incomplete"


class InvalidOutput(AnswerError):
    """The answer does not match the JSON Schema asked for."""

    code = "invalid_output"


class ProviderFault(VisionqError):
    """A call that brought no answer, for no fault of the job."""

    retryable = True
    http_status = 502


class RateLimited(ProviderFault):
    """Too many requests or tokens in the minute; waiting burns no attempt."""

    code = "rate_limited"
    http_status = 429


class ProviderUnavailable(ProviderFault):
    """Not reached, overloaded or broken, and known not to have billed."""

    code = "provider_unavailable"
    http_status = 503


class BillingUnknown(ProviderFault):
    """The call was sent and its answer was not seen: it may have been billed."""

    code = "billing_unknown"


class AccountFault(ProviderFault):
    """No call of this key, or of this model, can succeed until an operator acts."""

    #: Whose calls can't succeed; None: all calls of the key.
    model: str | None = None


class InsufficientBalance(AccountFault):
    """The balance, or the key's own budget, is used up."""

    code = "insufficient_balance"
    http_status = 402


class KeyRejected(AccountFault):
    """The provider does not accept the key."""

    code = "key_rejected"


class AccessDenied(AccountFault):
    """The key may not use this model, endpoint or address."""

    code = "access_denied"


class BatchApiMissing(AccessDenied):
    """The provider has no Batch API at this address: its models are asked online."""


class JobStopped(VisionqError):
    """Ended by a rule or by a person."""

    http_status = 409


class BudgetExhausted(JobStopped):
    """The budget that the job is charged to can't cover it."""

    code = "budget_exhausted"
    http_status = 402


class DeadlineExceeded(JobStopped):
    """The job's deadline passed before its call was sent."""

    code = "deadline_exceeded"
    http_status = 408


class Cancelled(JobStopped):
    """The job was cancelled."""

    code = "cancelled"


class Quarantined(JobStopped):
    """The job killed its worker repeatedly."""

    code = "quarantined"


class InternalError(VisionqError):
    """A defect of visionq or of the machine; another attempt may succeed."""

    code = "internal_error"
    retryable = True


class ConfigurationError(VisionqError):
    """A variable of the environment has a value that can't be used."""

    code = "configuration"


class RecordRefused(ConfigurationError):
    """The file can't record this run: it is another question's, in use, or not writable."""


class RecordFailed(VisionqError):
    """The record of a run could not be written; what it holds already is whole."""

    code = "record_failed"


class WrongEventLoop(VisionqError):
    """An `AsyncClient` is used in another event loop than the one that it belongs to."""

    code = "wrong_event_loop"


class JobFailed(VisionqError):
    """What `wait` raises for a job that ended without an answer; `code` says why."""

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
        """Let pickle make it from its parts; by default it would have the text alone."""
        known: dict[str, Any] = {
            "image": self.image,
            "cost_rub": self.cost_rub,
            "request_id": self.request_id,
            **self.details,
        }
        return partial(type(self), **known), (self.code, self.message)


class WaitTimeout(VisionqError, TimeoutError):
    """The job has not ended within the time that the caller gave; it goes on."""

    code = "wait_timeout"
    http_status = 504


class QueueUnavailable(VisionqError, ConnectionError):
    """Redis can't be reached or does not take jobs now: nothing was accepted."""

    code = "queue_unavailable"
    retryable = True
    http_status = 503


class QuotaExceeded(QueueUnavailable):
    """The tenant has as much in the queue as one may; nothing was accepted."""

    code = "quota_exceeded"
    http_status = 429


class StartFailed(QueueUnavailable):
    """A part of the local stack did not start, or was not ready in time."""

    code = "start_failed"


class RedisMissing(QueueUnavailable):
    """No usable Redis server is installed."""

    code = "redis_missing"


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
