"""The jobs of a tenant, found in the ledger's own lists."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from visionq.contract import TERMINAL, JobView, State
from visionq.ledger.views import ask_for_view, read_view
from visionq.names import DUE, FINISHED, LANE, LANE_SIZES, PARKED

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from redis.asyncio import Redis

#: Entries of each list that are looked at: they are those of all tenants together.
MOST_LOOKED_AT: Final = 5_000
_AT_ONCE: Final = 500


async def list_jobs(redis: Redis, tenant: str, state: State | None, limit: int) -> list[JobView]:
    """Return jobs of the tenant: those under way first, then those that ended, the latest first."""
    found: dict[str, JobView] = {}
    async for ids in _candidates(redis, tenant, state):
        for view in await _views(redis, [one for one in ids if one not in found]):
            if view.tenant == tenant and state in {None, view.state}:
                found[view.id] = view
        if len(found) >= limit:
            break
    return list(found.values())[:limit]


async def _candidates(redis: Redis, tenant: str, state: State | None) -> AsyncIterator[list[str]]:
    if state is None or state not in TERMINAL:
        async for ids in _pieces(redis, DUE, newest_first=False):
            yield ids
        async for ids in _pieces(redis, PARKED, newest_first=False):
            yield ids
        for lane in _decoded(await redis.hkeys(LANE_SIZES)):
            if lane.split(":")[1] == tenant:
                yield _decoded(await redis.lrange(LANE + lane, 0, _AT_ONCE - 1))
    if state is None or state in TERMINAL:
        async for ids in _pieces(redis, FINISHED, newest_first=True):
            yield ids


async def _pieces(redis: Redis, name: str, *, newest_first: bool) -> AsyncIterator[list[str]]:
    for first in range(0, MOST_LOOKED_AT, _AT_ONCE):
        ids = await redis.zrange(name, first, first + _AT_ONCE - 1, desc=newest_first)
        if not ids:
            return
        yield _decoded(ids)


async def _views(redis: Redis, job_ids: list[str]) -> list[JobView]:
    async with redis.pipeline(transaction=False) as pipeline:
        for job_id in job_ids:
            ask_for_view(pipeline, job_id)
        replies = await pipeline.execute()
    pairs = zip(job_ids, replies[::2], replies[1::2], strict=True)
    return [view for job_id, fields, due in pairs if (view := read_view(job_id, fields, due))]


def _decoded(ids: Any) -> list[str]:  # noqa: ANN401  # what redis-py returns
    return [one.decode() for one in ids]
