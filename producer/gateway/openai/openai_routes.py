"""Routes by which OpenAI's clients submit and fetch."""

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
from producer.gateway.http_errors import Fault
from producer.gateway.job_service import answered, cancel, hand_in, look
from producer.gateway.openai.completion_objects import ChatCompletion, completion_of, fault_in
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
    from producer.gateway.job_service import Standing
    from producer.gateway.request_bodies import Room
    from visionq.sdk.submitting import Draft

router = APIRouter(responses=ERRORS)

#: An id of a job, which is the id of the response too.
ResponseId = Annotated[str, Path(min_length=1, max_length=128, examples=["resp_0123abcd"])]


class ModelObject(BaseModel):
    """A model that has a price."""

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
    """All models that have a price."""

    object: Literal["list"] = "list"
    data: list[ModelObject]


class Following(BaseModel):
    """How a response is looked at."""

    stream: bool = False
    #: Leave out the events up to this number.
    starting_after: Annotated[int, Field(ge=-1, le=1_000_000)] = -1
    #: Accepted for either value: nothing pads the events of this gateway.
    include_obfuscation: bool = False


#: Failures of a job that a client hears of as such, when it has waited for the answer.
_TOLD_IN_THE_RESPONSE: Final = frozenset({"refused", "incomplete", "cancelled"})


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
    waits for the answer; when the gateway's limit passes first, the response is returned as it
    stands, and goes on. With `stream: true` it is told as events.
    """
    asking = _Asking(ResponseRequest, f"resp_{uuid.uuid4().hex}", services, key, idempotency_key)
    standing = await hand_in(services, request, key.tenant, asking)
    if asking.in_background:
        return follow_response(services, standing) if asking.streams else response_of(standing)
    answer = answered(services, standing, is_ours=idempotency_key is None, when_parked=when_parked)
    if not asking.streams:
        return response_of(_unless_failed(await answer), background=False)
    waiting = services.waits.begin(answer)
    if ended := await ended_soon(waiting):
        _unless_failed(ended)
    return stream_response(services, standing, waiting)


def _unless_failed(standing: Standing) -> Standing:
    """Return how a job stands; raises `Fault` where it has failed."""
    error = standing.view.error
    if error is not None and error.code not in _TOLD_IN_THE_RESPONSE:
        raise fault_in(error)
    return standing


@router.get(
    "/v1/responses/{response_id}",
    summary="Look at a response",
    response_model=ResponseObject,
    responses=STREAMS,
)
async def get_response(
    response_id: ResponseId, services: Open, key: Caller, following: Annotated[Following, Query()]
) -> ResponseObject | StreamingResponse:
    """Return the response as it stands, or with `stream=true` its events until it has ended."""
    standing = await look(services, key.tenant, response_id)
    if following.starting_after >= 0 and not following.stream:
        raise Fault(
            400, "invalid_job", "starting_after: only with stream=true", param="starting_after"
        )
    if following.stream:
        return follow_response(services, standing, following.starting_after)
    return response_of(standing)


@router.post("/v1/responses/{response_id}/cancel", summary="Cancel a response")
async def cancel_response(response_id: ResponseId, services: Open, key: Caller) -> ResponseObject:
    """Cancel the response; one that has ended stays as it is."""
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

    With `stream: true` it is told in chunks.
    """
    asking = _Asking(ChatRequest, f"chatcmpl-{uuid.uuid4().hex}", services, key, idempotency_key)
    standing = await hand_in(services, request, key.tenant, asking)
    answer = answered(services, standing, is_ours=idempotency_key is None, when_parked=when_parked)
    if not asking.streams:
        return completion_of(await answer)
    waiting = services.waits.begin(answer)
    if ended := await ended_soon(waiting):
        completion_of(ended)
    return stream_completion(services, waiting, with_usage=asking.wants_usage)


@router.get("/v1/models", summary="List the models that have a price")
async def list_models(services: Open, _: Caller) -> ModelList:
    """Return the models that have a price."""
    return ModelList(data=[ModelObject.of(name) for name in await _priced(services)])


@router.get("/v1/models/{model:path}", summary="Look at a model")
async def get_model(model: str, services: Open, _: Caller) -> ModelObject:
    """Return one of them."""
    if model not in await _priced(services):
        raise Fault(404, "model_not_found", f"model {model} has no price here", param="model")
    return ModelObject.of(model)


class _Asking:
    """Makes a job of a request in one of OpenAI's forms."""

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
        self._settings = services.settings
        self._own = {"tenant": key.tenant, "idempotency_key": idempotency_key}

    async def __call__(self, room: Room) -> Draft:
        """Return the job.

        Raises:
            VisionqError: as `visionq.sdk.submitting.draft` does.
            Fault: it has not the form, or wants to be forgotten, while answers are kept for as
                long as the operator says.
        """
        if content_type(room.request) != "application/json":
            raise Fault(415, "unsupported_format", "send application/json")
        return await room.work(self._draft_of, await room.body())

    def _draft_of(self, raw: bytes) -> Draft:
        request = read_form(raw, self._form)
        if request.store is False:
            said = "store: false is not supported here: answers are kept to be fetched again"
            raise Fault(400, "invalid_job", said, param="store")
        self.in_background = isinstance(request, ResponseRequest) and bool(request.background)
        self.streams, options = bool(request.stream), request.stream_options
        self.wants_usage = isinstance(options, ChatStreamOptions) and bool(options.include_usage)
        try:
            return draft({**fields_of(request), **self._own}, self._settings, self._job_id)
        except InvalidJob as error:
            raise in_their_words(error, request.api) from None


async def _priced(services: Services) -> list[str]:
    table = await asyncio.to_thread(load_prices, services.settings.prices_file)
    return [price.model for price in table.prices]
