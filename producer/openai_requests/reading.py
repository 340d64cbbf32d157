"""Requests that stand in files, as OpenAI's Batch API has them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError

from producer.complaints import complaint
from producer.openai_requests.chat import ChatRequest
from producer.openai_requests.responses import ResponseRequest
from visionq.errors import InvalidJob

if TYPE_CHECKING:
    from producer.openai_requests.parts import Common

#: Path of the address → what is sent there.
REQUESTS: Final[dict[str, type[ResponseRequest | ChatRequest]]] = {
    "/v1/responses": ResponseRequest,
    "/v1/chat/completions": ChatRequest,
}


def read_request(path: str, body: object) -> dict[str, Any]:
    """Return the fields of the job that a request asks for.

    Raises:
        InvalidJob: it asks for something that a job has no word for; the message names the field.
    """
    if path not in REQUESTS:
        raise InvalidJob(f"url: {path!r} is none of {', '.join(map(repr, REQUESTS))}")
    try:
        request = REQUESTS[path].model_validate(body)
    except ValidationError as error:
        raise InvalidJob(complaint(error.errors())[1]) from None
    if request.stream:
        raise InvalidJob("stream: answers to requests in a file are not streamed")
    return fields_of(request)


def fields_of(request: Common) -> dict[str, Any]:
    """Return the fields of the job that a request asks for.

    Raises:
        InvalidJob: it is no single question about pictures.
    """
    try:
        return request.to_fields()
    except ValueError as error:
        raise InvalidJob(str(error)) from None
