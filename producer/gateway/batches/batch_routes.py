"""`/v1/batches`."""

from __future__ import annotations

import asyncio
import hashlib
import time
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from producer.gateway.batches.batch_input import survey
from producer.gateway.batches.batch_store import DONE, Batch, Endpoint, Status
from producer.gateway.dependencies import CLIENT_NAME, ERRORS, Caller, IdempotencyKey, Open
from producer.gateway.file_routes import find_file
from producer.gateway.http_errors import ApiError
from producer.openai_requests.parts import Metadata
from producer.openai_requests.unsupported import Part
from producer.quote.model_facts import LearnedStatistics, Shutdowns
from visionq.contract import Lane
from visionq.errors import InvalidJob
from visionq.needed_by import moment_needed
from visionq.pricing.vision import load_rules
from visionq.redis_connection import as_queue_unavailable, connect
from visionq.submission import NO_TIME_IN_BATCH

if TYPE_CHECKING:
    from producer.gateway.dependencies import Services

router = APIRouter(prefix="/v1/batches", responses=ERRORS)

BatchId = Annotated[str, Path(max_length=64, examples=["batch_0123abcd"])]
_HOUR: Final = 3600


class BatchExtras(Part):
    """Fields of batches that OpenAI's API does not have: for all lines that do not say so."""

    #: When the answers are needed; left out: at the end of the completion window.
    by: Annotated[str | None, Field(max_length=64, examples=["6h"])] = None
    lane: Lane | None = None


class BatchRequest(Part):
    """A batch of requests, one for each line of a file."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "input_file_id": "file-0123456789abcdef0123456789abcdef",
                    "endpoint": "/v1/responses",
                    "completion_window": "24h",
                }
            ]
        }
    )

    input_file_id: str
    endpoint: Endpoint
    #: Hours, 168 at most; later requests are not sent any more.
    completion_window: Annotated[
        str, Field(pattern=r"^([1-9][0-9]?|1[0-5][0-9]|16[0-8])h$", examples=["24h"])
    ] = "24h"
    metadata: Metadata | None = None
    visionq: BatchExtras | None = None


class RequestCounts(BaseModel):
    """The progress of a batch."""

    total: int
    completed: int
    failed: int


class BatchError(BaseModel):
    """An error of a whole batch."""

    code: str
    message: str
    param: str | None = None
    line: int | None = None


class BatchErrors(BaseModel):
    """Errors of a whole batch."""

    object: Literal["list"] = "list"
    data: list[BatchError]


class BatchObject(BaseModel):
    """A batch in OpenAI's form, without fields that are unknown yet."""

    id: str
    object: Literal["batch"] = "batch"
    endpoint: str
    errors: BatchErrors | None = None
    input_file_id: str
    completion_window: str
    status: Status
    output_file_id: str | None = None
    error_file_id: str | None = None
    created_at: int
    in_progress_at: int | None = None
    expires_at: int
    finalizing_at: int | None = None
    completed_at: int | None = None
    failed_at: int | None = None
    expired_at: int | None = None
    cancelling_at: int | None = None
    cancelled_at: int | None = None
    request_counts: RequestCounts
    metadata: dict[str, str]
    #: Not OpenAI's, and in the answer to its creation alone: models that end, or are not listed.
    warnings: list[str] | None = None


class BatchList(BaseModel):
    """Batches, newest first."""

    object: Literal["list"] = "list"
    data: list[BatchObject]
    first_id: str | None = None
    last_id: str | None = None
    has_more: bool


@router.post("", summary="Submit a batch", response_model_exclude_none=True)
async def create_batch(
    request: BatchRequest, services: Open, key: Caller, idempotency_key: IdempotencyKey = None
) -> BatchObject:
    """Submit every line of an uploaded file as a request of its own."""
    await find_file(services, key.tenant, request.input_file_id)
    hours = int(request.completion_window.removesuffix("h"))
    most = services.gateway.max_batch_lines
    path = services.files.path(key.tenant, request.input_file_id)
    lines, models = await asyncio.to_thread(survey, path, most)
    if not 0 < lines <= most:
        wrong = "has no lines" if lines == 0 else f"has more than {most:,} lines"
        raise ApiError(
            400, "invalid_job", f"input_file_id: the file {wrong}", param="input_file_id"
        )
    now = int(time.time())
    batch = Batch(
        id=_new_id(key.tenant, idempotency_key),
        tenant=key.tenant,
        created_at=now,
        expires_at=now + hours * _HOUR,
        lines=lines,
        **_needed(request.visionq or BatchExtras(), now),
        **request.model_dump(exclude={"metadata", "visionq"}),
        metadata=request.metadata or {},
    )
    if not await services.batches.open(batch):
        known = await find_batch(services, key.tenant, batch.id)
        if (known.input_file_id, known.endpoint) != (batch.input_file_id, batch.endpoint):
            message = f"the idempotency key already names batch {known.id}, of another file"
            raise ApiError(409, "idempotency_conflict", message)
        batch = known
    warnings = await asyncio.to_thread(_warnings, services, key.tenant, models)
    return (await batch_object(services, batch)).model_copy(update={"warnings": warnings or None})


