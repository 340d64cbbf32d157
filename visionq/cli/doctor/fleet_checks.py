"""Check workers, queues and dispatchers, and the drift of tokens and costs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from visionq.cli.budget_waste import release_command, waste_lines
from visionq.cli.doctor.findings import Finding, ok, problem, warning
from visionq.cli.screen import plain
from visionq.ledger.provider_batches import BATCH_SUBJECT, open_views, read_all_support
from visionq.ledger.usage import read_calibrations, read_cost_ratios, split_kind
from visionq.names import (
    CELERY_NODES,
    DISPATCHER,
    NOTICES,
    PROVIDER_FILES_LEFT,
    QUEUE_CELERY_DEFAULT,
)
from visionq.pricing.flex import FLEX
from visionq.wording import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redis import Redis

    from visionq.ledger.overview import Overview
    from visionq.ledger.provider_batches import BatchSupport

#: Seconds without a look at what is due. Workers look once a second.
_SILENCE: Final = 5.0
#: How `visionq worker` and Flower name their nodes, unless `--name` says otherwise.
_OUR_NODES: Final = "visionq"
_MOST_NAMED: Final = 5
#: Notices that are looked at, the latest.
_NOTICES: Final = 1000
_START: Final = "start workers: `visionq worker`, or `visionq up` for all on this machine"


def fleet_findings(redis: Redis, page: Overview) -> list[Finding]:
    """Return the findings about the workers."""
    findings = [_workers(page), *_vanished(page), *_stopped(page)]
    if any(worker.alive for worker in page.workers):
        findings += [*_unserved(page), _dispatcher(redis, page)]
    return findings


def neighbour_findings(redis: Redis, *, default_queue: bool) -> list[Finding]:
    """Return a finding if another Celery program uses this Redis.

    `default_queue` is whether workers take Celery's default queue.
    """
    members: set[bytes] = redis.smembers(CELERY_NODES)  # type: ignore[assignment]  # not asynchronous
    queues = {member.decode(errors="replace").rsplit("\x16", 1)[-1] for member in members}
    nodes = {queue.removesuffix(".celery.pidbox") for queue in queues}
    others = sorted(node for node in nodes if not node.startswith(_OUR_NODES))
    if not others:
        return []
    message = f"another Celery program uses this Redis database: {', '.join(others[:_MOST_NAMED])}"
    if default_queue:
        message += (
            f"; both take the queue {QUEUE_CELERY_DEFAULT!r}, so each meets the other's tasks"
        )
    return [
        warning(
            "celery.neighbours",
            f"{message}; Celery's remote control and events reach both",
            "give each its own database or server; where they share one, keep"
            " VISIONQ_CONSUME_DEFAULT_QUEUE off, and send jobs to the queue visionq.intake",
            nodes=len(others),
        )
    ]


def _workers(page: Overview) -> Finding:
    check, alive = "workers.alive", [worker for worker in page.workers if worker.alive]
    if alive:
        last = max(worker.seen_at for worker in alive if worker.seen_at)
        ago = max(0.0, (page.at - last).total_seconds())
        return ok(
            check,
            f"{counted(len(alive), 'worker')} with {counted(page.slots, 'slot')}, {page.busy} busy;"
            f" last sign of life {ago:.0f} s ago",
            workers=len(alive),
            slots=page.slots,
            busy=page.busy,
            last_sign_seconds=round(ago, 3),
        )
    unfinished = page.queued + page.hinted + page.running + page.waiting.jobs
    if unfinished:
        message = f"no worker is alive; {counted(unfinished, 'job')} left to do"
        return problem(check, message, _START, workers=0)
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


def _stopped(page: Overview) -> list[Finding]:
    return [
        problem(
            "tenants.waste",
            f"tenant {one.tenant} is stopped: {'; '.join(waste_lines(one))}",
            "look at the prompt, the schema and the answers (`visionq jobs show ID`), then"
            f" `{release_command(one.tenant)}`",
            tenant=one.tenant,
            answers=one.answers,
            failed=one.failed,
            wasted_rub=plain(one.wasted_rub),
        )
        for one in page.stopped
    ]


def _unserved(page: Overview) -> list[Finding]:
    served = {queue for worker in page.workers if worker.alive for queue in worker.queues}
    return [
        problem(
            "workers.queues",
            f"jobs wait in {queue}, which no living worker serves",
            f"start a worker with `--queues` that names {queue}",
            queue=queue,
        )
        for queue in sorted({lane.queue for lane in page.lanes} - served)
    ]


def _dispatcher(redis: Redis, page: Overview) -> Finding:
    check, seen = "workers.dispatcher", redis.hget(DISPATCHER, "seen")
    silence = round(page.at.timestamp() - int(seen) / 1000, 3) if seen else None
    if silence is not None and silence <= _SILENCE:
        return ok(check, "jobs are dispatched", silent_seconds=max(0.0, silence))
    since = f" for {silence:.0f} s" if silence is not None else " yet"
    advice = "look for `dispatch.failed` in the workers' logs; start them again"
    message = f"workers are alive, but none has dispatched{since}"
    return problem(check, message, advice, silent_seconds=silence)


#: How far prices may be from what is charged: what a rounding of each call adds.
_SAME_COST: Final = 0.001
_PRICES: Final = (
    "calls are booked at what it charges; correct the prices by a file of your own in"
    " VISIONQ_PRICES_FILE, so that quotes and reserves are right too"
)
_VISION: Final = (
    "forecasts and reserves follow the answers by themselves; correct the table by a file of your"
    " own in VISIONQ_VISION_FILE, so that a fresh Redis begins right"
)


def usage_findings(redis: Redis) -> list[Finding]:
    """Return findings about the drift of tokens and prices from the tables."""
    return [*_drift(redis), *_costs(redis)]


def _costs(redis: Redis) -> list[Finding]:
    """Return findings about the difference between price table and provider's bill."""
    found = []
    for model, ratio in sorted(read_cost_ratios(redis).items()):
        said = f"{model}: the provider charges {ratio:.4g} of what the table of prices says"
        level, advice = (warning, _PRICES) if abs(ratio - 1) > _SAME_COST else (ok, None)
        found.append(level("prices.bill", said, advice, model=model, factor=round(ratio, 6)))
    return found


