"""Read jobs in their public view, and their results."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError

from visionq.contract import (
    DelayReason,
    ErrorDocument,
    JobDocument,
    JobView,
    Spend,
    State,
    shown_state,
)
from visionq.contract.result import ProviderBatchView
from visionq.contract.states import MISSING
from visionq.errors import InvalidJob
from visionq.input_errors import describe
from visionq.ledger import celery_results
from visionq.ledger.claims import job_steps, read_steps
from visionq.ledger.gates import read_gate
from visionq.ledger.metrics import read_forgotten
from visionq.ledger.provider_batches import BATCH_FIELDS, batch_view
from visionq.ledger.scripts import script_text
from visionq.names import (
    CELERY_RESULT,
    DUE,
    JOB,
    MONEY,
    MONEY_OF_DAY,
    PROVIDER_BATCH,
    QUEUE_BATCH,
    WORKER,
    WORKERS,
)
from visionq.pricing.money import rubles

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from redis import Redis
    from redis.asyncio.client import Pipeline as AsyncPipeline
    from redis.client import Pipeline

    from visionq.ledger.gates import Gate

_BOOKS: Final = ("reserved", "settled", "unknown", "saved")
_FIELDS: Final = (
    "state", "lane", "pictures", "submitted", "reason", "attempts", "ended_by", "unknown_calls",
    "cost", "finished", "worker", "error", "batch", "replayed_by", "online", "line", "steps",
)  # fmt: skip


def job_views(redis: Redis, job_ids: Sequence[str]) -> list[JobView | None]:
    """Return the public view of each job, or None, in a few round trips."""
    views = stored_views(redis, job_ids)
    if not any(view and view.state is State.QUEUED for view in views):
        return views
    gate = read_gate(redis)
    return [view and behind(gate, view) for view in views]


def stored_views(redis: Redis, job_ids: Sequence[str]) -> list[JobView | None]:
    """Return each job as stored, regardless of its gate, or None."""
    with redis.pipeline(transaction=False) as pipeline:
        for job_id in job_ids:
            ask_for_view(pipeline, job_id)
        replies = pipeline.execute()
    pairs = zip(job_ids, replies[::2], replies[1::2], strict=True)
    views = [read_view(job_id, fields, due) for job_id, fields, due in pairs]
    known = {}
    for batch in batches_of(views):
        stored: Any = redis.hmget(PROVIDER_BATCH + batch, BATCH_FIELDS)
        known[batch] = batch_view(batch, stored)
    return [view and with_batch(view, known) for view in views]


def states_of(redis: Redis, job_ids: Sequence[str]) -> list[State | None]:
    """Return the state of each of at most `MOST_PER_SCRIPT` jobs, or None, by one command."""
    script = redis.register_script(script_text("states"))
    states: list[bytes] = script(args=("", *job_ids))
    return [shown_state(state.decode() or MISSING) for state in states]


def behind(gate: Gate, view: JobView) -> JobView:
    """Show a queued job as parked if its gate, model or tenant is held.

    Where its model is asked as fast as it may be, that is why it is still queued.
    """
    scopes = (f"model:{view.model}", f"tenant:{view.tenant}")
    reason = next((gate.held[scope] for scope in scopes if scope in gate.held), None)
    if gate.state == "closed":
        reason = gate.reason
    if view.state is not State.QUEUED:
        return view
    if reason is None:
        waits = view.model in gate.paced and view.reason != DelayReason.BATCH
        return view.model_copy(update={"reason": DelayReason.RATE_LIMITED}) if waits else view
    return view.model_copy(update={"state": State.PARKED, "reason": reason})


def ask_for_view(pipeline: Pipeline | AsyncPipeline, job_id: str) -> None:
    """Queue the two commands whose replies `read_view` reads."""
    pipeline.hmget(JOB + job_id, _FIELDS)
    pipeline.zscore(DUE, job_id)


def batches_of(views: Iterable[JobView | None]) -> list[str]:
    """Return the ids of the batches that hold any of the jobs."""
    found = (view.provider_batch for view in views if view is not None)
    return sorted({one.id for one in found if one is not None})


def with_batch(view: JobView, known: Mapping[str, ProviderBatchView]) -> JobView:
    """Add the view of its batch to a job."""
    if view.provider_batch is None:
        return view
    return view.model_copy(update={"provider_batch": known[view.provider_batch.id]})


def read_view(job_id: str, values: list[bytes | None], due: float | None) -> JobView | None:
    """Return a job from the replies to `ask_for_view`; None if it is unknown."""
    fields = {
        name: value.decode()
        for name, value in zip(_FIELDS, values, strict=True)
        if value is not None
    }
    state = shown_state(fields.get("state", MISSING))
    if state is None:
        return None
    queue, tenant, model = fields["lane"].split(":", 2)
    reason, line = fields.get("reason"), fields.get("line")
    if state is State.QUEUED and queue.startswith(QUEUE_BATCH):
        reason = DelayReason.BATCH
    queue = fields.get("online", queue).partition(":")[0]
    waits = state is State.WAITING or (state is State.PARKED and due is not None)
    return JobView(
        id=job_id,
        state=state,
        reason=reason or None,
        tenant=tenant,
        model=model,
        priority=queue.rpartition(".")[2],
        images=int(fields["pictures"]),
        attempts=_attempts(state, fields),
        unknown_calls=int(fields.get("unknown_calls", 0)),
        cost_rub=rubles(int(fields.get("cost", 0))),
        steps=job_steps(read_steps(fields.get("steps", "").encode())),
        submitted_at=_moment(fields["submitted"]),
        finished_at=_moment(fields["finished"]) if "finished" in fields else None,
        due_at=_moment(due) if waits and due is not None else None,
        worker=fields.get("worker"),
        error=_error(fields),
        batch_id=fields.get("batch"),
        replayed_by=fields.get("replayed_by"),
        provider_batch=ProviderBatchView(id=line) if line and state is State.WAITING else None,
    )


def _attempts(state: State, fields: dict[str, str]) -> int:
    """Return the attempts begun; the ledger counts those before the last.

    What ended without a worker, as by its deadline, was not begun a last time.
    """
    counted = int(fields.get("attempts", 0))
    ended = state in {State.COMPLETED, State.FAILED} and "ended_by" in fields
    return counted + ended


def _moment(milliseconds: str | float) -> datetime:
    return datetime.fromtimestamp(float(milliseconds) / 1000, UTC)


def _error(fields: dict[str, str]) -> ErrorDocument | None:
    # A newer worker may say more than this reader knows of.
    stored = fields.get("error")
    return ErrorDocument.model_validate_json(stored, extra="ignore") if stored else None


def job_document(redis: Redis, job_id: str) -> JobDocument | None:
    """Return the document of a job without fields unknown to this release, or None."""
    document = redis.hget(JOB + job_id, "document")
    return JobDocument.model_validate_json(document, extra="ignore") if document else None


def job_documents(redis: Redis, job_ids: Sequence[str]) -> list[JobDocument | None]:
    """Return the document of each job, or None for an unknown one.

    Raises:
        InvalidJob: a newer release submitted one of them, with fields that this one would lose.
    """
    with redis.pipeline(transaction=False) as pipeline:
        for job_id in job_ids:
            pipeline.hget(JOB + job_id, "document")
        stored = pipeline.execute()
    documents: list[JobDocument | None] = []
    for job_id, text in zip(job_ids, stored, strict=True):
        try:
            documents.append(JobDocument.model_validate_json(text) if text else None)
        except ValidationError as error:
            raise InvalidJob(
                f"{job_id}: {describe(error)}; if a newer release submitted it, use that release"
            ) from None
    return documents


def result_of(redis: Redis, job_id: str) -> tuple[str, Any] | None:
    """Return Celery's status and result of a job, or None while there is none."""
    stored = redis.get(CELERY_RESULT + job_id)
    return celery_results.read(stored) if stored else None


