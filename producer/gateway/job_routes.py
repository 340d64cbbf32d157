"""`/v1/jobs`: jobs as JSON or as a form with pictures, and their events."""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from typing import TYPE_CHECKING, Annotated, Any, Final

from fastapi import APIRouter, Header, Path, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field
from starlette.datastructures import UploadFile

from producer.gateway.batches.batch_routes import BatchId, batch_object, find_batch
from producer.gateway.batches.batch_store import DONE
from producer.gateway.dependencies import (
    ERRORS,
    PROBLEMS,
    Caller,
    IdempotencyKey,
    Open,
    WhenParked,
    content_type,
    event_stream,
)
from producer.gateway.http_errors import ApiError
from producer.gateway.job_service import (
    cancel,
    list_jobs,
    look,
    submit_job,
    wait_and_read,
    wait_for,
)
from producer.gateway.openai.completion_objects import job_error
from producer.gateway.request_bodies import parse_json
from producer.openai_requests.unsupported import Part
from visionq.contract import JobDocument, JobView, ResultDocument, State
from visionq.errors import InvalidJob
from visionq.sdk.submitting import draft, most_bytes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from starlette.datastructures import FormData

    from producer.gateway.dependencies import Services
    from producer.gateway.job_service import JobRecord
    from producer.gateway.request_bodies import BodyMemory
    from visionq.sdk.submitting import Draft

#: Fields that clients can't set → the reason.
_RESERVED: Final = {
    "tenant": "follows from the key",
    "batch_id": "is set by /v1/batches",
    "replay_of": "is set by `visionq jobs replay`",
    "schema_version": "is set by the gateway",
    "answer_format": "belongs to OpenAI's API; give `answer_schema`",
    "idempotency_key": "is given as the header Idempotency-Key",
}
#: Parts of a form with pictures, and with addresses of pictures; both may be repeated.
_PICTURE: Final = "image"
_ADDRESS: Final = "url"
#: Fields that a form gives as JSON.
_JSON_FIELDS: Final = frozenset(
    {"answer_schema", "cascade", "extra_body", "fallback", "metadata", "pictures"}
)
_MOST_PICTURES: Final = 500


def job_schemas() -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the JSON Schema of a client's fields, and of everything that it refers to."""
    schema = JobDocument.model_json_schema(ref_template="#/components/schemas/{model}")
    definitions: dict[str, Any] = schema.pop("$defs")
    for name in _RESERVED:
        schema["properties"].pop(name, None)
    definitions["ImageReference"]["properties"].pop("blob")
    schema["properties"]["images"]["items"]["required"] = ["url"]
    return schema, definitions


async def drafted(
    room: BodyMemory, own: Mapping[str, Any], services: Services, job_id: str
) -> Draft:
    """Return the job in a request; `own` are the fields that the gateway sets.

    Raises:
        VisionqError: as `visionq.sdk.submitting.draft`.
        ApiError: it is neither JSON nor a form, or sets a reserved field.
    """
    kind = content_type(room.request)
    if kind == "application/json":
        raw = await room.body()
        return await room.work(_draft_of_json, raw, own, services, job_id)
    if kind != "multipart/form-data":
        raise ApiError(415, "unsupported_format", "send application/json or multipart/form-data")
    form = await room.read(room.request.form(max_files=_MOST_PICTURES, max_fields=100))
    try:
        fields = await _from_form(form, most_bytes({}, services.settings))
    finally:
        await form.close()
    _check_owner(fields)
    return await room.work(_draft_of, {**fields, **own}, services, job_id)


def _draft_of_json(raw: bytes, own: Mapping[str, Any], services: Services, job_id: str) -> Draft:
    return _draft_of({**_from_json(raw), **own}, services, job_id)


def _draft_of(fields: Mapping[str, Any], services: Services, job_id: str) -> Draft:
    return draft(fields, services.settings, job_id, services.migrations())


