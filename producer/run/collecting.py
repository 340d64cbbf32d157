"""The way out of the ledger: which jobs have ended, and how the others stand."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from producer.holdups import no_worker
from visionq.contract import State
from visionq.errors import BillingUnknown
from visionq.ledger import celery_results
from visionq.ledger.gates import read_gate
from visionq.names import CELERY_RESULT, DUE, JOB, QUEUE_BULK
from visionq.sdk.reading import answer_in
from visionq.sdk.waiting import portions, read_ends

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redis import Redis

    from visionq.ledger.gates import Gate
    from visionq.sdk.reading import End

#: States in which a job makes no call.
RESTING: Final = ("queued", "hinted", "waiting", "parked")


def ended(redis: Redis, job_ids: Sequence[str]) -> dict[str, End]:
    """Return the ends of those jobs that have ended: one MGET for each 500, nothing subscribed."""
    ends: dict[str, End] = {}
    for few in portions(job_ids):
        stored: list[Any] = redis.mget([CELERY_RESULT + job_id for job_id in few])
        others = []
        for job_id, meta in zip(few, stored, strict=True):
            if meta is None or not celery_results.is_final(meta):
                continue
            answer = answer_in(meta)
            if answer is None:
                others.append(job_id)
            else:
                ends[job_id] = answer
        if others:
            ends |= read_ends(redis, others)
    return ends


@dataclass(frozen=True, slots=True)
class RunCounts:
    """How the jobs that are out stand."""

    gate: Gate
    #: Jobs that Redis knows nothing of: it was emptied.
    vanished: list[str] = field(default_factory=list)
    #: Jobs whose budget can't cover them.
    unaffordable: list[str] = field(default_factory=list)
    #: Jobs whose call may have been billed, and which nobody will repeat unasked.
    unknown: list[str] = field(default_factory=list)
    #: `state` or `state (reason)` → jobs.
    standing: Counter[str] = field(default_factory=Counter)
    #: What to say where no worker takes them.
    unserved: str | None = None


def census(redis: Redis, job_ids: Sequence[str]) -> RunCounts:
    """Look at every job that is out."""
    found = RunCounts(read_gate(redis))
    for few in portions(job_ids):
        with redis.pipeline(transaction=False) as pipeline:
            for job_id in few:
                pipeline.hmget(JOB + job_id, "state", "reason")
                pipeline.zscore(DUE, job_id)
            replies = pipeline.execute()
        for job_id, fields, due in zip(few, replies[::2], replies[1::2], strict=True):
            state, reason = [value.decode() if value else "" for value in fields]
            _count(found, job_id, state, reason, comes_back=due is not None)
    if found.standing["queued"] and not found.standing["in_progress"]:
        return replace(found, unserved=no_worker(redis, QUEUE_BULK))
    return found


def _count(found: RunCounts, job_id: str, state: str, reason: str, *, comes_back: bool) -> None:
    if not state:
        found.vanished.append(job_id)
        return
    if state == State.PARKED and reason == "budget_exhausted":
        found.unaffordable.append(job_id)
    elif state == State.PARKED and reason == BillingUnknown.code and not comes_back:
        found.unknown.append(job_id)
    shown = "queued" if state == "hinted" else state
    found.standing[f"{shown} ({reason})" if reason and shown != "queued" else shown] += 1
