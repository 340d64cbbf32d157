"""Celery's remote commands `revoke` and `terminate`: the job is cancelled, in whatever state it is.

Celery's own drop the messages of a task, while the ledger would go on sending hints.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery.utils.functional import maybe_list
from celery.worker.control import control_command
from celery.worker.control import revoke as drop_messages  # type: ignore[attr-defined]  # stubs lack it

from visionq.contract import TERMINAL
from worker.celery.lifecycle import runtime

if TYPE_CHECKING:
    from collections.abc import Sequence


@control_command(variadic="task_id", signature="[id1 [id2 [... [idN]]]]")
def revoke(state: Any, task_id: str | Sequence[str], **_: Any) -> dict[str, str]:  # noqa: ANN401  # Celery's signature
    """Cancel jobs by id; messages of jobs that are not in the ledger yet are dropped."""
    job_ids = list(dict.fromkeys(maybe_list(task_id) or ()))
    before = dict(zip(job_ids, runtime().tools.ledger.revoke(job_ids), strict=True))
    events = state.consumer.event_dispatcher
    for job_id, known in before.items():
        if known != "missing" and known not in TERMINAL and events:
            events.send("task-revoked", uuid=job_id, terminated=False)
    unknown = [job_id for job_id, known in before.items() if known == "missing"]
    if unknown:
        drop_messages(state, unknown)
    return {"ok": f"{len(job_ids) - len(unknown)} jobs cancelled, {len(unknown)} ids not known yet"}


@control_command(
    variadic="task_id", args=[("signal", str)], signature="<signal> [id1 [id2 [... [idN]]]]"
)
def terminate(state: Any, signal: str, task_id: str | Sequence[str], **_: Any) -> dict[str, str]:  # noqa: ANN401, ARG001  # likewise
    """Cancel jobs by id. A call that is out is paid for, so its answer is kept."""
    cancelled: dict[str, str] = revoke(state, task_id)
    return cancelled
