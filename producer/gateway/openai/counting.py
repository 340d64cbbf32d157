"""`/v1/responses/input_tokens`: what a question will count, by the forecast of the quotes; free."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel

from producer.gateway.bodies import json_body, read_form
from producer.gateway.faults import Fault
from producer.gateway.native.quotes import row_of
from producer.gateway.requests import ERRORS, Caller, Open, content_type
from producer.gateway.services import CLIENT_NAME
from producer.openai_requests.reading import fields_of, in_their_words
from producer.openai_requests.refusals import NotSupported
from producer.openai_requests.responses import ResponseRequest
from producer.quote.census import QuotePlan, take_census
from producer.quote.learned_statistics import Knowledge
from visionq.errors import BY_CODE, InvalidJob
from visionq.ledger.usage import kind_of
from visionq.pricing.vision import load_rules
from visionq.redis_connection import connect

if TYPE_CHECKING:
    from producer.gateway.services import Services

router = APIRouter(responses=ERRORS)


class CountRequest(ResponseRequest):
    """A question whose tokens are to be counted: the fields of a response."""

    personality: Annotated[
        None, NotSupported("personalities are not supported: say it in the instructions")
    ] = None


class CountedTokens(BaseModel):
    """The tokens of a question's input."""

    object: Literal["response.input_tokens"] = "response.input_tokens"
    input_tokens: int


@router.post(
    "/v1/responses/input_tokens",
    summary="Count the tokens of a question",
    openapi_extra=json_body(CountRequest),
)
async def count_tokens(request: Request, services: Open, key: Caller) -> CountedTokens:
    """Return the tokens of the input as they are forecast; free.

    A picture that is given by its address is not fetched, and counts as the largest.
    """
    if content_type(request) != "application/json":
        raise Fault(415, "unsupported_format", "send application/json")
    async with services.bodies.room(request, key.tenant) as room:
        asked = await room.work(read_form, await room.body(), CountRequest)
        count = await services.quotes.run(key.tenant, _count, services, key.tenant, asked)
    return CountedTokens(input_tokens=count)


def _count(services: Services, tenant: str, asked: CountRequest) -> int:
    settings = services.settings
    plan = QuotePlan(settings, load_rules(settings.vision_file), options={"tenant": tenant})
    census = take_census([row_of(1, "input", fields_of(asked))], plan)
    for refusal in census.examples:
        error = BY_CODE[refusal.code](refusal.message)
        raise in_their_words(error, asked.api) if isinstance(error, InvalidJob) else error
    ((kind, group),) = census.groups.items()
    services.models.check(kind[0])
    with connect(services.setup.redis_url, CLIENT_NAME) as redis:
        known = Knowledge(redis).calibrations([kind_of(*kind)])[kind_of(*kind)]
    if known is None:
        return group.pictures + group.texts
    return round(known.input_tokens(group.pictures, group.texts))
