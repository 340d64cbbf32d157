"""Jobs of the batch lane that are needed by a time: which have to be asked online now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import structlog

from visionq.ledger.metrics import CALL_SECONDS, read_counters
from visionq.ledger.provider_batches import (
    jobs_with_deadlines,
    lines_of_jobs,
    models_with_deadlines,
    needed_by,
    reroute,
    stop,
)
from visionq.ledger.rate_limits import read_rate_limits
from visionq.names import HINT_QUEUES, LANE_SIZES, POOL_SLOTS
from worker.packing.timing import Needed, Timing, due_online

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from redis import Redis

    from visionq.ledger import Ledger
    from visionq.ledger.metrics import Counters

log = structlog.get_logger(__name__)

#: Seconds that a call takes of which nothing is known.
_CALL_SECONDS: Final = 15.0
_MINUTE: Final = 60.0
#: Jobs that one call of a script touches.
_AT_ONCE: Final = 500


@dataclass(frozen=True)
class Deadlines:
    """Keeps the promise of `by`, as long as the online lane can."""

    ledger: Ledger
    clock: Callable[[], float]
    #: Seconds that stopping a batch may take, until its lines are back.
    stopping: float
    #: Seconds that a batch is taken to need until one has shown it.
    guess: float

    def keep(self, took: Callable[[str], tuple[float, ...]]) -> None:
        """Send what can wait no longer online; stop the batches that hold it.

        `took`: how long batches of a model took, in seconds.
        """
        models = models_with_deadlines(self.ledger.redis)
        counters = read_counters(self.ledger.redis) if models else None
        for model in models:
            jobs = jobs_with_deadlines(self.ledger.redis, model)
            if jobs and counters is not None:
                timing = self._timing(model, counters, took(model))
                self._keep(model, jobs, timing)

    def _keep(self, model: str, jobs: int, timing: Timing) -> None:
        now = self.clock()
        # One that is queued waits only while a batch may come back in time.
        lead = timing.stopping + timing.batch_seconds
        horizon = now + lead + timing.online_seconds(jobs)
        needed = [Needed(*one) for one in needed_by(self.ledger.redis, model, horizon)]
        queued = needed[: due_online(needed, now, timing, lead)]
        stopped = due_online(needed, now, timing, timing.stopping)
        lines = lines_of_jobs(self.ledger.redis, [one.job for one in queued])
        waiting = [one.job for one in queued if one.job not in lines]
        went = sum(
            self.ledger.make(reroute(waiting[start : start + _AT_ONCE]))
            for start in range(0, len(waiting), _AT_ONCE)
        )
        held = {lines[one.job] for one in needed[:stopped] if one.job in lines}
        for batch in held:
            self.ledger.make(stop(batch))
        if went or held:
            log.info("deadlines.online", model=model, jobs=went, batches_stopped=len(held))

    def _timing(self, model: str, counters: Counters, took: tuple[float, ...]) -> Timing:
        return Timing(
            rate=_rate(self.ledger.redis, model, counters),
            ahead=_ahead(self.ledger.redis, model),
            stopping=self.stopping,
            took=took,
            guess=self.guess,
        )


def _rate(redis: Redis, model: str, counters: Counters) -> float:
    """Return answers a second that the online lane gives of a model."""
    counts, total = counters.sizes(CALL_SECONDS).get((model,), ([0], 0.0))
    calls = sum(counts)
    seconds = max(total / calls, 0.01) if calls else _CALL_SECONDS
    rate = max(1, _slots(redis)) / seconds
    limits = (one for one in read_rate_limits(redis, [model]) if one.model == model)
    per_minute = next((one.requests_per_minute for one in limits), None)
    return rate if per_minute is None else min(rate, per_minute / _MINUTE)


def _slots(redis: Redis) -> int:
    stored: Any = redis.hgetall(POOL_SLOTS)
    pools: Mapping[bytes, bytes] = stored
    return sum(
        int(slots)
        for pool, slots in pools.items()
        if set(pool.decode().partition("@")[0].split(",")) & set(HINT_QUEUES)
    )


def _ahead(redis: Redis, model: str) -> int:
    """Return the jobs that are queued in the model's online lanes."""
    stored: Any = redis.hgetall(LANE_SIZES)
    sizes: Mapping[bytes, bytes] = stored
    lanes = ((name.decode().split(":", 2), int(jobs)) for name, jobs in sizes.items())
    return sum(jobs for (queue, _, of), jobs in lanes if queue in HINT_QUEUES and of == model)
