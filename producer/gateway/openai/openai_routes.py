"""Routes of OpenAI's API for responses, completions and models."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING, Annotated, Final, Literal

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, Field

from producer.gateway.dependencies import (
    ERRORS,
    Caller,
    IdempotencyKey,
    Open,
    WhenParked,
    content_type,
)
from producer.gateway.http_errors import ApiError
from producer.gateway.job_service import answered, cancel, look, submit_job
from producer.gateway.openai.completion_objects import ChatCompletion, completion_of, job_error
from producer.gateway.openai.response_objects import ResponseObject, response_of
from producer.gateway.openai.streams import (
    STREAMS,
    ended_soon,
    follow_response,
    stream_completion,
    stream_response,
)
from producer.gateway.request_bodies import json_body, read_form
from producer.openai_requests.chat import ChatRequest, ChatStreamOptions
from producer.openai_requests.request_reader import fields_of, in_their_words
from producer.openai_requests.responses import ResponseRequest
from visionq.data import vendor_of
from visionq.errors import InvalidJob
from visionq.pricing.prices import load_prices
from visionq.sdk.submitting import draft

if TYPE_CHECKING:
    from fastapi.responses import StreamingResponse

    from producer.gateway.access import Key
    from producer.gateway.dependencies import Services
    from producer.gateway.job_service import JobRecord
    from producer.gateway.request_bodies import BodyMemory
    from visionq.sdk.submitting import Draft

router = APIRouter(responses=ERRORS)

#: The id of a job, which is the id of its response.
ResponseId = Annotated[str, Path(min_length=1, max_length=128, examples=["resp_0123abcd"])]


class ModelObject(BaseModel):
    """A model with a price."""

    id: str
    object: Literal["model"] = "model"
    created: int = 0
    owned_by: str = "openai"

    @classmethod
    def of(cls, name: str) -> ModelObject:
        """Return the model of a name; one without a vendor's prefix is OpenAI's."""
        vendor = vendor_of(name)
        return cls(id=name, owned_by=vendor.rstrip("/")) if vendor else cls(id=name)


class ModelList(BaseModel):
    """All models with a price."""

    object: Literal["list"] = "list"
    data: list[ModelObject]


class ResponseQuery(BaseModel):
    """Options for reading a response."""

    stream: bool = False
    #: Number of the last event that the client has.
    starting_after: Annotated[int, Field(ge=-1, le=1_000_000)] = -1
    #: Accepted and ignored: this gateway does not pad events.
    include_obfuscation: bool = False


#: Failures that the response itself reports; others become HTTP errors.
_IN_THE_RESPONSE: Final = frozenset({"refused", "incomplete", "cancelled"})


@router.post(
    "/v1/responses",
    summary="Ask about pictures",
    openapi_extra=json_body(ResponseRequest),
    response_model=ResponseObject,
    responses=STREAMS,
)
async def create_response(
    request: Request,
    services: Open,
    key: Caller,
    idempotency_key: IdempotencyKey = None,
    when_parked: WhenParked = None,
) -> ResponseObject | StreamingResponse:
    """Submit one question about one or several pictures.

    With `background: true` the response is `queued` and is returned at once. Otherwise the call
    waits for the answer; if the gateway's limit passes first, the unfinished response is returned,
    and goes on. With `stream: true` the response is sent as events.
    """
    reader = _RequestReader(
        ResponseRequest, f"resp_{uuid.uuid4().hex}", services, key, idempotency_key
    )
    job = await submit_job(services, request, key.tenant, reader)
    if reader.in_background:
        return follow_response(services, job) if reader.streams else response_of(job)
    answer = answered(services, job, is_ours=idempotency_key is None, when_parked=when_parked)
    if not reader.streams:
        return response_of(_raise_if_failed(await answer), background=False)
    waiting = services.waits.begin(answer)
    if ended := await ended_soon(waiting):
        _raise_if_failed(ended)
    return stream_response(services, job, waiting)


def _raise_if_failed(job: JobRecord) -> JobRecord:
    """Return the job, or raise `ApiError` if it has failed."""
    error = job.view.error
    if error is not None and error.code not in _IN_THE_RESPONSE:
        raise job_error(error)
    return job


@router.get(
    "/v1/responses/{response_id}",
    summary="Look at a response",
    response_model=ResponseObject,
    responses=STREAMS,
)
async def get_response(
    response_id: ResponseId, services: Open, key: Caller, query: Annotated[ResponseQuery, Query()]
) -> ResponseObject | StreamingResponse:
    """Return the response, or with `stream=true` its events until it has ended."""
    job = await look(services, key.tenant, response_id)
    if query.starting_after >= 0 and not query.stream:
        raise ApiError(
            400, "invalid_job", "starting_after: only with stream=true", param="starting_after"
        )
    if query.stream:
        return follow_response(services, job, query.starting_after)
    return response_of(job)


@router.post("/v1/responses/{response_id}/cancel", summary="Cancel a response")
async def cancel_response(response_id: ResponseId, services: Open, key: Caller) -> ResponseObject:
    """Cancel the response; one that has ended does not change."""
    return response_of(await cancel(services, key.tenant, response_id))


@router.post(
    "/v1/chat/completions",
    summary="Ask about pictures and wait",
    openapi_extra=json_body(ChatRequest),
    response_model=ChatCompletion,
    responses=STREAMS,
)
async def create_completion(
    request: Request,
    services: Open,
    key: Caller,
    idempotency_key: IdempotencyKey = None,
    when_parked: WhenParked = None,
) -> ChatCompletion | StreamingResponse:
    """Submit one question about one or several pictures, and wait for the answer.

    With `stream: true` the completion is sent in chunks.
    """
    reader = _RequestReader(
        ChatRequest, f"chatcmpl-{uuid.uuid4().hex}", services, key, idempotency_key
    )
    job = await submit_job(services, request, key.tenant, reader)
    answer = answered(services, job, is_ours=idempotency_key is None, when_parked=when_parked)
    if not reader.streams:
        return completion_of(await answer)
    waiting = services.waits.begin(answer)
    if ended := await ended_soon(waiting):
        completion_of(ended)
    return stream_completion(services, waiting, with_usage=reader.wants_usage)


@router.get("/v1/models", summary="List the models with a price")
async def list_models(services: Open, _: Caller) -> ModelList:
    """Return the models with a price."""
    return ModelList(data=[ModelObject.of(name) for name in await _priced(services)])


@router.get("/v1/models/{model:path}", summary="Look at a model")
async def get_model(model: str, services: Open, _: Caller) -> ModelObject:
    """Return one model."""
    if model not in await _priced(services):
        raise ApiError(404, "model_not_found", f"model {model} has no price here", param="model")
    return ModelObject.of(model)


class _RequestReader:
    """Turns a request in one of OpenAI's forms into a job."""

    def __init__(
        self,
        form: type[ResponseRequest | ChatRequest],
        job_id: str,
        services: Services,
        key: Key,
        idempotency_key: str | None,
    ) -> None:
        self.in_background = self.streams = self.wants_usage = False
        self._form = form
        self._job_id = job_id
        self._services = services
        self._own = {"tenant": key.tenant, "idempotency_key": idempotency_key}

    async def __call__(self, room: BodyMemory) -> Draft:
        """Return the job.

        Raises:
            VisionqError: as `visionq.sdk.submitting.draft`.
            ApiError: it is malformed, or forbids storing the answer, which the operator decides.
        """
        if content_type(room.request) != "application/json":
            raise ApiError(415, "unsupported_format", "send application/json")
        return await room.work(self._draft_of, await room.body())

    def _draft_of(self, raw: bytes) -> Draft:
        request = read_form(raw, self._form)
        if request.store is False:
            said = "store: false is not supported here: answers are kept to be fetched again"
            raise ApiError(400, "invalid_job", said, param="store")
        self.in_background = isinstance(request, ResponseRequest) and bool(request.background)
        self.streams, options = bool(request.stream), request.stream_options
        self.wants_usage = isinstance(options, ChatStreamOptions) and bool(options.include_usage)
        try:
            fields, services = {**fields_of(request), **self._own}, self._services
            return draft(fields, services.settings, self._job_id, services.migrations())
        except InvalidJob as error:
            raise in_their_words(error, request.api) from None


async def _priced(services: Services) -> list[str]:
    table = await asyncio.to_thread(load_prices, services.settings.prices_file)
    return [price.model for price in table.prices]
