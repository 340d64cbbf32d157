"""The provider's refusals as one table of dated rows; the first match applies.

A call that was sent counts as not billed only where the provider itself refused it: with a status
that its profile lists for a body of this making, OpenAI's (`error`) or ProxyAPI's (`detail`). An
error with the status of a success is believed where its code can't come from a call that ran. All
else may have been billed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final

from visionq import errors
from visionq.contract import Usage
from worker.provider.reply import ErrorFields, Where, read_reason
from worker.retry_after import retry_after

if TYPE_CHECKING:
    from visionq.providers import Refusals
    from worker.provider.reply import Reply
    from worker.provider.request import ProviderRequest

#: Statuses with which ProxyAPI bills nothing, if the body is its own.
REFUSALS: Final = frozenset({400, 401, 402, 403, 404, 413, 422, 429, 500, 503})
#: Where a code that speaks for itself is believed.
_ANY: Final = REFUSALS | {200}

_PROXY: Final = "ProxyAPI docs/errors, 2026"
_HELP: Final = "OpenAI help articles 5955604 and 6614457, digest of 2026-10-18"
_SDK: Final = "ResponseError.code of openai 3.54.0, 2026"
_SEEN: Final = "GitHub: openai-python 2776, vercel/ai 8857, cuomputer 95, 2025"

#: What a refusal says that is about a model or an endpoint, not about the account or address.
_NAMES_A_MODEL: Final = r"\bmodels?\b|\bendpoints?\b|модел|эндпоинт"

#: Seconds before a call that the provider asks not to repeat is repeated all the same.
_DISCOURAGED: Final = 60.0


class Billed(StrEnum):
    """Whether a refused call was charged."""

    NO = "no"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class RefusalRule:
    """One way to be refused: all that is given must fit."""

    error: type[errors.VisionqError]
    statuses: frozenset[int]
    #: Patterns for `error.code`, or `error.type`.
    codes: tuple[str, ...] = ()
    #: A pattern found in the text.
    words: str = ""
    where: Where | None = None
    source: str = _PROXY
    billed: Billed = Billed.NO
    #: Only calls of the same model would fare alike, not every call of the key.
    by_model: bool = False

    def fits(self, status: int, reason: ErrorFields) -> bool:
        """Return whether this row is about such an answer."""
        return (
            status in self.statuses
            and reason.where is not Where.NOWHERE
            and self.where in {None, reason.where}
            and (not self.codes or self._names(reason))
            and re.search(self.words, reason.text, re.IGNORECASE) is not None
        )

    def _names(self, reason: ErrorFields) -> bool:
        names = [name for name in (reason.code, reason.type) if name]
        return any(fnmatchcase(name, code) for name in names for code in self.codes)


def _code(
    error: type[errors.VisionqError], *codes: str, words: str = "", source: str = _SDK
) -> RefusalRule:
    return RefusalRule(error, _ANY, codes=codes, words=words, where=Where.ERROR, source=source)


def _status(
    error: type[errors.VisionqError], *statuses: int, words: str = "", where: Where | None = None
) -> RefusalRule:
    return RefusalRule(error, frozenset(statuses), words=words, where=where)


TABLE: Final[tuple[RefusalRule, ...]] = (
    # The account: nothing helps until someone acts, regardless of the status.
    _code(
        errors.InsufficientBalance,
        "insufficient_quota",
        "credit_balance_exhausted",
        "*_spend_limit_exceeded",
        "organization_usage_limit_exceeded",
        source=_HELP,
    ),
    RefusalRule(
        errors.InsufficientBalance,
        _ANY,
        words=r"insufficient balance|budget exceeded",
        where=Where.DETAIL,
    ),
    _code(errors.KeyRejected, "invalid_api_key", source=_HELP),
    RefusalRule(errors.KeyRejected, _ANY, words="invalid api key", where=Where.DETAIL),
    # Too fast.
    _code(errors.RateLimited, "rate_limit_exceeded", "slow_down", source=_HELP),
    # More tokens in batches than the model may have enqueued.
    _code(errors.RateLimited, "token_limit_exceeded", source="GitHub: openai-python 2084, 2025"),
    # An outage in the dress of a refusal.
    RefusalRule(
        errors.ProviderUnavailable,
        frozenset({400, 422}),
        codes=("server_error", "vector_store_timeout", "server_is_overloaded"),
        where=Where.ERROR,
        source=_SDK,
    ),
    # The request.
    RefusalRule(errors.AccessDenied, frozenset({403}), words=_NAMES_A_MODEL, by_model=True),
    _code(errors.ModelNotFound, "model_not_found", source=_HELP),
    _code(errors.RequestRejected, "context_length_exceeded", source=_HELP),
    _code(errors.RequestRejected, "invalid_prompt", "data_residency_mismatch"),
    _code(
        errors.Refused,
        "image_content_policy_violation",
        "content_policy_violation",
        "bio_policy",
        "misalignment_policy_violation",
    ),
    # A picture.
    _code(errors.DownloadFailed, "failed_to_download_image"),
    _code(errors.TooLarge, "invalid_image", words="image size exceeds", source=_SEEN),
    _code(
        errors.DownloadFailed,
        "invalid_image_url",
        "invalid_value",
        words="(error|timeout) while downloading",
        source=_SEEN,
    ),
    _code(
        errors.CorruptImage,
        "invalid_image",
        "invalid_base64_image",
        "image_parse_error",
        "sanitizer_server_error",
    ),
    _code(
        errors.UnsupportedFormat,
        "invalid_image_format",
        "invalid_image_mode",
        "unsupported_image_media_type",
    ),
    _code(errors.UnsupportedFormat, words="unsupported image", source=_SEEN),
    _code(errors.TooManyPixels, "image_too_large"),
    _code(errors.TooLarge, "image_file_too_large"),
    _code(errors.EmptyFile, "empty_image_file"),
    _code(errors.InputFileNotFound, "image_file_not_found"),
    _code(errors.RequestRejected, "image_too_small", "invalid_image_url"),
    # The status alone, with a body of the provider's.
    _status(errors.KeyRejected, 401),
    _status(errors.InsufficientBalance, 402),
    _status(errors.AccessDenied, 403),
    # What a router says of a path it does not have: the address is wrong, not the model.
    _status(errors.AccessDenied, 404, words="^not found$", where=Where.DETAIL),
    _status(errors.ModelNotFound, 404),
    _status(errors.TooLarge, 413),
    _status(errors.RequestRejected, 400, 422),
    _status(errors.RateLimited, 429),
    _status(errors.ProviderUnavailable, 500, 503),
)

#: What holds when no row does: 408, 502, 504, redirects, pages, empty and cut bodies, an error
#: that calls itself a success.
UNLISTED: Final = RefusalRule(errors.BillingUnknown, frozenset(), billed=Billed.UNKNOWN)

#: A part of the request as errors name it: `input[0].content[2].image_url`.
_PART: Final = re.compile(r"content\[(\d+)\]")


def find(status: int, reason: ErrorFields, refusals: Refusals) -> RefusalRule:
    """Return the row that such an answer falls under, of a provider with such refusals."""
    listed = {Where.ERROR: refusals.error, Where.DETAIL: refusals.detail}
    if status not in listed.get(reason.where, ()):
        return UNLISTED
    return next((row for row in TABLE if row.fits(status, reason)), UNLISTED)


def fault(
    reply: Reply,
    request: ProviderRequest,
    *,
    now: float,
    usage: Usage | None = None,
    text: str | None = None,
) -> errors.VisionqError:
    """Return the error for the reply.

    `usage` and `text` are what it says, for all that, of tokens and of an answer: a call that was
    counted is settled at that count and not asked again, regardless of its status.
    """
    reason = read_reason(reply)
    row = find(reply.status, reason, request.profile.refusals)
    kind = _advised(row.error, reply)
    if usage is None and issubclass(kind, errors.AnswerError):
        usage = Usage()  # refused before it ran
    elif usage is not None and (issubclass(kind, errors.ProviderFault) or kind.retryable):
        kind = errors.Incomplete
    error = kind(
        _message(kind, reply, reason),
        image=_picture(kind, reason, request),
        retry_after=_wait(kind, reply, now),
        request_id=reply.request_id,
        usage=usage,
        text=text or None,
    )
    if row.by_model and isinstance(error, errors.AccountFault):
        error.model = request.model
    return error


def _message(kind: type[errors.VisionqError], reply: Reply, reason: ErrorFields) -> str:
    if kind is errors.BillingUnknown:
        return f"the provider answered {reply.status} with no answer in it: {reason.text}"
    return reason.text


def _advised(kind: type[errors.VisionqError], reply: Reply) -> type[errors.VisionqError]:
    """Respect `x-should-retry: true`, which the SDK ranks above the status (openai 3.54)."""
    advised = reply.headers.get("x-should-retry") == "true"
    if advised and reply.status in REFUSALS and issubclass(kind, errors.JobError):
        return errors.ProviderUnavailable
    return kind


def _wait(kind: type[errors.VisionqError], reply: Reply, now: float) -> float | None:
    wait = retry_after(reply.headers, now)
    # `false` slows us down and fails nothing: an outage that says so is an outage all the same.
    discouraged = reply.headers.get("x-should-retry") == "false"
    if discouraged and issubclass(kind, errors.ProviderUnavailable | errors.RateLimited):
        return max(wait or 0.0, _DISCOURAGED)
    return wait


def _picture(
    kind: type[errors.VisionqError], reason: ErrorFields, request: ProviderRequest
) -> str | None:
    """Name the picture at fault, where the error is about one and says which."""
    about_one = issubclass(kind, errors.ImageError) or "image" in (reason.param or "")
    about_one = about_one or "image" in (reason.code or "")
    if not about_one:
        return None
    if len(request.images) == 1:
        return request.images[0]
    part = _PART.search(reason.param or "")
    # The prompt is the first part.
    position = int(part[1]) - 1 if part else -1
    return request.images[position] if 0 <= position < len(request.images) else None
