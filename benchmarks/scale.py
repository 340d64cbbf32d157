"""A fleet past one machine, simulated: what each part costs was measured, the rest is arithmetic.

Discrete events on a heap. A backlog stands in Redis; a process takes a job when it has a thread
free and the shared pace gives a permit; the core of its machine prepares the picture, one at a
time; Redis, which does one thing at a time, serves each command; the provider answers after its
latency, and refuses with 429 what comes beyond its limit.
"""

from __future__ import annotations

import heapq
import random
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from benchmarks.tables import Table

if TYPE_CHECKING:
    from collections.abc import Callable

#: Seconds until a fleet that starts all at once has found its rhythm.
_WARMING: Final = 15.0
_COLUMNS: Final = (
    "worker processes", "limit a minute", "latency s", "jobs/s", "bound by", "Redis busy %",
    "workers' cores busy %", "wait for Redis p99 ms", "calls answered 429 %",
)  # fmt: skip


@dataclass(frozen=True)
class Costs:
    """Seconds of one processor for a job, and the fleet's shape."""

    #: Of a worker's core: picture and everything else.
    worker: float = 0.060
    #: Of Redis: dispatch, hint, claim, reads, admit, finish, events.
    redis: float = 0.0013
    #: Parts that Redis serves one after the other for each job: some before the call, some after.
    trips_before: int = 4
    trips_after: int = 2
    latency: float = 1.0
    threads: int = 64
    #: A permit is given for the moment of the call; the way there takes so long at most.
    jitter: float = 0.02


@dataclass
class _Server:
    """Serves one at a time."""

    free_at: float = 0.0
    busy: float = 0.0
    waits: list[float] = field(default_factory=list)

    def serve(self, now: float, seconds: float) -> float:
        """Return when it is done with what comes now."""
        start = max(now, self.free_at)
        self.waits.append(start - now)
        self.free_at = start + seconds
        self.busy += seconds
        return self.free_at


class Fleet:
    """One run of the simulation."""

    def __init__(self, workers: int, limit_per_minute: float, costs: Costs, seed: int = 1) -> None:
        self._costs = costs
        self._random = random.Random(seed)  # noqa: S311  # no secret
        self._interval = 60 / limit_per_minute if limit_per_minute else 0.0
        self._next_permit = 0.0
        self._allowance, self._allowed_at = 1.0, 0.0
        self._limit = limit_per_minute / 60
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._number = 0
        self.redis = _Server()
        self.cores = [_Server() for _ in range(workers)]
        self.done = self.refused = self.calls = 0

        for core in self.cores:
            for _ in range(costs.threads):
                self._at(self._random.random(), self._take(core))

    def run(self, seconds: float) -> None:
        """Work through an endless backlog until then."""
        while self._events and self._events[0][0] < seconds:
            moment, _, act = heapq.heappop(self._events)
            act(moment)

    def _at(self, moment: float, act: Callable[[float], None]) -> None:
        self._number += 1
        heapq.heappush(self._events, (moment, self._number, act))

    def _take(self, core: _Server) -> Callable[[float], None]:
        def take(now: float) -> None:
            # No more is taken of a model than it will soon be asked: a permit comes with the job.
            permit = max(now, self._next_permit)
            self._next_permit = permit + self._interval
            soon = max(now, permit - 1.0)
            self._at(soon, lambda moment: self._prepare(moment, core, permit))

        return take

    def _prepare(self, now: float, core: _Server, permit: float) -> None:
        share = self._costs.redis / (self._costs.trips_before + self._costs.trips_after)
        said = self.redis.serve(now, share * self._costs.trips_before)
        self._at(said, lambda moment: self._decode(moment, core, permit))

    def _decode(self, now: float, core: _Server, permit: float) -> None:
        ready = core.serve(now, self._costs.worker)
        late = self._random.random() * self._costs.jitter
        self._at(max(ready, permit) + late, lambda moment: self._call(moment, core))

    def _call(self, now: float, core: _Server) -> None:
        self.calls += 1
        if self._limit and not self._allowed(now):
            self.refused += 1
            self._at(now + 1 / self._limit, lambda moment: self._call(moment, core))
            return
        self._at(now + self._costs.latency, lambda moment: self._finish(moment, core))

    def _allowed(self, now: float) -> bool:
        """Ask the provider's own bucket, which holds a second's worth."""
        grown = self._allowance + (now - self._allowed_at) * self._limit
        self._allowance, self._allowed_at = min(self._limit, grown), now
        if self._allowance < 1:
            return False
        self._allowance -= 1
        return True

    def _finish(self, now: float, core: _Server) -> None:
        share = self._costs.redis / (self._costs.trips_before + self._costs.trips_after)
        said = self.redis.serve(now, share * self._costs.trips_after)
        self.done += 1
        self._at(said, self._take(core))


def simulate(
    workers: int, limit_per_minute: float, costs: Costs, seconds: float
) -> dict[str, float]:
    """Return jobs a second and how busy everything was."""
    fleet = Fleet(workers, limit_per_minute, costs)
    fleet.run(_WARMING)
    done, redis = fleet.done, fleet.redis.busy
    cores = sum(core.busy for core in fleet.cores)
    fleet.redis.waits.clear()
    fleet.run(_WARMING + seconds)
    waits = sorted(fleet.redis.waits)
    used = sum(core.busy for core in fleet.cores) - cores
    # What waits in front of a server is on its account already.
    return {
        "rate": (fleet.done - done) / seconds,
        "redis": min(100.0, (fleet.redis.busy - redis) / seconds * 100),
        "cores": min(100.0, used / len(fleet.cores) / seconds * 100),
        "wait": waits[int(len(waits) * 0.99)] * 1000 if waits else 0.0,
        "refused": fleet.refused * 100 / max(1, fleet.calls),
    }


def measure(*, quick: bool = False) -> list[Table]:
    """Return the table of fleets."""
    costs = Costs()
    cases = [(1, 0.0), (2, 0.0), (10, 0.0), (10, 3_000.0), (100, 0.0), (100, 30_000.0)]
    if not quick:
        cases.append((1_000, 30_000.0))
    rows = tuple(_row(workers, limit, costs) for workers, limit in cases)
    slow = replace(costs, latency=5.0)
    if not quick:
        rows += (_row(1_000, 30_000.0, slow),)
    note = (
        f"Each process has a core and {costs.threads} threads. Worker {costs.worker * 1000:.0f} ms"
        f" and Redis {costs.redis * 1000:.2g} ms of processor a job (6 MP photos)."
    )
    return [Table("scale: fleets, simulated", _COLUMNS, rows, note)]


def _row(workers: int, limit: float, costs: Costs) -> tuple[str | float | None, ...]:
    found = simulate(workers, limit, costs, 20.0)
    full = 95
    if found["redis"] >= full:
        bound = "Redis"
    elif limit and found["rate"] * 60 >= limit * 0.9:
        bound = "the provider's limit"
    else:
        bound = "workers' cores"
    figures = (found["redis"], found["cores"], found["wait"], found["refused"])
    return (float(workers), limit or None, costs.latency, found["rate"], bound, *figures)
