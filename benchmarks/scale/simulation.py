"""A queueing simulation of a fleet, at the measured cost of each component.

Redis holds a backlog. A process takes a job when it has a free thread and the shared rate limit
grants a permit; it prepares one picture at a time; Redis serves one command at a time; the provider
answers after its latency, and refuses calls beyond its limit with 429.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from benchmarks.scale.events import Clock, Cores, Process

if TYPE_CHECKING:
    from collections.abc import Callable

#: Seconds until a fleet that starts all at once reaches a steady state.
_WARMING: Final = 15.0


@dataclass(frozen=True)
class Costs:
    """CPU seconds per job, and the shape of the fleet."""

    #: Worker: picture, request, answer, and everything else.
    worker: float = 0.060
    #: Share of it that follows the answer.
    worker_after: float = 0.2
    #: Redis: dispatch, hint, claim, reads, admit, finish, events.
    redis: float = 0.0013
    #: Sequential round trips to Redis per job, before and after the call.
    trips_before: int = 4
    trips_after: int = 2
    #: The simulated provider on this machine; a real one costs nothing here.
    provider: float = 0.0
    latency: float = 1.0
    #: Threads per process.
    threads: int = 64
    #: Most seconds from the moment of the permit to the call.
    jitter: float = 0.02
    #: Cores shared by all processes, Redis and provider included; None: a core for each.
    cores: int | None = None


@dataclass(frozen=True)
class FleetFigures:
    """Figures of a simulated fleet."""

    jobs_per_second: float
    #: Percent of the time.
    redis_busy: float
    workers_busy: float
    #: Wait of a command for Redis in milliseconds, 99th percentile.
    redis_wait: float
    #: Percent of calls.
    refused: float


class SimulatedFleet:
    """One run of the simulation."""

    def __init__(self, workers: int, limit_per_minute: float, costs: Costs, seed: int = 1) -> None:
        self._costs = costs
        self._random = random.Random(seed)  # noqa: S311  # not for secrets
        self._interval = 60 / limit_per_minute if limit_per_minute else 0.0
        self._next_permit = 0.0
        self._allowance, self._allowed_at = 1.0, 0.0
        self._limit = limit_per_minute / 60
        self.clock = Clock()
        shared = Cores(self.clock, costs.cores) if costs.cores else None
        self.redis, self._provider = self._process(shared), self._process(shared)
        self.workers = [self._process(shared) for _ in range(workers)]
        self.done = self.refused = self.calls = 0
        for worker in self.workers:
            for _ in range(costs.threads):
                self.clock.at(self._random.random(), partial(self._take, worker))

    def _process(self, shared: Cores | None) -> Process:
        return Process(self.clock, shared or Cores(self.clock, 1))

    def _take(self, worker: Process) -> None:
        # A job is claimed with its permit, so that no more is claimed than can soon be called.
        permit = max(self.clock.now, self._next_permit)
        self._next_permit = permit + self._interval
        self.clock.at(permit - 1.0, lambda: self._claim(worker, permit))

    def _claim(self, worker: Process, permit: float) -> None:
        own = self._costs.worker * (1 - self._costs.worker_after)
        late = self._random.random() * self._costs.jitter

        def prepared() -> None:
            self.clock.at(max(self.clock.now, permit) + late, lambda: self._call(worker))

        self._trips(self._costs.trips_before, lambda: worker.do(own, prepared))

    def _call(self, worker: Process) -> None:
        self.calls += 1
        if self._limit and not self._allowed():
            self.refused += 1
            self.clock.at(self.clock.now + 1 / self._limit, lambda: self._call(worker))
            return
        answer = self.clock.now + self._costs.latency
        self._provider.do(
            self._costs.provider, lambda: self.clock.at(answer, lambda: self._answered(worker))
        )

    def _allowed(self) -> bool:
        """Take a token from the provider's bucket, which holds one second's worth."""
        grown = self._allowance + (self.clock.now - self._allowed_at) * self._limit
        self._allowance, self._allowed_at = min(self._limit, grown), self.clock.now
        if self._allowance < 1:
            return False
        self._allowance -= 1
        return True

    def _answered(self, worker: Process) -> None:
        def finished() -> None:
            self.done += 1
            self._take(worker)

        own = self._costs.worker * self._costs.worker_after
        worker.do(own, lambda: self._trips(self._costs.trips_after, finished))

    def _trips(self, count: int, then: Callable[[], None]) -> None:
        """Make `count` sequential round trips to Redis."""
        if not count:
            then()
            return
        share = self._costs.redis / (self._costs.trips_before + self._costs.trips_after)
        self.redis.do(share, lambda: self._trips(count - 1, then))


def simulate(
    workers: int, limit_per_minute: float, costs: Costs, seconds: float = 20.0
) -> FleetFigures:
    """Simulate an endless backlog; return the figures of the steady state."""
    fleet = SimulatedFleet(workers, limit_per_minute, costs)
    fleet.clock.run(_WARMING)
    done, redis = fleet.done, fleet.redis.busy
    used = sum(worker.busy for worker in fleet.workers)
    fleet.redis.waits.clear()
    fleet.clock.run(_WARMING + seconds)
    waits = sorted(fleet.redis.waits)
    used = sum(worker.busy for worker in fleet.workers) - used
    return FleetFigures(
        jobs_per_second=(fleet.done - done) / seconds,
        redis_busy=(fleet.redis.busy - redis) / seconds * 100,
        workers_busy=used / workers / seconds * 100,
        redis_wait=waits[int(len(waits) * 0.99)] * 1000 if waits else 0.0,
        refused=fleet.refused * 100 / max(1, fleet.calls),
    )