def _drift(redis: Redis) -> list[Finding]:
    """Return a warning for each model and detail that drifted, else one OK."""
    check = "forecast.drift"
    known = {kind: one for kind, one in read_calibrations(redis).items() if one is not None}
    found = []
    for kind, one in sorted(known.items()):
        if one.has_drifted:
            model, detail, effort = split_kind(kind)
            what = f"{model} at detail {detail}{f', effort {effort}' if effort else ''}"
            found.append(
                warning(
                    check,
                    f"{what} counts {one.factor:.2f} of the forecast"
                    f" (by {counted(one.answers, 'answer')})",
                    _VISION,
                    model=model,
                    detail=detail,
                    effort=effort,
                    factor=round(one.factor, 4),
                    answers=one.answers,
                )
            )
    if found or not known:
        return found
    return [ok(check, "models count as the table says", kinds=len(known))]


_ONLINE: Final = "nothing is lost; another model, or another key, may have batches"


_FILES: Final = (
    "workers try again every ten minutes and log why (`batch.file_not_deleted`); or delete them in"
    " the provider's console"
)
_STRAY: Final = (
    "they were stopped; what they had answered by then was paid, and is in no book: was Redis"
    " emptied, or restored from a copy?"
)


def batch_findings(redis: Redis) -> list[Finding]:
    """Return findings about batches, and what they left at the provider."""
    verdicts = [
        _verdict(key, model, api, one)
        for (key, model, api), one in sorted(read_all_support(redis).items())
        if one.works is not None
    ]
    return [*verdicts, *_overdue(redis), *_files_left(redis), *_strays(redis)]


def _overdue(redis: Redis) -> list[Finding]:
    batches, _ = open_views(redis)
    now = datetime.now(UTC)
    late = [one.id for one in batches if one.expires_at and one.expires_at < now]
    if not late:
        return []
    message = f"{_batches(len(late))} out for longer than the provider takes: {_named(late)}"
    advice = (
        "`visionq batches cancel` stops one: its other jobs wait for the next; once more, it gives"
        " up what the provider does not return"
    )
    return [warning("batches.overdue", message, advice, batches=len(late))]


def _files_left(redis: Redis) -> list[Finding]:
    if not (files := redis.zcard(PROVIDER_FILES_LEFT)):
        return []
    message = f"still at the provider: {counted(files, 'file')} of ended batches"
    return [warning("batches.files", message, _FILES, files=files)]


def _strays(redis: Redis) -> list[Finding]:
    """Return batches with our mark that no record knew, by the latest notices."""
    notices: Any = redis.xrevrange(NOTICES, count=_NOTICES)
    subjects = [fields.get(b"subject", b"").decode() for _, fields in notices]
    strays = [one.removeprefix(BATCH_SUBJECT) for one in subjects if one.startswith(BATCH_SUBJECT)]
    if not strays:
        return []
    message = f"{_batches(len(strays))} found at the provider that nobody knew: {_named(strays)}"
    return [warning("batches.unknown", message, _STRAY, batches=len(strays))]


def _batches(count: int) -> str:
    return "1 batch is" if count == 1 else f"{count} batches are"


def _named(ids: Sequence[str]) -> str:
    return ", ".join(ids[:_MOST_NAMED]) + (", …" if len(ids) > _MOST_NAMED else "")


def _verdict(key: str, model: str, api: str, known: BatchSupport) -> Finding:
    if api == FLEX:
        return _flex_verdict(key, model, known)
    check, of = "batches.verdict", {"key": key, "model": model, "api": api}
    if not known.works:
        message = f"the provider takes no batches of {model} ({known.reason}): it goes online"
        return warning(check, message, _ONLINE, works=False, **of)
    took = [round(seconds / 60) for seconds in known.took]
    span = f"; the last {len(took)} took {min(took)} to {max(took)} minutes" if took else ""
    return ok(check, f"the provider takes batches of {model}{span}", works=True, **of)


def _flex_verdict(key: str, model: str, known: BatchSupport) -> Finding:
    check, of = "flex.verdict", {"key": key, "model": model}
    if known.works:
        return ok(check, f"the provider serves {model} at flex", works=True, **of)
    message = f"the provider does not serve {model} at flex ({known.reason})"
    return warning(check, message, _ONLINE, works=False, **of)
