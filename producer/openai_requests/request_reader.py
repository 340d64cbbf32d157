"""Requests that stand in files, as OpenAI's Batch API has them."""

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

#: Path of the address → what is sent there.
REQUESTS: Final[dict[str, type[ResponseRequest | ChatRequest]]] = {
    "/v1/responses": ResponseRequest,
    "/v1/chat/completions": ChatRequest,
}

#: Field of a job → what it is called in a request, where that is another name.
_THEIR_NAMES: Final = {
    "prompt_cache": "prompt_cache_options.mode",
    "prompt_cache_ttl": "prompt_cache_options.ttl",
}
_EFFORTS: Final = {Api.RESPONSES: "reasoning.effort", Api.CHAT_COMPLETIONS: "reasoning_effort"}


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


def in_their_words(error: InvalidJob, api: Api) -> InvalidJob:
    """Return what is wrong with a job, the field called as the request calls it."""
    field, _, said = error.message.partition(": ")
    theirs = (_EFFORTS[api] if field == "effort" else _THEIR_NAMES.get(field)) if said else None
    return InvalidJob(f"{theirs}: {said}") if theirs else error


def fields_of(request: Common) -> dict[str, Any]:
    """Return the fields of the job that a request asks for.

    Raises:
        InvalidJob: it is no single question about pictures.
    """
    try:
        return request.to_fields()
    except ValueError as error:
        raise InvalidJob(str(error)) from None
