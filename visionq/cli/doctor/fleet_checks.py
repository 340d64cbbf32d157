"""Workers, what they serve, who dispatches; and whether models count and cost as tables say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from visionq.cli.doctor.findings import Detail, Finding, ok, problem, warning
from visionq.ledger.usage import read_calibrations, read_cost_ratios, split_kind
from visionq.names import CELERY_NODES, DISPATCHER, QUEUE_CELERY_DEFAULT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from redis import Redis

    from visionq.ledger.overview import Overview
    from visionq.ledger.usage import Calibration

#: Seconds without a look at what is due. Workers look once a second.
_SILENCE: Final = 5.0
_PIDBOX: Final = ".celery.pidbox"
#: How `visionq worker` and Flower name their nodes, unless `--name` says otherwise.
_OUR_NODES: Final = "visionq"
_MOST_NAMED: Final = 5
_START: Final = "start workers: `visionq worker`, or `visionq up` for all on this machine"


def fleet_findings(redis: Redis, page: Overview) -> list[Finding]:
    """Return the findings about the workers."""
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


CHECK: Final = "forecast.drift"
COSTS: Final = "prices.bill"
#: How far prices may be from what is charged: what a rounding of each call adds.
_SAME_COST: Final = 0.001
_PRICES: Final = (
    "calls are booked at what it charges; correct the prices by a file of your own in"
    " VISIONQ_PRICES_FILE, so that quotes and reserves are right too"
)
_ADVICE: Final = (
    "forecasts and reserves follow the answers by themselves; correct the table by a file of your"
    " own in VISIONQ_VISION_FILE, so that a fresh Redis begins right"
)


def usage_findings(redis: Redis) -> list[Finding]:
    """Return what answers tell of the tables of tokens and of prices."""
    return [*drift_findings(read_calibrations(redis)), *cost_findings(read_cost_ratios(redis))]


def cost_findings(ratios: Mapping[str, float]) -> list[Finding]:
    """Return how the table of prices compares with what the provider says that calls cost."""
    found = []
    for model, ratio in sorted(ratios.items()):
        said = f"{model}: the provider charges {ratio:.4g} of what the table of prices says"
        details: dict[str, Detail] = {"model": model, "factor": round(ratio, 6)}
        is_right = abs(ratio - 1) <= _SAME_COST
        say = ok(COSTS, said, **details) if is_right else warning(COSTS, said, _PRICES, **details)
        found.append(say)
    return found


def drift_findings(calibrations: Mapping[str, Calibration | None]) -> list[Finding]:
    """Return a warning for each model and detail that drifted, else one OK."""
    known = {kind: one for kind, one in calibrations.items() if one is not None}
    found = [
        warning(
            CHECK,
            f"{model} at detail {detail}{f', effort {effort}' if effort else ''} counts"
            f" {one.factor:.2f} of the forecast (by {one.answers} answers)",
            _ADVICE,
            model=model,
            detail=detail,
            effort=effort,
            factor=round(one.factor, 4),
            answers=one.answers,
        )
        for kind, one in sorted(known.items())
        if one.has_drifted
        for model, detail, effort in [split_kind(kind)]
    ]
    if found or not known:
        return found
    return [ok(CHECK, "models count as the table says", kinds=len(known))]
