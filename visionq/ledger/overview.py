"""The overview of a ledger. Reading it takes the same time for any backlog.

Totals come from the ledger's own counters. Where single jobs are looked at, for the reasons of
those that wait, at most `MOST_JOBS` of a kind are, and the page says how many were.
"""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from pydantic import AwareDatetime

from visionq.contract import HINTED as HINTED_STATE
from visionq.contract import DelayReason, Spend, State
from visionq.contract.base import Document
from visionq.contract.result import ProviderBatchView
from visionq.ledger.gates import Gate, read_gate
from visionq.ledger.overview_page import (
    MOST_EVENTS,
    MOST_JOBS,
    MOST_LANES,
    oldest_of,
    read_jobs,
    read_page,
)
from visionq.ledger.provider_batches import open_views
from visionq.ledger.rate_limits import RateLimitStatus, read_rate_limits
from visionq.ledger.tenant_waste import TenantWaste, read_waste
from visionq.ledger.views import spend
from visionq.names import QUEUE_BATCH
from visionq.pricing.money import day_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from redis import Redis

    from visionq.ledger.overview_page import Event, Page

#: Seconds of which the rate is taken, or the latest events if these seconds hold too many.
RATE_WINDOW: Final = 300.0
#: The rate of fewer jobs is taken over a minute at least; with fewer there is no rate.
_ENOUGH: Final = 10
_MINUTE: Final = 60.0
#: Seconds between two ends after which there was nothing to do.
_PAUSE: Final = 10.0


class LaneView(Document):
    """The backlog of one (queue, tenant, model)."""

    queue: str
    tenant: str
    model: str
    queued: int
    #: When its first job was submitted; None if that one has ended and left no trace.
    oldest_submitted_at: AwareDatetime | None = None


class HeldScopes(Document):
    """Jobs that can't proceed now, and why."""

    jobs: int
    #: Reason → jobs, the most frequent first.
    reasons: dict[str, int]
    #: Jobs whose reason was looked at; where it is less than `jobs`, there were too many.
    counted: int


class Rate(Document):
    """Jobs that completed or failed recently."""

    per_minute: float
    ended: int
    over_seconds: float


class WorkerView(Document):
    """A registered worker process."""

    id: str
    host: str
    pid: int | None
    queues: tuple[str, ...]
    slots: int
    #: Jobs that it works on; None where too many jobs would have to be looked at.
    busy: int | None
    started_at: AwareDatetime | None
    seen_at: AwareDatetime | None
    #: Whether it gave a sign of life within the time of its registration.
    alive: bool


class Overview(Document):
    """The overview of a ledger."""

    #: By the clock of Redis.
    at: AwareDatetime
    queued: int
    #: Taken from their lanes, and on their way to a worker.
    hinted: int
    running: int
    waiting: HeldScopes
    parked: HeldScopes
    completed: int
    failed: int
    cancelled: int
    oldest_submitted_at: AwareDatetime | None
    #: The largest backlog first.
    lanes: tuple[LaneView, ...]
    #: How many there are; `lanes` holds at most about a thousand.
    lane_count: int
    rate: Rate
    #: Online jobs a minute while there was work, by the latest; None if too few have ended.
    pace_per_minute: float | None = None
    #: Until all but the parked jobs and those of batches have ended, at that rate; None without
    #: one, or behind a gate.
    eta_seconds: float | None
    slots: int
    busy: int
    workers: tuple[WorkerView, ...]
    gate: Gate
    #: Of the models that are queued for or have limits set: those that something limits.
    paces: tuple[RateLimitStatus, ...] = ()
    #: Tenants that are stopped because too many of their paid answers failed.
    stopped: tuple[TenantWaste, ...] = ()
    #: Batches at the provider, or on their way there, the oldest first.
    batches: tuple[ProviderBatchView, ...] = ()
    #: Jobs that wait for the next one.
    unbatched: int = 0
    #: Of all jobs ever.
    spend: Spend


def overview(redis: Redis, time_zone: str = "Europe/Moscow") -> Overview:
    """Read the overview, in a few round trips of bounded size."""
    page = read_page(redis)
    jobs = read_jobs(redis, [*page.due, *page.parked])
    due, parked = jobs[: len(page.due)], jobs[len(page.due) :]
    counts, now = page.counts, page.now
    lanes = _lanes(redis, page.lane_sizes)
    oldest = min(
        (one.oldest_submitted_at for one in lanes if one.oldest_submitted_at), default=None
    )
    gate = read_gate(redis)
    rate_limit = pace_of(page.events, now, _at_work_since(oldest, gate))
    batches, lines = open_views(redis)
    unbatched = sum(one.queued for one in lanes if one.queue.startswith(QUEUE_BATCH))
    unfinished = sum(
        counts.get(state, 0)
        for state in (State.QUEUED, HINTED_STATE, State.IN_PROGRESS, State.WAITING)
    )
    online = max(0, unfinished - lines - unbatched)
    return Overview(
        at=datetime.fromtimestamp(now, UTC),
        queued=counts.get(State.QUEUED, 0),
        hinted=counts.get(HINTED_STATE, 0),
        running=counts.get(State.IN_PROGRESS, 0),
        waiting=_held(State.WAITING, counts, due, {DelayReason.BATCH: lines}),
        parked=_held(State.PARKED, counts, parked),
        completed=counts.get(State.COMPLETED, 0),
        failed=counts.get(State.FAILED, 0),
        cancelled=counts.get(State.CANCELLED, 0),
        oldest_submitted_at=oldest,
        lanes=lanes,
        lane_count=page.lane_count,
        rate=rate_of(page.events, now),
        pace_per_minute=rate_limit,
        eta_seconds=eta_of(online, None if gate.state == "closed" else rate_limit),
        slots=sum(page.slots.values()),
        busy=sum(page.busy.values()),
        workers=_workers(page, due),
        gate=gate,
        paces=read_rate_limits(redis, {lane.model for lane in lanes}),
        stopped=tuple(one for one in read_waste(redis) if one.stopped),
        batches=batches,
        unbatched=unbatched,
        spend=spend(redis, day_of(now, time_zone)),
    )


