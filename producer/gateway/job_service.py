"""The jobs of a tenant: submit, look up, list, wait, cancel."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any, Final

from producer.gateway.admission import needs_operator, refusal
from producer.gateway.http_errors import ApiError
from visionq.contract import TERMINAL, JobDocument, JobView, ResultDocument, State
from visionq.errors import BillingUnknown
from visionq.ledger.provider_batches import BATCH_FIELDS, batch_view
from visionq.ledger.scripts import MOST_PER_SCRIPT
from visionq.ledger.views import (
    ask_for_view,
    batches_of,
    read_view,
    states_of,
    stored_views,
    with_batch,
)
from visionq.names import CELERY_RESULT, JOB, PROVIDER_BATCH, TENANT_FINISHED, TENANT_JOBS
from visionq.sans_io import run_async
from visionq.sdk.results import answer_in, not_found
from visionq.sdk.submitting import accepted, submit_drafts

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from fastapi import Request
    from redis import Redis

    from producer.gateway.dependencies import Services
    from producer.gateway.request_bodies import BodyMemory
    from visionq.sdk.submitting import Draft

#: Entries of each list that are searched for jobs in one state.
MOST_LOOKED_AT: Final = 5_000


def list_jobs(redis: Redis, tenant: str, state: State | None, limit: int) -> list[JobView]:
    """Return jobs of the tenant: unfinished ones, then finished ones, newest first."""
    found: list[JobView] = []
    at_once = min(limit, MOST_PER_SCRIPT) if state is None else MOST_PER_SCRIPT
    for ids in _candidates(redis, tenant, state, at_once):
        wanted = ids if state is None else _in_state(redis, ids, state)
        # Another tenant may have used the id again after the job was forgotten.
        own = (view for view in stored_views(redis, wanted) if view and view.tenant == tenant)
        found += [view for view in own if state in {None, view.state}]
        if len(found) >= limit:
            break
    return found[:limit]


def _candidates(redis: Redis, tenant: str, state: State | None, size: int) -> Iterator[list[str]]:
    if state is None or state not in TERMINAL:
        yield from _pieces(redis, TENANT_JOBS + tenant, size, newest_first=False)
    if state is None or state in TERMINAL:
        yield from _pieces(redis, TENANT_FINISHED + tenant, size, newest_first=True)


def _pieces(redis: Redis, name: str, size: int, *, newest_first: bool) -> Iterator[list[str]]:
    for first in range(0, MOST_LOOKED_AT, size):
        ids: Any = redis.zrange(name, first, first + size - 1, desc=newest_first)
        if not ids:
            return
        yield [one.decode() for one in ids]


def _in_state(redis: Redis, job_ids: list[str], state: State) -> list[str]:
    pairs = zip(job_ids, states_of(redis, job_ids), strict=True)
    return [job_id for job_id, its_state in pairs if its_state is state]


#: Seconds between looks whether a job is parked while a call waits for it.
_FIRST_LOOKS = (0.1, 0.2, 0.4, 0.8, 1.6)
_LOOK_EVERY = 3.0
#: Seconds after which a tenant with too many jobs may try again.
_RETRY_AFTER = 10.0


@dataclass(frozen=True)
class JobRecord:
    """The state of a job, its document, and its answer if it has one."""

    view: JobView
    document: JobDocument
    result: ResultDocument | None


async def submit_job(
    services: Services,
    request: Request,
    tenant: str,
    read: Callable[[BodyMemory], Awaitable[Draft]],
) -> JobRecord:
    """Submit a job of the tenant; return it, queued or as known before.

    `read` makes the job from the request's body. Memory for the body is released before anybody
    waits for the job.

    Raises:
        VisionqError: as `visionq.sdk.AsyncClient.submit`.
        ApiError: too many of the tenant's jobs have not ended, or the model is unknown.
    """
    await check_backlog(services, tenant)
    async with services.bodies.room(request, tenant) as room:
        one = await read(room)
        await asyncio.to_thread(services.models.check, one.job.document.model or "")
        return await _submitted(services, tenant, one)


async def _submitted(services: Services, tenant: str, one: Draft) -> JobRecord:
    (reply,) = await run_async(submit_drafts([one], services.blobs, services.ledger))
    submitted = accepted(reply)
    if not submitted.created:
        return await look(services, tenant, submitted.id)
    return _queued(submitted.id, one.job.document)


def _queued(job_id: str, document: JobDocument) -> JobRecord:
    """Return a job as it was right after its submission."""
    view = JobView(
        id=job_id,
        state=State.QUEUED,
        tenant=document.tenant,
        model=document.model or "",
        priority=document.priority.value,
        images=len(document.images),
        submitted_at=datetime.now(UTC),
    )
    return JobRecord(view, document, None)


async def check_backlog(services: Services, tenant: str) -> None:
    """Raise `ApiError` if too many jobs of the tenant have not ended."""
    waiting: int = await services.redis.zcard(TENANT_JOBS + tenant)
    if waiting >= services.gateway.max_waiting_jobs:
        raise ApiError(
            429,
            "too_many_jobs",
            f"{waiting:,} jobs of tenant {tenant} have not ended; wait until some have, or cancel"
            " those that are parked",
            retry_after=_RETRY_AFTER,
        )


async def look(services: Services, tenant: str, job_id: str) -> JobRecord:
    """Return a job of the tenant; raise `JobNotFound`, also for jobs of others."""
    job = (await read_jobs(services, [job_id]))[0]
    if job is None or job.view.tenant != tenant:
        raise not_found(job_id)
    return job


async def read_jobs(services: Services, job_ids: Sequence[str]) -> list[JobRecord | None]:
    """Return jobs of any tenant, in one round trip."""
    async with services.redis.pipeline(transaction=False) as pipeline:
        for job_id in job_ids:
            ask_for_view(pipeline, job_id)
            pipeline.hget(JOB + job_id, "document")
            # Last: a job seen as ended then has its result, which is written with it.
            pipeline.get(CELERY_RESULT + job_id)
        replies = await pipeline.execute()
    records = [
        _job_record(job_id, *replies[4 * position : 4 * position + 4])
        for position, job_id in enumerate(job_ids)
    ]
    known = {}
    for batch in batches_of(one.view if one else None for one in records):
        stored: Any = await services.redis.hmget(PROVIDER_BATCH + batch, BATCH_FIELDS)
        known[batch] = batch_view(batch, stored)
    return [one and replace(one, view=with_batch(one.view, known)) for one in records]


async def read_latest(services: Services, job_ids: Sequence[str]) -> list[JobRecord | None]:
    """Return jobs, or the last replays of those that have been replayed."""
    records = await read_jobs(services, job_ids)
    while True:
        replays = {
            place: one.view.replayed_by
            for place, one in enumerate(records)
            if one and one.view.replayed_by
        }
        if not replays:
            return records
        found = await read_jobs(services, list(replays.values()))
        for place, one in zip(replays, found, strict=True):
            records[place] = one


def _job_record(
    job_id: str,
    fields: list[bytes | None],
    due: float | None,
    document: bytes | None,
    stored: bytes | None,
) -> JobRecord | None:
    view = read_view(job_id, fields, due)
    if view is None or document is None:
        return None
    result = answer_in(stored) if view.state is State.COMPLETED else None
    return JobRecord(view, JobDocument.model_validate_json(document, extra="ignore"), result)


async def wait_for(services: Services, job_id: str, seconds: float) -> None:
    """Wait until the job has ended or the time is up."""
    async with services.listener.watching([job_id]) as futures:
        await asyncio.wait(futures.values(), timeout=seconds)


async def wait_and_read(
    services: Services, job: JobRecord, seconds: float, *, when_parked: bool | None = None
) -> JobRecord:
    """Return the job when it has ended or the time is up.

    Unless `when_parked` (default: the setting), return it too when it waits for an operator.
    """
    if job.view.state.is_terminal:
        return job
    loop = asyncio.get_running_loop()
    end = loop.time() + min(seconds, services.gateway.longest_wait)
    patient = services.gateway.wait_when_parked if when_parked is None else when_parked
    looks = iter(()) if patient else chain(_FIRST_LOOKS, repeat(_LOOK_EVERY))
    tenant, job_id = job.view.tenant, job.view.id
    async with services.listener.watching([job_id]) as futures:
        while (left := end - loop.time()) > 0:
            ended, _ = await asyncio.wait(futures.values(), timeout=min(left, next(looks, left)))
            if ended or patient:
                break
            job = await look(services, tenant, job_id)
            view = await services.gates.shown(job.view)
            if view.state.is_terminal or needs_operator(view):
                return replace(job, view=view)
    return await look(services, tenant, job_id)


async def answered(
    services: Services, job: JobRecord, *, is_ours: bool, when_parked: bool | None = None
) -> JobRecord:
    """Return the job of a call that waits for the answer.

    Raises:
        ApiError: the job waits for an operator. If no other call knows it (`is_ours`), it is
            cancelled: nobody would read an answer that is paid for later.
    """
    longest = services.gateway.longest_wait
    job = await wait_and_read(services, job, longest, when_parked=when_parked)
    parked = job.view
    if not needs_operator(parked) or parked.reason == BillingUnknown.code:
        return job
    if is_ours:
        job = await cancel(services, parked.tenant, parked.id)
        if job.view.state is State.COMPLETED:
            return job
    raise refusal(parked)


async def cancel(services: Services, tenant: str, job_id: str) -> JobRecord:
    """Cancel a job of the tenant and return it, unchanged if it has ended."""
    await look(services, tenant, job_id)
    await services.ledger.cancel([job_id])
    return await look(services, tenant, job_id)