def spend(redis: Redis, today: str) -> Spend:
    """Return the books of all jobs in total; `today` is a date of `money.day_of`."""
    reply: dict[Any, Any] = redis.hgetall(MONEY)
    settled_today = redis.hget(MONEY_OF_DAY + today, "settled")
    books = {name.decode(): int(amount) for name, amount in reply.items()}
    amounts = {f"{name}_rub": rubles(books.get(name, 0)) for name in _BOOKS}
    return Spend(
        unknown_calls=books.get("unknown_calls", 0),
        forgotten_jobs=read_forgotten(redis),
        today_rub=rubles(int(settled_today or 0)),
        **amounts,
    )


#: Workers that are looked at, those that registered last.
_MOST_WORKERS: Final = 1000


def is_served(redis: Redis, queue: str) -> bool:
    """Return whether a live worker serves a queue, in two round trips."""
    seconds, micros = _time(redis)
    now = seconds * 1000 + micros // 1000
    alive: Any = redis.zrangebyscore(WORKERS, f"({now}", "+inf", start=0, num=_MOST_WORKERS)
    with redis.pipeline(transaction=False) as pipeline:
        for worker in alive:
            pipeline.hget(WORKER + worker.decode(), "pool")
        pools = pipeline.execute()
    # A pool is its queues, and after `@` the id of the key.
    return any(queue in (pool or b"").decode().partition("@")[0].split(",") for pool in pools)


def _time(redis: Redis) -> tuple[int, int]:
    found: Any = redis.time()
    return int(found[0]), int(found[1])