def rate_of(events: Sequence[Event], now: float) -> Rate:
    """Return the rate from the latest events, newest first.

    The window begins at the first job that ended in it, so that a rate is true soon after a start.
    """
    ended = [one.moment for one in events if _is_recent_end(one, now)]
    begin = min(ended, default=now)
    if len(ended) < _ENOUGH:
        begin = min(begin, now - _MINUTE)
    begin = max(begin, _seen_since(events))
    seconds = max(now - begin, 0.001)
    return Rate(
        per_minute=round(len(ended) * 60 / seconds, 2),
        ended=len(ended),
        over_seconds=round(seconds, 3),
    )


def _is_recent_end(event: Event, now: float) -> bool:
    return event.state in {State.COMPLETED, State.FAILED} and event.moment > now - RATE_WINDOW


def _seen_since(events: Sequence[Event]) -> float:
    """Return since when these are all events; more may be there than are read."""
    return events[-1].moment if len(events) >= MOST_EVENTS else 0.0


def pace_of(events: Sequence[Event], now: float, at_work_since: float | None) -> float | None:
    """Return how many jobs end online per minute while there is work, or None.

    Idle time does not count: where no job waits, the time since the last end, and before that
    anything beyond a pause. `at_work_since`: since when jobs have been waiting all the time.
    """
    ended = [one.moment for one in events if _is_recent_end(one, now) and not one.of_batch]
    if not ended:
        return None
    # Between two ends one job has ended; between an end and now none has.
    last = ended[0] if at_work_since is None else now
    begin, count = last, 0
    for moment in ended:
        if begin - moment > _PAUSE and (at_work_since is None or moment < at_work_since):
            break
        begin, count = moment, count + 1
    if at_work_since is not None and at_work_since < begin:
        begin = min(begin, max(at_work_since, now - RATE_WINDOW, _seen_since(events)))
    elif count:
        count -= 1  # the first end only tells when the others began
    if count < _ENOUGH or last <= begin:
        return None
    return round(count * 60 / (last - begin), 2)


def _at_work_since(oldest: datetime | None, gate: Gate) -> float | None:
    """Return since when jobs have waited behind an open gate; None if none waits."""
    if oldest is None or gate.state == "closed":
        return None
    since = oldest if gate.since is None else max(oldest, gate.since)
    return since.timestamp()


def eta_of(unfinished: int, per_minute: float | None) -> float | None:
    """Return the seconds until these jobs end at this rate; None if unknown."""
    if unfinished == 0:
        return 0.0
    return round(unfinished * 60 / per_minute, 1) if per_minute else None


def _held(
    state: State,
    counts: Mapping[str, int],
    jobs: Iterable[Sequence[str | None]],
    counted_apart: Mapping[str, int] | None = None,
) -> HeldScopes:
    reasons = Counter(reason or "" for its_state, reason, _ in jobs if its_state == state)
    for reason, count in (counted_apart or {}).items():
        reasons[reason] = min(count, max(0, counts.get(state, 0) - reasons.total()))
    reasons += Counter()  # without those that nobody waits for
    # Jobs may have come since the counter was read.
    total = max(counts.get(state, 0), reasons.total())
    return HeldScopes(jobs=total, reasons=dict(reasons.most_common()), counted=reasons.total())


def _workers(page: Page, due: Sequence[Sequence[str | None]]) -> tuple[WorkerView, ...]:
    """Return the workers, and from the leases, if all were read, which are busy."""
    busy = Counter(worker for state, _, worker in due if state == State.IN_PROGRESS)
    all_leases = len(page.due) < MOST_JOBS
    found = []
    for worker, lapses, (slots, pool, facts, seen) in page.workers:
        told: dict[str, Any] = json.loads(facts or "{}")
        found.append(
            WorkerView(
                id=worker,
                host=str(told.get("host", "")),
                pid=told.get("pid"),
                # A pool is its queues, and after `@` the id of the key.
                queues=tuple(queue for queue in (pool or "").partition("@")[0].split(",") if queue),
                slots=int(slots or 0),
                busy=busy[worker] if all_leases else None,
                started_at=_moment(told.get("started")),
                seen_at=_moment(int(seen) / 1000 if seen else None),
                alive=lapses > page.now,
            )
        )
    return tuple(sorted(found, key=lambda view: (view.host, view.pid or 0, view.id)))


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def _lanes(redis: Redis, sizes: Mapping[str, int]) -> tuple[LaneView, ...]:
    largest = sorted(sizes, key=lambda lane: (-sizes[lane], lane))[:MOST_LANES]
    return tuple(
        LaneView(
            **dict(zip(("queue", "tenant", "model"), lane.split(":", 2), strict=True)),
            queued=sizes[lane],
            oldest_submitted_at=_moment(submitted),
        )
        for lane, submitted in zip(largest, oldest_of(redis, largest), strict=True)
    )
