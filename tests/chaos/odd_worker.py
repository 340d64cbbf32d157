"""A worker whose clock jumps, or that claims to be of a later release; to be run as a program.

`python -m tests.chaos.odd_worker OPTION… worker …`: what follows the options goes to `visionq`.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import worker.runtime
from visionq.cli import main
from worker.packing import Patience
from worker.packing.leadership import Leadership

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis import Redis

#: Seconds by which the clock is wrong, and for how long each time.
_HOUR = 3600.0
_STEP = 2.0


def jumping(clock: Callable[[], float], monotonic: Callable[[], float]) -> Callable[[], float]:
    """Return a clock that is right, an hour ahead, right, an hour behind, and so on."""
    return lambda: clock() + (0, _HOUR, 0, -_HOUR)[int(monotonic() / _STEP) % 4]


def pretend_release(schema_version: int) -> None:
    """Register as a worker that reads documents up to this version."""
    registration = worker.runtime._registration

    def later(*arguments: Any) -> Any:
        return dataclasses.replace(registration(*arguments), schema_version=schema_version)

    worker.runtime._registration = later  # type: ignore[assignment]  # it takes what is given


#: Everything of the batch lane some hundred times as fast.
SWIFT_BATCHES = Patience(
    gathering=2, listing=4, resting=2, batch=15, stopping=10, strays=5, looks=0.05
)
#: Seconds: what is needed sooner is asked online.
SWIFT_WAIT = 20.0


#: STRING pid of the worker that packs, for who kills it.
PACKER_PID = "chaos:packer"
_SWIFT_LEASE = 3.0


class SwiftLeadership(Leadership):
    """A lease that lapses soon, and says who has it."""

    def __init__(self, redis: Redis, key: str) -> None:
        super().__init__(redis, key, _SWIFT_LEASE)
        self._redis = redis

    def take(self) -> bool:
        holds = super().take()
        if holds:
            self._redis.set(PACKER_PID, os.getpid())
        return holds


def hurry_batches() -> None:
    """Make batches as if an hour were seconds."""
    runtime: Any = worker.runtime
    runtime.PackerParts = partial(runtime.PackerParts, patience=SWIFT_BATCHES)
    runtime.Leadership = SwiftLeadership
    runtime.PACKER_PAUSE = 0.5


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--clock-jumps", action="store_true")
    parser.add_argument("--schema-version", type=int)
    parser.add_argument("--swift-batches", action="store_true")
    given, rest = parser.parse_known_args()
    if given.clock_jumps:
        time.time = jumping(time.time, time.monotonic)
    if given.schema_version:
        pretend_release(given.schema_version)
    if given.swift_batches:
        hurry_batches()
    sys.argv = ["visionq", *rest]
    main()
