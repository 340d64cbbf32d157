"""Kills by its seed: workers every few seconds, Redis now and then; counts what was out then."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from visionq.redis_connection import TRANSIENT_ERRORS

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.chaos.fleet import ChaosFleet


@dataclass
class Killer:
    """Does what is due whenever it is called."""

    fleet: ChaosFleet
    #: Seconds between the deaths of two workers.
    every: float = 2.0
    #: Jobs ended at which Redis is killed.
    redis_deaths: list[int] = field(default_factory=list)
    #: Pid of the worker to be killed next; None: any.
    choose: Callable[[], int | None] = lambda: None
    #: Workers to be killed, after which the rest may work in peace.
    most: int = 1_000_000
    #: Seconds that Redis is away.
    away: float = 1.0
    kills: int = 0
    redis_kills: int = 0
    #: Calls that were out when their worker, or Redis, was killed.
    calls_out: int = 0
    ended_by_themselves: int = 0
    next_kill: float = field(default_factory=time.monotonic)

    def __call__(self) -> None:
        self.ended_by_themselves += self.fleet.replace_ended()
        if self.redis_deaths and self.fleet.ended() >= self.redis_deaths[0]:
            self.redis_deaths.pop(0)
            self.kill_redis()
        if time.monotonic() >= self.next_kill and self.kills < self.most:
            self.kill_worker()

    def kill_worker(self) -> None:
        """Kill one of those that work, once the one before it has a successor."""
        try:
            at_work = self.fleet.pids_at_work()
        except TRANSIENT_ERRORS:
            return
        victims = [worker for worker in self.fleet.workers if worker.pid in at_work]
        # A machine too busy to bear workers as fast as they die would do nothing else.
        if len(victims) < max(2, len(self.fleet.workers) - 1):
            return
        chosen = self.choose()
        victim = next(
            (worker for worker in victims if worker.pid == chosen),
            self.fleet.random.choice(victims),
        )
        victim.kill()
        victim.wait()
        self.calls_out += self.fleet.calls_out(victim.pid)
        self.fleet.replace(victim)
        self.kills += 1
        self.next_kill = time.monotonic() + self.every

    def kill_redis(self) -> None:
        self.calls_out += self.fleet.calls_out()
        self.fleet.server.kill()
        time.sleep(self.away)
        self.fleet.server.start()
        self.redis_kills += 1