def check_fields(fields: dict[str, Any]) -> None:
    """Refuse reserved fields, and pictures without an address.

    Raises:
        ApiError: there is such a field; the error names it.
    """
    _check_owner(fields)
    images = fields.get("images")
    for position, image in enumerate(images if isinstance(images, list) else ()):
        # A hash would give access to pictures of other tenants.
        if isinstance(image, dict) and image.get("blob") is not None:
            raise _wrong(f"images.{position}.blob", "give an address, or the picture as data:…")
        if not isinstance(image, dict):
            raise _wrong(f"images.{position}", 'give an object with "url"')


def _check_owner(fields: dict[str, Any]) -> None:
    for name in _RESERVED.keys() & fields.keys():
        raise _wrong(name, _RESERVED[name])


def _wrong(field: str, what: str) -> ApiError:
    return ApiError(422, InvalidJob.code, f"{field}: {what}", param=field)


def _from_json(raw: bytes) -> dict[str, Any]:
    try:
        fields = parse_json(raw)
    except ValueError as error:
        raise _wrong("body", f"is not JSON: {error}") from None
    if not isinstance(fields, dict):
        raise _wrong("body", "is not a JSON object")
    check_fields(fields)
    return fields


async def _from_form(form: FormData, most: int) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    images: list[Any] = []
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            if name != _PICTURE:
                raise _wrong(name, f"pictures are given as `{_PICTURE}`")
            content = await value.read(most + 1)
            images.append((value.filename or _PICTURE, content))
        elif name == _PICTURE:
            raise _wrong(name, f"give a file; addresses are given as `{_ADDRESS}`")
        elif name == _ADDRESS:
            images.append({"url": value})
        elif name in fields or name == "images":
            raise _wrong(name, "is given twice" if name in fields else f"give `{_PICTURE}`")
        else:
            fields[name] = _parsed(name, value) if name in _JSON_FIELDS else value
    return {**fields, "images": images}


def _parsed(name: str, text: str) -> Any:  # noqa: ANN401  # any JSON value
    try:
        return parse_json(text.encode())
    except ValueError as error:
        raise _wrong(name, f"is not JSON: {error}") from None


_LOOK_EVERY: Final = 0.5

EVENTS: Final = event_stream(
    "Events `state`, whose data is the document at that time",
    {"id": {"type": "string"}, "event": {"const": "state"}},
    ["id", "event", "data"],
)

#: A document, and whether it is the last.
Look = tuple["BaseModel", bool]


