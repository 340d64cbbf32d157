"""What goes wrong, as HTTP tells it: in OpenAI's shape, and as problems (RFC 9457) natively."""

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
#: Statuses of a wrong job that an OpenAI client has a class of its own for.
_TOLD_APART: Final = frozenset({404, 409})
_TYPES: Final = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
#: What OpenAI says to whom nothing more is sold; its type is its code.
_NO_QUOTA: Final = "insufficient_quota"


class Fault(Exception):  # what a client is told need not be an error of ours
    """The end of a request that is not what the client hoped for."""

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
        """`param` names the field at fault; `retry_after` is in seconds.

        `may_retry` says whether SDKs should try again by themselves; by default if there is a
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
    """What OpenAI's clients read of an error."""

    message: str
    type: str
    param: str | None
    code: str


class ErrorBody(BaseModel):
    """An error in OpenAI's shape."""

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


def fault_behind(error: Exception, *, native: bool = False) -> Fault:
    """Return how HTTP tells whatever has ended a request; what nobody foresaw is our own fault."""
    if isinstance(error, Fault):
        return error
    if isinstance(error, RedisError):
        try:
            with as_queue_unavailable():
                raise error
        except QueueUnavailable as unavailable:
            error = unavailable
    if not isinstance(error, VisionqError):
        error = InternalError("a fault of the gateway's own; its log says more")
    return fault_of(error, native=native)


def fault_of(error: VisionqError, *, native: bool = False) -> Fault:
    """Return how HTTP tells an error of the tree.

    OpenAI's clients have no class of their own for 413, 415, 422 and the like: whatever is wrong
    with a request is a 400 to them.
    """
    status = error.http_status
    if isinstance(error, JobError) and not native and status not in _TOLD_APART:
        status = HTTPStatus.BAD_REQUEST
    where = f"{error.image}: " if error.image else ""
    param = _field_in(error.message) if error.code == "invalid_job" else None
    return Fault(
        status,
        error.code,
        f"{where}{error.message}",
        param=param,
        may_retry=error.retryable or error.retry_after is not None,
        retry_after=error.retry_after,
    )


def _field_in(message: str) -> str | None:
    """Return the field that a message of `invalid_job` begins with."""
    field, colon, _ = message.partition(": ")
    return field if colon and " " not in field else None


def invalid(errors: Sequence[Any], status: int = HTTPStatus.BAD_REQUEST) -> Fault:
    """Return the fault of a request that does not have the form that it must have."""
    field, line = complaint(errors)
    return Fault(status, "invalid_job", line, param=field)


def error_body(fault: Fault) -> dict[str, Any]:
    """Return a fault in OpenAI's shape."""
    kind = _TYPES.get(fault.status, "invalid_request_error")
    if fault.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        kind = "server_error"
    if fault.code == _NO_QUOTA:
        kind = _NO_QUOTA
    detail = ErrorDetail(message=fault.message, type=kind, param=fault.param, code=fault.code)
    return ErrorBody(error=detail).model_dump()


def is_native(path: str) -> bool:
    """Return whether errors on this path are problems."""
    return path.startswith(NATIVE)


def response_for(fault: Fault, path: str) -> Response:
    """Return the answer that tells a fault, in the shape that the path's clients read."""
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
