"""Whether somebody works: workers, what they serve, and the one who dispatches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from visionq.cli.doctor.findings import Finding, ok, problem, warning
from visionq.names import CELERY_NODES, DISPATCHER, QUEUE_CELERY_DEFAULT

if TYPE_CHECKING:
    from redis import Redis

    from visionq.ledger.overview import Overview

#: Seconds without a look at what is due. Workers look once a second.
_SILENCE: Final = 5.0
_PIDBOX: Final = ".celery.pidbox"
#: How `visionq worker` and Flower name their nodes, unless `--name` says otherwise.
_OUR_NODES: Final = "visionq"
_MOST_NAMED: Final = 5
_START: Final = "start workers: `visionq worker`, or `visionq up` for all on this machine"


def fleet_findings(redis: Redis, page: Overview) -> list[Finding]:
    """Return what is to be said about the workers."""
    alive = any(worker.alive for worker in page.workers)
    findings = [_workers(page), *_vanished(page)]
    if alive:
        findings += [*_unserved(page), _dispatcher(redis, page)]
    return findings


def neighbour_findings(redis: Redis, *, default_queue: bool) -> list[Finding]:
    """Return that another Celery program uses this Redis, and what that means.

    `default_queue` is whether workers take Celery's default queue.
    """
    members = {bytes(member).decode(errors="replace") for member in _members(redis)}
    nodes = {member.rsplit("\x16", 1)[-1].removesuffix(_PIDBOX) for member in members}
    others = sorted(node for node in nodes if not node.startswith(_OUR_NODES))
    if not others:
        return []
    queue = (
        f"; both take the queue {QUEUE_CELERY_DEFAULT!r}, so each meets the other's tasks"
        if default_queue
        else ""
    )
    return [
        warning(
            "celery.neighbours",
            f"another Celery program uses this Redis database: {', '.join(others[:_MOST_NAMED])}"
            f"{queue}; Celery's remote control and events reach both",
            "give each its own database or server; where they share one, keep"
            " VISIONQ_CONSUME_DEFAULT_QUEUE off, and send jobs to the queue visionq.intake",
            nodes=len(others),
        )
    ]


def _members(redis: Redis) -> set[bytes]:
    found: set[bytes] = redis.smembers(CELERY_NODES)  # type: ignore[assignment]  # not asynchronous
    return found


def _workers(page: Overview) -> Finding:
    check = "workers.alive"
    alive = [worker for worker in page.workers if worker.alive]
    if alive:
        last = max(worker.seen_at for worker in alive if worker.seen_at)
        ago = max(0.0, (page.at - last).total_seconds())
        names = "1 worker" if len(alive) == 1 else f"{len(alive)} workers"
        return ok(
            check,
            f"{names} with {page.slots} slots, {page.busy} busy; last sign of life {ago:.0f} s ago",
            workers=len(alive),
            slots=page.slots,
            busy=page.busy,
            last_sign_seconds=round(ago, 3),
        )
    unfinished = page.queued + page.hinted + page.running + page.waiting.jobs
    if unfinished:
        return problem(
            check, f"no worker is alive, and {unfinished:,} jobs wait for one", _START, workers=0
        )
    return warning(check, "no worker is alive", _START, workers=0)


def _vanished(page: Overview) -> list[Finding]:
    return [
        warning(
            "workers.vanished",
            f"worker {worker.pid} on {worker.host} gave no sign of life for"
            f" {(page.at - worker.seen_at).total_seconds():.0f} s; its jobs go to others",
            "look at its log and its machine; its entry goes by itself once another worker lives",
            worker=worker.id,
        )
        for worker in page.workers
        if not worker.alive and worker.seen_at
    ]


def _unserved(page: Overview) -> list[Finding]:
    served = {queue for worker in page.workers if worker.alive for queue in worker.queues}
    waiting = {lane.queue for lane in page.lanes} - served
    return [
        problem(
            "workers.queues",
            f"jobs wait in {queue}, which no living worker serves",
            f"start a worker with `--queues` that names {queue}",
            queue=queue,
        )
        for queue in sorted(waiting)
    ]


def _dispatcher(redis: Redis, page: Overview) -> Finding:
    check = "workers.dispatcher"
    seen = redis.hget(DISPATCHER, "seen")
    silence = page.at.timestamp() - int(seen) / 1000 if seen else None
    if silence is not None and silence <= _SILENCE:
        return ok(check, "jobs are dispatched", silent_seconds=round(max(0.0, silence), 3))
    return problem(
        check,
        "workers are alive, but none has dispatched"
        + (f" for {silence:.0f} s" if silence is not None else " yet"),
        "look for `dispatch.failed` in the workers' logs; start them again",
        silent_seconds=None if silence is None else round(silence, 3),
    )
