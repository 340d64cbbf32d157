"""Read requests from the lines of OpenAI's batch files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError

from producer.openai_requests.chat import ChatRequest
from producer.openai_requests.responses import ResponseRequest
from producer.openai_requests.unsupported import complaint
from visionq.contract import Api
from visionq.errors import InvalidJob

if TYPE_CHECKING:
    from producer.openai_requests.parts import Common

#: Path → form of its requests.
REQUESTS: Final[dict[str, type[ResponseRequest | ChatRequest]]] = {
    "/v1/responses": ResponseRequest,
    "/v1/chat/completions": ChatRequest,
}

#: Field of a job → its name in a request, if that differs.
_THEIR_NAMES: Final = {
    "prompt_cache": "prompt_cache_options.mode",
    "prompt_cache_ttl": "prompt_cache_options.ttl",
}
_EFFORTS: Final = {Api.RESPONSES: "reasoning.effort", Api.CHAT_COMPLETIONS: "reasoning_effort"}


def read_request(path: str, body: object) -> dict[str, Any]:
    """Return the fields of a request's job.

    Raises:
        InvalidJob: the request is not supported; the message names the field.
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


def in_their_words(error: InvalidJob, api: Api) -> InvalidJob:
    """Return the error of a job with the request's name of the field."""
    field, _, said = error.message.partition(": ")
    theirs = (_EFFORTS[api] if field == "effort" else _THEIR_NAMES.get(field)) if said else None
    return InvalidJob(f"{theirs}: {said}") if theirs else error


def fields_of(request: Common) -> dict[str, Any]:
    """Return the fields of a request's job.

    Raises:
        InvalidJob: it is not one question about pictures.
    """
    try:
        return request.to_fields()
    except ValueError as error:
        raise InvalidJob(str(error)) from None