def _needed(extras: BatchExtras, now: int) -> dict[str, Any]:
    """Return the lane of the lines, and when their answers are needed.

    Raises:
        ApiError: there is no such moment, or the lane keeps none.
    """
    lane = extras.lane or Lane.AUTO
    if extras.by is None:
        return {"lane": lane}
    if lane is Lane.BATCH:
        raise ApiError(400, InvalidJob.code, f"visionq.{NO_TIME_IN_BATCH}", param="visionq.by")
    try:
        moment = moment_needed(extras.by, datetime.fromtimestamp(now, UTC))
    except InvalidJob as error:
        raise ApiError(400, error.code, f"visionq.{error.message}", param="visionq.by") from None
    return {"lane": lane, "needed_at": int(moment.timestamp())}


def _warnings(services: Services, tenant: str, models: frozenset[str | None]) -> list[str]:
    """Return a line for each model that ends within three months or is not listed."""
    settings, today = services.settings, datetime.now(UTC).date()
    with connect(services.setup.redis_url, CLIENT_NAME) as redis, as_queue_unavailable():
        endings = Shutdowns(today, today, LearnedStatistics(redis).model_list())
    migrations, default = services.migrations(), settings.default_model
    named = {migrations.model_of(model, tenant, default) for model in models}
    return list(endings.warnings(named, load_rules(settings.vision_file)))


@router.get("", summary="List batches", response_model_exclude_none=True)
async def list_batches(
    services: Open,
    key: Caller,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    after: Annotated[str | None, Query(max_length=64)] = None,
) -> BatchList:
    """Return the tenant's batches."""
    batches, more = await services.batches.page(key.tenant, after, limit)
    shown = [await batch_object(services, batch) for batch in batches]
    return BatchList(
        data=shown,
        first_id=shown[0].id if shown else None,
        last_id=shown[-1].id if shown else None,
        has_more=more,
    )


@router.get("/{batch_id}", summary="Look at a batch", response_model_exclude_none=True)
async def get_batch(batch_id: BatchId, services: Open, key: Caller) -> BatchObject:
    """Return the batch."""
    return await batch_object(services, await find_batch(services, key.tenant, batch_id))


@router.post("/{batch_id}/cancel", summary="Cancel a batch", response_model_exclude_none=True)
async def cancel_batch(batch_id: BatchId, services: Open, key: Caller) -> BatchObject:
    """Cancel unanswered requests; the output file has the others."""
    batch = await find_batch(services, key.tenant, batch_id)
    if batch.status not in DONE and batch.status != "finalizing" and batch.cancelling_at is None:
        batch = await services.batches.note(
            batch, status="cancelling", cancelling_at=int(time.time())
        )
    return await batch_object(services, batch)


async def find_batch(services: Services, tenant: str, batch_id: str) -> Batch:
    """Return a batch of the tenant.

    Raises:
        ApiError: there is no such batch.
    """
    batch = await services.batches.get(batch_id)
    if batch is None or batch.tenant != tenant:
        raise ApiError(404, "not_found", f"there is no batch {batch_id}")
    return batch


async def batch_object(services: Services, batch: Batch) -> BatchObject:
    """Return a batch in OpenAI's form."""
    batch = await services.batches.current(batch)
    counts = await services.batches.counts(batch.id)
    errors = batch.message and BatchErrors(
        data=[BatchError(code="file_not_found", message=batch.message)]
    )
    not_asked = batch.lines - batch.entered if batch.status in {"cancelled", "expired"} else 0
    failed = counts.failed + counts.cancelled + batch.refused + not_asked
    ours = {"tenant", "lines", "lane", "needed_at", "entered", "refused", "message"}
    known: dict[str, Any] = batch.model_dump(exclude=ours)
    return BatchObject(
        **known,
        errors=errors or None,
        request_counts=RequestCounts(total=batch.lines, completed=counts.completed, failed=failed),
    )


def _new_id(tenant: str, idempotency_key: str | None) -> str:
    if idempotency_key is None:
        return f"batch_{uuid.uuid4().hex}"
    digest = hashlib.sha256(f"{tenant}:{idempotency_key}".encode()).hexdigest()
    return f"batch_{digest[:32]}"