def stream(
    look: Callable[[], Awaitable[Look]],
    keep_alive: float,
    pause: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> StreamingResponse:
    """Return a response that sends each change of a document until the last.

    Args:
        look: returns the document, and whether it is the last.
        keep_alive: seconds between comments, so that no proxy closes the stream.
        pause: waits for the seconds, or until there may be something new.
    """
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    events = _changes(look, keep_alive, pause)
    return StreamingResponse(events, media_type="text/event-stream", headers=headers)


async def _changes(
    look: Callable[[], Awaitable[Look]],
    keep_alive: float,
    pause: Callable[[float], Awaitable[object]],
) -> AsyncIterator[str]:
    before, spoken, number = "", time.monotonic(), 0
    while True:
        document, is_last = await look()
        text = document.model_dump_json()
        if text != before:
            number += 1
            yield f"id: {number}\nevent: state\ndata: {text}\n\n"
            before, spoken = text, time.monotonic()
        elif time.monotonic() - spoken > keep_alive:
            yield ": alive\n\n"
            spoken = time.monotonic()
        if is_last:
            return
        await pause(min(_LOOK_EVERY, keep_alive))


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
    """The addresses of a job."""

    self: str
    result: str
    events: str
    cancel: str


class NativeJob(JobView):
    """A job, with its answer when there is one."""

    result: ResultDocument | None
    urls: Urls


class JobList(BaseModel):
    """Jobs of a tenant."""

    jobs: list[JobView]


class JobQuery(Part):
    """The jobs to list."""

    state: State | None = None
    limit: Annotated[int, Field(ge=1, le=1000)] = 100


_FORM: Final = {
    "type": "object",
    "description": "Fields of the job as text, objects as JSON",
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
    """Submit a question about pictures, as JSON or as a form with files."""
    own = {"tenant": key.tenant, "idempotency_key": idempotency_key}

    async def read(room: BodyMemory) -> Draft:
        return await drafted(room, own, services, f"job_{uuid.uuid4().hex}")

    job = await submit_job(services, request, key.tenant, read)
    seconds = _wait_in(prefer)
    if seconds is not None:
        job = await wait_and_read(services, job, seconds, when_parked=when_parked)
        response.headers["preference-applied"] = f"wait={seconds}"
    response.status_code = 200 if job.view.state.is_terminal else 202
    response.headers["location"] = f"/v1/jobs/{job.view.id}"
    return _job(job)


@router.get("", summary="List jobs")
async def get_jobs(services: Open, key: Caller, filters: Annotated[JobQuery, Query()]) -> JobList:
    """Return jobs of the tenant: unfinished ones first, then finished ones, latest first."""
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
    """Return the job."""
    job = await look(services, key.tenant, job_id)
    seconds = _wait_in(prefer)
    if seconds:
        job = await wait_and_read(services, job, seconds, when_parked=when_parked)
    return _job(job)


@router.get("/{job_id}/result", summary="Fetch the answer")
async def get_result(job_id: JobIdInPath, services: Open, key: Caller) -> ResultDocument:
    """Return the answer, or a problem that says why there is none."""
    job = await look(services, key.tenant, job_id)
    if job.result is not None:
        return job.result
    if job.view.error is not None:
        raise job_error(job.view.error, native=True)
    message = f"job {job_id} is {job.view.state.value}"
    raise ApiError(409, "not_finished", message, retry_after=_RETRY)


@router.get(
    "/{job_id}/events",
    summary="Follow a job",
    response_class=StreamingResponse,
    responses=EVENTS,
)
async def follow_job(job_id: JobIdInPath, services: Open, key: Caller) -> StreamingResponse:
    """Send each change of the job's state, until its end."""
    await look(services, key.tenant, job_id)

    async def now() -> Look:
        job = await look(services, key.tenant, job_id)
        return _job(job), job.view.state.is_terminal

    async def pause(seconds: float) -> None:
        await wait_for(services, job_id, seconds)

    return stream(now, services.gateway.keep_alive, pause)


@router.post("/{job_id}/cancel", summary="Cancel a job")
async def cancel_job(job_id: JobIdInPath, services: Open, key: Caller) -> NativeJob:
    """Cancel a job; one that has ended does not change."""
    return _job(await cancel(services, key.tenant, job_id))


@batch_router.get(
    "/{batch_id}/events",
    summary="Follow a batch",
    response_class=StreamingResponse,
    responses=EVENTS,
)
async def follow_batch(batch_id: BatchId, services: Open, key: Caller) -> StreamingResponse:
    """Send each change of the batch, until its end."""
    await find_batch(services, key.tenant, batch_id)

    async def now() -> Look:
        batch = await find_batch(services, key.tenant, batch_id)
        return await batch_object(services, batch), batch.status in DONE

    return stream(now, services.gateway.keep_alive)


def _wait_in(prefer: str | None) -> int | None:
    """Return the seconds that a client will wait (RFC 7240)."""
    found = _WAIT.search(prefer or "")
    return int(found[1]) if found else None


def _job(job: JobRecord) -> NativeJob:
    path = f"/v1/jobs/{job.view.id}"
    return NativeJob(
        **dict(job.view),
        result=job.result,
        urls=Urls(
            self=path, result=f"{path}/result", events=f"{path}/events", cancel=f"{path}/cancel"
        ),
    )
