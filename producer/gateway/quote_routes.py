"""`/v1/quotes` and `/v1/responses/input_tokens`: price and tokens before anything is sent."""

from __future__ import annotations

from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, model_validator

from producer.gateway.batches.batch_input import fields_in, read_lines
from producer.gateway.batches.batch_store import Endpoint
from producer.gateway.dependencies import CLIENT_NAME, ERRORS, PROBLEMS, Caller, Open, content_type
from producer.gateway.file_routes import find_file
from producer.gateway.http_errors import ApiError
from producer.gateway.job_routes import check_fields
from producer.gateway.request_bodies import json_body, read_form
from producer.openai_requests.request_reader import fields_of, in_their_words
from producer.openai_requests.responses import ResponseRequest
from producer.openai_requests.unsupported import NotSupported, Part
from producer.quote.census import QuotePlan, take_census
from producer.quote.document import Quote  # noqa: TC001  # FastAPI reads the annotation
from producer.quote.making import make_quote
from producer.quote.model_facts import LearnedStatistics
from producer.sources import BadRow, Row
from visionq.errors import BY_CODE, InvalidJob
from visionq.ledger.usage import kind_of
from visionq.pricing.prices import load_prices
from visionq.pricing.vision import load_rules
from visionq.redis_connection import connect
from visionq.sdk.images import is_url

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from producer.gateway.dependencies import Services

quotes_router = APIRouter(prefix="/v1/quotes", responses=PROBLEMS)

_JOB: Final[dict[str, Any]] = {
    "prompt": "What is in it?",
    "images": [{"url": "https://example.org/picture.jpg"}],
}


class QuoteRequest(Part):
    """Jobs to quote: the lines of an uploaded file, or jobs as `/v1/jobs` takes them."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"jobs": [_JOB]}]})

    input_file_id: Annotated[str, Field(max_length=64)] | None = None
    endpoint: Endpoint = "/v1/responses"
    jobs: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=1000)] | None = None

    @model_validator(mode="after")
    def _one_of_them(self) -> QuoteRequest:
        if (self.input_file_id is None) == (self.jobs is None):
            raise ValueError("give either input_file_id or jobs")
        return self


@quotes_router.post("", summary="Ask what jobs would cost", openapi_extra=json_body(QuoteRequest))
async def create_quote(request: Request, services: Open, key: Caller) -> Quote:
    """Return tokens and rubles, low, expected and high, also for other models; free."""
    if content_type(request) != "application/json":
        raise ApiError(415, "unsupported_format", "send application/json")
    async with services.bodies.room(request, key.tenant) as room:
        raw = await room.body()
        asked = await room.work(read_form, raw, QuoteRequest, HTTPStatus.UNPROCESSABLE_ENTITY)
        del raw
        return await services.quotes.run(
            key.tenant, _quote, services, key.tenant, await _rows(services, key.tenant, asked)
        )


async def _rows(services: Services, tenant: str, request: QuoteRequest) -> Iterable[Row | BadRow]:
    if request.input_file_id is not None:
        await find_file(services, tenant, request.input_file_id)
        path = services.files.path(tenant, request.input_file_id)
        return _rows_of(path, request.endpoint)
    return [_row(number, fields) for number, fields in enumerate(request.jobs or (), 1)]


def _quote(services: Services, tenant: str, rows: Iterable[Row | BadRow]) -> Quote:
    settings = services.settings
    with connect(services.setup.redis_url, CLIENT_NAME) as redis:
        statistics = LearnedStatistics(redis)
        plan = QuotePlan(
            settings=settings,
            rules=load_rules(settings.vision_file),
            options={"tenant": tenant},
            stored=statistics.stored,
            migrations=services.migrations(),
        )
        prices = load_prices(settings.prices_file)
        return make_quote(rows, plan, prices, statistics, now=datetime.now(UTC))


def _rows_of(path: Path, endpoint: str) -> Iterator[Row | BadRow]:
    for line in read_lines(path):
        name = line.custom_id or str(line.number)
        try:
            fields = fields_in(line, endpoint)
        except ApiError as fault:
            yield BadRow(line.number, name, fault.code, fault.message)
        else:
            yield row_of(line.number, name, fields)


def _row(number: int, fields: dict[str, Any]) -> Row | BadRow:
    try:
        check_fields(fields)
    except ApiError as fault:
        return BadRow(number, str(number), fault.code, fault.message)
    return row_of(number, str(number), fields)


def row_of(number: int, name: str, fields: dict[str, Any]) -> Row | BadRow:
    """Return the row of a source for the fields of a job."""
    images = fields.get("images")
    given = images if isinstance(images, list) else []
    urls = [str(image.get("url")) for image in given]
    if not urls or not all(map(is_url, urls)):
        # Other names in a row would be files of this machine.
        return BadRow(number, name, "invalid_job", "images: give http(s):// or data: addresses")
    rest = {field: value for field, value in fields.items() if field != "images"}
    return Row(number, name, tuple(urls), overrides=rest)


counting_router = APIRouter(responses=ERRORS)


class CountRequest(ResponseRequest):
    """A question to count: the fields of a response."""

    personality: Annotated[
        None, NotSupported("personalities are not supported: say it in the instructions")
    ] = None


class CountedTokens(BaseModel):
    """The tokens of a question's input."""

    object: Literal["response.input_tokens"] = "response.input_tokens"
    input_tokens: int


@counting_router.post(
    "/v1/responses/input_tokens",
    summary="Count the tokens of a question",
    openapi_extra=json_body(CountRequest),
)
async def count_tokens(request: Request, services: Open, key: Caller) -> CountedTokens:
    """Return the forecast tokens of the input; free.

    A picture given by its address is not fetched, and counts as the largest.
    """
    if content_type(request) != "application/json":
        raise ApiError(415, "unsupported_format", "send application/json")
    async with services.bodies.room(request, key.tenant) as room:
        asked = await room.work(read_form, await room.body(), CountRequest)
        count = await services.quotes.run(key.tenant, _count, services, key.tenant, asked)
    return CountedTokens(input_tokens=count)


def _count(services: Services, tenant: str, asked: CountRequest) -> int:
    settings = services.settings
    plan = QuotePlan(
        settings,
        load_rules(settings.vision_file),
        options={"tenant": tenant},
        migrations=services.migrations(),
    )
    census = take_census([row_of(1, "input", fields_of(asked))], plan)
    for refusal in census.examples:
        error = BY_CODE[refusal.code](refusal.message)
        raise in_their_words(error, asked.api) if isinstance(error, InvalidJob) else error
    ((kind, group),) = census.groups.items()
    services.models.check(kind[0])
    with connect(services.setup.redis_url, CLIENT_NAME) as redis:
        known = LearnedStatistics(redis).calibrations([kind_of(*kind)])[kind_of(*kind)]
    if known is None:
        return group.pictures + group.texts
    return round(known.input_tokens(group.pictures, group.texts))
