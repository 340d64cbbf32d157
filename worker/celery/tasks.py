"""The Celery tasks, and the remote commands that cancel their jobs.

Callers send `visionq.analyze`; the ledger sends the other two.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery.exceptions import Ignore, Reject, Retry
from celery.utils.functional import maybe_list
from celery.worker.control import control_command
from celery.worker.control import revoke as drop_messages  # type: ignore[attr-defined]  # stubs lack it

from visionq.contract import TERMINAL
from visionq.errors import (
    BY_CODE,
    DownloadFailed,
    InvalidJob,
    JobFailed,
    QueueUnavailable,
    QuotaExceeded,
    VisionqError,
)
from visionq.ledger import Completed, DeliveryState, Failed, Held, Moved, Parked, Waiting
from visionq.names import TASK_ANALYZE, TASK_DELIVER, TASK_RUN
from visionq.redaction import place
from visionq.wording import counted
from worker.celery.app import app
from worker.celery.canvas import canvas_of
from worker.celery.lifecycle import runtime
from worker.celery.pool import result_of
from worker.intake import apply_message_options, enter, trace_of
from worker.work import Stale, work

if TYPE_CHECKING:
    from collections.abc import Sequence

    from celery import Task

    from visionq.ledger import DeliveryEnding, Outcome


@app.task(
    name=TASK_ANALYZE,
    bind=True,
    # The message goes only when the ledger has the job.
    acks_late=True,
    store_errors_even_if_ignored=True,
    throws=(VisionqError,),
    Request="worker.celery.masked_request:MaskedRequest",
)
def analyze(self: Task[Any, Any], *args: Any, **document: Any) -> None:  # noqa: ANN401  # callers send what they please
    """Enter a plain caller's document in the ledger, under the id of its task."""
    try:
        if self.request.id is None:
            raise InvalidJob("map, starmap, chunks: not supported; send a group of jobs")
        wanted = apply_message_options(document, self.request)
        canvas = canvas_of(self.request)
        trace = trace_of(self.request)
        enter(self.request.id, args, wanted, runtime().intake, trace=trace, canvas=canvas)
    except QuotaExceeded:
        raise
    except QueueUnavailable as error:
        raise Reject(str(error), requeue=True) from error
    raise Ignore  # the job's own end writes the result


async def _work(job_id: str) -> Outcome | Stale:
    process = runtime()
    return await work(job_id, process.dependencies, process.leases, process.registration)


@app.task(
    name=TASK_RUN,
    bind=True,
    coroutine=staticmethod(_work),
    ignore_result=True,
    throws=(VisionqError,),
    # Hints carry no arguments, but callers may send this name as well.
    Request="worker.celery.masked_request:MaskedRequest",
)
def run(self: Task[Any, Any]) -> str:
    """Work on the job that this hint names."""
    match result_of(_work, str(self.request.id), runtime().loop):
        case Completed(result):
            return f"completed cost_rub={result.cost_rub} cached={result.cached}"
        case Failed(error, _, picture):
            # Public; the job's result has the whole error.
            where = place(error.message, picture) or "see the job"
            if error.code in BY_CODE:
                raise BY_CODE[error.code](where)
            raise JobFailed(error.code, where)
        case Waiting(reason):
            raise Retry(f"waiting: {reason}")
        case Parked(reason) | Held(reason):
            raise Retry(f"parked: {reason}")
        case Moved(reason=reason):
            raise Retry(f"queued: {reason}, the next model is asked")
        case Stale():
            raise Ignore


@app.task(
    name=TASK_DELIVER,
    bind=True,
    ignore_result=True,
    throws=(VisionqError,),
    Request="worker.celery.masked_request:MaskedRequest",
)
def deliver(self: Task[Any, Any]) -> str:
    """Deliver the event that this hint names to the tenant's webhook."""
    ending = runtime().delivery_sender.deliver(str(self.request.id))
    if ending is None:
        raise Ignore
    if ending.state is DeliveryState.WAITING:
        raise Retry(f"waiting: {_why(ending)}")
    if ending.state is DeliveryState.FAILED:
        raise DownloadFailed(f"given up: {_why(ending)}")
    return f"delivered status={ending.status}"


def _why(ending: DeliveryEnding) -> str:
    return f"answered_{ending.status}" if ending.status else "not_reached"


@control_command(variadic="task_id", signature="[id1 [id2 [... [idN]]]]")
def revoke(state: Any, task_id: str | Sequence[str], **_: Any) -> dict[str, str]:  # noqa: ANN401  # Celery's signature
    """Cancel jobs by id; drop messages of jobs that are not in the ledger yet."""
    job_ids = list(dict.fromkeys(maybe_list(task_id) or ()))
    before = dict(zip(job_ids, runtime().intake.ledger.revoke(job_ids), strict=True))
    events = state.consumer.event_dispatcher
    for job_id, known in before.items():
        if known != "missing" and known not in TERMINAL and events:
            events.send("task-revoked", uuid=job_id, terminated=False)
    unknown = [job_id for job_id, known in before.items() if known == "missing"]
    if unknown:
        drop_messages(state, unknown)
    cancelled = counted(len(job_ids) - len(unknown), "job")
    return {"ok": f"{cancelled} cancelled, {counted(len(unknown), 'id')} not known yet"}


@control_command(
    variadic="task_id", args=[("signal", str)], signature="<signal> [id1 [id2 [... [idN]]]]"
)
def terminate(state: Any, signal: str, task_id: str | Sequence[str], **_: Any) -> dict[str, str]:  # noqa: ANN401, ARG001  # likewise
    """Cancel jobs by id; keep answers of calls that are out, which are paid."""
    cancelled: dict[str, str] = revoke(state, task_id)
    return cancelled
