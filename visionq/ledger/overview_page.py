"""The overview's reads from Redis, in round trips of bounded size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from visionq.contract import State
from visionq.names import (
    COUNTS,
    DUE,
    EVENTS,
    JOB,
    LANE,
    LANE_SIZES,
    PARKED,
    POOL_BUSY,
    POOL_SLOTS,
    WORKER,
    WORKERS,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from redis import Redis

#: Most jobs, lanes, workers and events of which one page looks at each.
MOST_JOBS: Final = 1000
MOST_LANES: Final = 1000
MOST_WORKERS: Final = 1000
MOST_EVENTS: Final = 2000
#: The first of a lane may have ended there, so the oldest is looked for among a few.
_HEADS: Final = 3


class Event(NamedTuple):
    """A change of a job's state, at a time in seconds."""

    moment: float
    state: str
    #: Whether the job ended in the batch lane.
    of_batch: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """The decoded replies of the first round trips."""

    now: float
    counts: Mapping[str, int]
    slots: Mapping[str, int]
    busy: Mapping[str, int]
    lane_sizes: Mapping[str, int]
    lane_count: int
    #: The latest events, newest first.
    events: Sequence[Event]
    due: Sequence[str]
    parked: Sequence[str]
    #: (id, when its registration lapses in seconds, slots, pool, facts, when it was seen in ms).
    workers: Sequence[tuple[str, float, list[str | None]]]


def read_page(redis: Redis) -> Page:
    """Read everything except single jobs, in two round trips."""
    with redis.pipeline(transaction=False) as pipeline:
        pipeline.time()
        for key in (COUNTS, POOL_SLOTS, POOL_BUSY):
            pipeline.hgetall(key)
        pipeline.hscan(LANE_SIZES, count=MOST_LANES)
        pipeline.hlen(LANE_SIZES)
        pipeline.xrevrange(EVENTS, count=MOST_EVENTS)
        pipeline.zrange(DUE, 0, MOST_JOBS - 1)
        pipeline.zrevrange(PARKED, 0, MOST_JOBS - 1)
        pipeline.zrange(WORKERS, 0, MOST_WORKERS - 1, withscores=True)
        (seconds, micros), counts, slots, busy, scanned, lane_count, *lists = pipeline.execute()
    events, due, parked, workers = lists
    with redis.pipeline(transaction=False) as pipeline:
        for worker, _ in workers:
            pipeline.hmget(WORKER + worker.decode(), "slots", "pool", "facts", "seen")
        registrations = pipeline.execute()
    return Page(
        now=seconds + micros / 1e6,
        counts=_numbers(counts),
        slots=_numbers(slots),
        busy=_numbers(busy),
        lane_sizes=_numbers(scanned[1]),
        lane_count=lane_count,
        events=[
            Event(_seconds(event_id), fields.get(b"state", b"").decode(), b"lane" in fields)
            for event_id, fields in events
        ],
        due=[job_id.decode() for job_id in due],
        parked=[job_id.decode() for job_id in parked],
        workers=[
            (worker.decode(), float(lapses) / 1000, _texts(fields))
            for (worker, lapses), fields in zip(workers, registrations, strict=True)
        ],
    )


def _seconds(event_id: bytes) -> float:
    return int(event_id.split(b"-")[0]) / 1000


def _numbers(reply: Mapping[bytes, bytes]) -> dict[str, int]:
    return {name.decode(): max(0, int(number)) for name, number in reply.items()}


def _texts(values: Iterable[bytes | None]) -> list[str | None]:
    return [None if value is None else value.decode() for value in values]


def read_jobs(redis: Redis, job_ids: Sequence[str]) -> list[list[str | None]]:
    """Return state, reason and worker of each job."""
    with redis.pipeline(transaction=False) as pipeline:
        for job_id in job_ids:
            pipeline.hmget(JOB + job_id, "state", "reason", "worker")
        return [_texts(values) for values in pipeline.execute()]


def oldest_of(redis: Redis, lanes: Sequence[str]) -> list[float | None]:
    """Return for each lane the submission time of its oldest first job, in seconds."""
    with redis.pipeline(transaction=False) as pipeline:
        for lane in lanes:
            pipeline.lrange(LANE + lane, 0, _HEADS - 1)
        heads = [[job_id.decode() for job_id in ids] for ids in pipeline.execute()]
        pairs = [(lane, job_id) for lane, ids in zip(lanes, heads, strict=True) for job_id in ids]
        for _, job_id in pairs:
            pipeline.hmget(JOB + job_id, "state", "lane", "submitted")
        replies = pipeline.execute()
    oldest: dict[str, float] = {}
    for (lane, _), values in zip(pairs, replies, strict=True):
        state, its_lane, submitted = _texts(values)
        if state == State.QUEUED and its_lane == lane and submitted:
            moment = float(submitted) / 1000
            oldest[lane] = min(moment, oldest.get(lane, moment))
    return [oldest.get(lane) for lane in lanes]
