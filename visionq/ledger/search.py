"""Find jobs by their properties, page by page, as far as the caller reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from visionq.contract import TERMINAL, State
from visionq.ledger.views import job_views
from visionq.names import DUE, FAILED, FINISHED, LANE, LANE_SIZES, PARKED

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from redis import Redis

    from visionq.contract import JobView

#: Jobs looked at in one round trip.
_PAGE: Final = 500
_UNDER_WAY: Final = frozenset({State.IN_PROGRESS, State.WAITING, State.QUEUED})


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Criteria of a search; None matches everything."""

    state: State | None = None
    #: Of a failure, or why a job waits or is parked.
    code: str | None = None
    tenant: str | None = None
    batch: str | None = None
    #: When it ended, else when it was submitted.
    since: datetime | None = None
    until: datetime | None = None

    def takes(self, view: JobView) -> bool:
        """Return whether a job matches."""
        moment = view.finished_at or view.submitted_at
        return (
            self.state in (None, view.state)
            and self.code in (None, view.error.code if view.error else view.reason)
            and self.tenant in (None, view.tenant)
            and self.batch in (None, view.batch_id)
            and (self.since is None or moment >= self.since)
            and (self.until is None or moment < self.until)
        )


def find_jobs(redis: Redis, wanted: JobFilter) -> Iterator[JobView]:
    """Yield matching jobs: active, then parked, then ended, newest first.

    Jobs move while they are looked at, so one may be missed; none appears twice.
    """
    known: set[str] = set()
    for ids in _candidates(redis, wanted):
        new = [job_id for job_id in dict.fromkeys(ids) if job_id not in known]
        for view in job_views(redis, new) if new else ():
            if view is not None and wanted.takes(view):
                known.add(view.id)
                yield view


def _candidates(redis: Redis, wanted: JobFilter) -> Iterator[list[str]]:
    state = wanted.state
    if state is None or state in _UNDER_WAY:
        yield from _by_rank(redis, DUE)
    if state in (None, State.QUEUED, State.PARKED):  # a closed gate parks what is queued
        yield from _queued(redis)
    if state in (None, State.PARKED):
        yield from _by_rank(redis, PARKED)
    if state is None or state in TERMINAL:
        yield from _ended(redis, FAILED if state is State.FAILED else FINISHED, wanted)


def _by_rank(redis: Redis, key: str) -> Iterator[list[str]]:
    start = 0
    while page := redis.zrange(key, start, start + _PAGE - 1):
        yield _decoded(page)
        start += _PAGE


def _queued(redis: Redis) -> Iterator[list[str]]:
    for lane in _decoded(redis.hkeys(LANE_SIZES)):
        start = 0
        while page := redis.lrange(LANE + lane, start, start + _PAGE - 1):
            yield _decoded(page)
            start += _PAGE


def _ended(redis: Redis, key: str, wanted: JobFilter) -> Iterator[list[str]]:
    first = "-inf" if wanted.since is None else _milliseconds(wanted.since)
    last = "+inf" if wanted.until is None else f"({_milliseconds(wanted.until)}"
    start = 0
    while page := redis.zrevrangebyscore(key, last, first, start, _PAGE):
        yield _decoded(page)
        start += _PAGE


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def _decoded(ids: Any) -> list[str]:  # noqa: ANN401  # what redis-py returns: bytes
    return [job_id.decode() for job_id in ids]
