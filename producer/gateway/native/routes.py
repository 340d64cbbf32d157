"""`/v1/jobs`, and events of batches."""

from __future__ import annotations

import re
import uuid
from typing import TYPE_CHECKING, Annotated, Any, Final

from fastapi import APIRouter, Header, Path, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

from producer.gateway.batches.record import DONE
from producer.gateway.batches.routes import BatchId, batch_object, find_batch
from producer.gateway.faults import Fault
from producer.gateway.job_service import cancel, hand_in, look, wait_and_look, wait_for
from producer.gateway.native.events import EVENTS, Look, stream
from producer.gateway.native.listing import list_jobs
from producer.gateway.native.submission import drafted, job_schemas
from producer.gateway.openai.chat import fault_in
from producer.gateway.requests import ERRORS, PROBLEMS, Caller, IdempotencyKey, Open, WhenParked
from producer.openai_requests.refusals import Part
from visionq.contract import JobView, ResultDocument, State

if TYPE_CHECKING:
    from producer.gateway.bodies import Room
    from producer.gateway.job_service import Standing
    from visionq.sdk.drafts import Draft

router = APIRouter(prefix="/v1/jobs", responses=PROBLEMS)
batch_router = APIRouter(prefix="/v1/batches", responses=ERRORS)

JobIdInPath = Annotated[str, Path(min_length=1, max_length=128, examples=["job_0123abcd"])]
Prefer = Annotated[
    str | None,
    Header(max_length=200, description="`wait=N`: answer when the job has ended, or in N seconds"),
]
_WAIT: Final = re.compile(r"(?:^|[,;\s])wait=(\d{1,6})(?:$|[,;\s])")
_RETRY: Final = 1.0


class Urls(BaseModel):
    """Where more is to be had of a job."""

    self: str
    result: str
    events: str
    cancel: str


class NativeJob(JobView):
    """A job as it stands, with its answer when there is one."""

    result: ResultDocument | None
    urls: Urls


class JobList(BaseModel):
    """Jobs of a tenant."""

    jobs: list[JobView]


class Filters(Part):
    """Which jobs to list."""

    state: State | None = None
    limit: Annotated[int, Field(ge=1, le=1000)] = 100


_FORM: Final = {
    "type": "object",
    "description": "Fields of the job as text; those that are objects as JSON",
    "properties": {
        "prompt": {"type": "string"},
        "image": {"type": "array", "items": {"type": "string", "format": "binary"}},
        "url": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["prompt"],
}
_EXAMPLE: Final = {
    "prompt": "What is in this picture?",
    "images": [{"url": "https://example.org/picture.jpg"}],
    "detail": "low",
}
_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": job_schemas()[0], "example": _EXAMPLE},
            "multipart/form-data": {"schema": _FORM},
        },
    }
}


@router.post(
    "",
    status_code=202,
    summary="Submit a job",
    openapi_extra=_BODY,
    responses={200: {"model": NativeJob, "description": "The job has ended while you waited"}},
)
async def create_job(  # noqa: PLR0917  # FastAPI fills them in
    request: Request,
    response: Response,
    services: Open,
    key: Caller,
    idempotency_key: IdempotencyKey = None,
    prefer: Prefer = None,
    when_parked: WhenParked = None,
) -> NativeJob:
    """Submit one question about one or several pictures, as JSON or as a form with files."""
    own = {"tenant": key.tenant, "idempotency_key": idempotency_key}

    async def read(room: Room) -> Draft:
        return await drafted(room, own, services.settings, f"job_{uuid.uuid4().hex}")

    standing = await hand_in(services, request, key.tenant, read)
    seconds = _wait_in(prefer)
    if seconds is not None:
        standing = await wait_and_look(services, standing, seconds, when_parked=when_parked)
        response.headers["preference-applied"] = f"wait={seconds}"
    response.status_code = 200 if standing.view.state.is_terminal else 202
    response.headers["location"] = f"/v1/jobs/{standing.view.id}"
    return _job(standing)


@router.get("", summary="List jobs")
async def get_jobs(services: Open, key: Caller, filters: Annotated[Filters, Query()]) -> JobList:
    """Return jobs of the tenant: those under way first, then those that ended, latest first."""
    found = await services.listings.run(
        key.tenant, list_jobs, services.reading, key.tenant, filters.state, filters.limit
    )
    return JobList(jobs=found)


@router.get("/{job_id}", summary="Look at a job")
async def get_job(
    job_id: JobIdInPath,
    services: Open,
    key: Caller,
    prefer: Prefer = None,
    when_parked: WhenParked = None,
) -> NativeJob:
    """Return the job as it stands."""
    standing = await look(services, key.tenant, job_id)
    seconds = _wait_in(prefer)
    if seconds:
        standing = await wait_and_look(services, standing, seconds, when_parked=when_parked)
    return _job(standing)


@router.get("/{job_id}/result", summary="Fetch the answer")
async def get_result(job_id: JobIdInPath, services: Open, key: Caller) -> ResultDocument:
    """Return the answer, or as a problem why there is none."""
    standing = await look(services, key.tenant, job_id)
    if standing.result is not None:
        return standing.result
    if standing.view.error is not None:
        raise fault_in(standing.view.error, native=True)
    message = f"job {job_id} is {standing.view.state.value}"
    raise Fault(409, "not_finished", message, retry_after=_RETRY)


@router.get(
    "/{job_id}/events",
    summary="Follow a job",
    response_class=StreamingResponse,
    responses=EVENTS,
)
async def follow_job(job_id: JobIdInPath, services: Open, key: Caller) -> StreamingResponse:
    """Tell each change of the job's state, the last of which is its end."""
    await look(services, key.tenant, job_id)

    async def now() -> Look:
        standing = await look(services, key.tenant, job_id)
        return _job(standing), standing.view.state.is_terminal

    async def pause(seconds: float) -> None:
        await wait_for(services, job_id, seconds)

    return stream(now, services.gateway.keep_alive, pause)


@router.post("/{job_id}/cancel", summary="Cancel a job")
async def cancel_job(job_id: JobIdInPath, services: Open, key: Caller) -> NativeJob:
    """Cancel a job; one that has ended stays as it is."""
    return _job(await cancel(services, key.tenant, job_id))


@batch_router.get(
    "/{batch_id}/events",
    summary="Follow a batch",
    response_class=StreamingResponse,
    responses=EVENTS,
)
async def follow_batch(batch_id: BatchId, services: Open, key: Caller) -> StreamingResponse:
    """Tell each change of the batch, the last of which is its end."""
    await find_batch(services, key.tenant, batch_id)

    async def now() -> Look:
        batch = await find_batch(services, key.tenant, batch_id)
        return await batch_object(services, batch), batch.status in DONE

    return stream(now, services.gateway.keep_alive)


def _wait_in(prefer: str | None) -> int | None:
    """Return the seconds that a client would wait (RFC 7240)."""
    found = _WAIT.search(prefer or "")
    return int(found[1]) if found else None


def _job(standing: Standing) -> NativeJob:
    path = f"/v1/jobs/{standing.view.id}"
    return NativeJob(
        **dict(standing.view),
        result=standing.result,
        urls=Urls(
            self=path, result=f"{path}/result", events=f"{path}/events", cancel=f"{path}/cancel"
        ),
    )
