"""The jobs of a tenant, found in the ledger's lists of that tenant."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from visionq.contract import TERMINAL, JobView, State
from visionq.ledger.scripts import MOST_PER_SCRIPT
from visionq.ledger.views import ask_for_view, read_view, states_of
from visionq.names import TENANT_FINISHED, TENANT_JOBS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis import Redis

#: Entries of each list that are looked at for jobs in one state.
MOST_LOOKED_AT: Final = 5_000


def list_jobs(redis: Redis, tenant: str, state: State | None, limit: int) -> list[JobView]:
    """Return jobs of the tenant: those under way first, then those that ended, the latest first."""
    found: list[JobView] = []
    at_once = min(limit, MOST_PER_SCRIPT) if state is None else MOST_PER_SCRIPT
    for ids in _candidates(redis, tenant, state, at_once):
        wanted = ids if state is None else _in_state(redis, ids, state)
        # An id may have come back as a job of another tenant, when the first was forgotten.
        own = (view for view in _views(redis, wanted) if view.tenant == tenant)
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


def _views(redis: Redis, job_ids: list[str]) -> list[JobView]:
    if not job_ids:
        return []
    with redis.pipeline(transaction=False) as pipeline:
        for job_id in job_ids:
            ask_for_view(pipeline, job_id)
        replies = pipeline.execute()
    pairs = zip(job_ids, replies[::2], replies[1::2], strict=True)
    return [view for job_id, fields, due in pairs if (view := read_view(job_id, fields, due))]
