"""Errors over HTTP: in OpenAI's form, and as problems (RFC 9457) in the native API."""

from __future__ import annotations

from http import HTTPStatus
from math import ceil
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import BaseModel, ConfigDict
from redis.exceptions import RedisError
from starlette.responses import JSONResponse

from producer.openai_requests.unsupported import complaint
from visionq.errors import InternalError, JobError, QueueUnavailable, VisionqError
from visionq.redis_connection import as_queue_unavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.responses import Response

#: Paths whose errors are problems; all others are OpenAI's.
NATIVE: Final = ("/v1/jobs", "/v1/quotes", "/v1/events")
#: Statuses of wrong jobs for which OpenAI's clients have exceptions of their own.
_OWN_CLASSES: Final = frozenset({404, 409})
_TYPES: Final = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
#: OpenAI's code for a customer without money; its type is its code.
_NO_QUOTA: Final = "insufficient_quota"


class ApiError(Exception):  # an answer to the client, not an error of our tree
    """A request that ends with an error status."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        param: str | None = None,
        retry_after: float | None = None,
        may_retry: bool | None = None,
    ) -> None:
        """Describe the error.

        Args:
            status: HTTP status.
            code: stable code, such as `invalid_job`.
            message: text for people.
            param: the field at fault.
            retry_after: seconds.
            may_retry: whether SDKs should try again by themselves; by default if there is a
                `retry_after`.
        """
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.param = param
        self.retry_after = retry_after
        self.may_retry = retry_after is not None if may_retry is None else may_retry


class ErrorDetail(BaseModel):
    """The fields of an error that OpenAI's clients read."""

    message: str
    type: str
    param: str | None
    code: str


class ErrorBody(BaseModel):
    """An error in OpenAI's form."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "error": {
                        "message": "tools: not supported here",
                        "type": "invalid_request_error",
                        "param": "tools",
                        "code": "invalid_job",
                    }
                }
            ]
        }
    )

    error: ErrorDetail


class Problem(BaseModel):
    """An error of the native API: RFC 9457, with a stable `code`."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "about:blank",
                    "title": "Not Found",
                    "status": 404,
                    "detail": "no job 42: check the id",
                    "code": "job_not_found",
                }
            ]
        }
    )

    type: Literal["about:blank"] = "about:blank"
    title: str
    status: int
    detail: str
    code: str
    param: str | None = None


def api_error_for(error: Exception, *, native: bool = False) -> ApiError:
    """Return the HTTP error for any exception; unexpected ones are internal errors."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, RedisError):
        try:
            with as_queue_unavailable():
                raise error
        except QueueUnavailable as unavailable:
            error = unavailable
    if not isinstance(error, VisionqError):
        error = InternalError("an internal error of the gateway; see its log")
    return api_error_of(error, native=native)


def api_error_of(error: VisionqError, *, native: bool = False) -> ApiError:
    """Return the HTTP error for an error of `visionq.errors`.

    OpenAI's clients have no exceptions for 413, 415, 422 and the like: a wrong request is a 400.
    """
    status = error.http_status
    if isinstance(error, JobError) and not native and status not in _OWN_CLASSES:
        status = HTTPStatus.BAD_REQUEST
    where = f"{error.image}: " if error.image else ""
    param = _field_in(error.message) if error.code == "invalid_job" else None
    return ApiError(
        status,
        error.code,
        f"{where}{error.message}",
        param=param,
        may_retry=error.retryable or error.retry_after is not None,
        retry_after=error.retry_after,
    )


def _field_in(message: str) -> str | None:
    """Return the field at the beginning of a message of `invalid_job`."""
    field, colon, _ = message.partition(": ")
    return field if colon and " " not in field else None


def invalid(errors: Sequence[Any], status: int = HTTPStatus.BAD_REQUEST) -> ApiError:
    """Return the HTTP error for a request that fails validation."""
    field, line = complaint(errors)
    return ApiError(status, "invalid_job", line, param=field)


def error_body(fault: ApiError) -> dict[str, Any]:
    """Return an error in OpenAI's form."""
    kind = _TYPES.get(fault.status, "invalid_request_error")
    if fault.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        kind = "server_error"
    if fault.code == _NO_QUOTA:
        kind = _NO_QUOTA
    detail = ErrorDetail(message=fault.message, type=kind, param=fault.param, code=fault.code)
    return ErrorBody(error=detail).model_dump()


def is_native(path: str) -> bool:
    """Return whether errors of this path are problems."""
    return path.startswith(NATIVE)


def response_for(fault: ApiError, path: str) -> Response:
    """Return the response for an error, in the form of the path's API."""
    headers = {"x-should-retry": "true" if fault.may_retry else "false"}
    if fault.retry_after is not None:
        headers["retry-after"] = str(max(1, ceil(fault.retry_after)))
    if fault.status == HTTPStatus.UNAUTHORIZED:
        headers["www-authenticate"] = "Bearer"
    if not is_native(path):
        return JSONResponse(error_body(fault), fault.status, headers)
    problem = Problem(
        title=HTTPStatus(fault.status).phrase,
        status=fault.status,
        detail=fault.message,
        code=fault.code,
        param=fault.param,
    )
    media_type = "application/problem+json"
    return JSONResponse(problem.model_dump(), fault.status, headers, media_type)
