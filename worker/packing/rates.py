"""Estimate the rate of the online lane from the fleet's counters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from visionq.ledger.metrics import CALL_SECONDS
from visionq.ledger.rate_limits import read_rate_limits
from visionq.names import HINT_QUEUES, LANE_SIZES, POOL_SLOTS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from redis import Redis

    from visionq.ledger.metrics import Counters

#: Seconds that a call takes of which nothing is known.
_CALL_SECONDS: Final = 15.0
_MINUTE: Final = 60.0


def answers_a_second(redis: Redis, model: str, counters: Counters) -> float:
    """Return answers a second that the online lane gives of a model."""
    counts, total = counters.sizes(CALL_SECONDS).get((model,), ([0], 0.0))
    calls = sum(counts)
    seconds = max(total / calls, 0.01) if calls else _CALL_SECONDS
    rate = max(1, read_slots(redis)) / seconds
    limits = (one for one in read_rate_limits(redis, [model]) if one.model == model)
    per_minute = next((one.requests_per_minute for one in limits), None)
    return rate if per_minute is None else min(rate, per_minute / _MINUTE)


def read_slots(redis: Redis) -> int:
    """Return the slots of live workers that take jobs."""
    stored: Any = redis.hgetall(POOL_SLOTS)
    pools: Mapping[bytes, bytes] = stored
    return sum(
        int(slots)
        for pool, slots in pools.items()
        if set(pool.decode().partition("@")[0].split(",")) & set(HINT_QUEUES)
    )


def jobs_ahead(redis: Redis, model: str) -> int:
    """Return the jobs that are queued in the model's online lanes."""
    stored: Any = redis.hgetall(LANE_SIZES)
    sizes: Mapping[bytes, bytes] = stored
    lanes = ((name.decode().split(":", 2), int(jobs)) for name, jobs in sizes.items())
    return sum(jobs for (queue, _, of), jobs in lanes if queue in HINT_QUEUES and of == model)
