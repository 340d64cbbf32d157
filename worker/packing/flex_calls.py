"""Ask jobs that can wait, and have no batch, at the cheaper tier."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from visionq.contract.states import TERMINAL
from visionq.ledger.provider_batches import read_support, reroute, reroute_queued
from visionq.ledger.scripts import MOST_PER_SCRIPT
from visionq.names import JOB
from visionq.pricing.flex import FLEX, seconds_of_flex
from worker.packing.rates import read_slots

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from visionq.ledger import Ledger
    from visionq.pricing.prices import PriceTable
    from visionq.providers import ProviderProfile


@dataclass(frozen=True)
class FlexCalls:
    """Such calls are slow: no more are out than half of the fleet's slots."""

    ledger: Ledger
    prices: PriceTable
    profile: ProviderProfile
    key: str
    clock: Callable[[], float]
    #: Jobs that were sent to it. Another packer begins with none, so a few too many may be out.
    _out: set[str] = field(default_factory=set)

    def seconds(self, model: str) -> float | None:
        """Return how many seconds a job needs for it; None: there is no such tier."""
        seconds = seconds_of_flex(self.prices, self.profile, model)
        if seconds is None:
            return None
        known = read_support(self.ledger.redis, self.key, model, FLEX)
        return None if known.refuses(self.clock()) else seconds

    def room(self) -> int:
        """Return how many more may go."""
        self._forget_ended()
        return max(0, max(1, read_slots(self.ledger.redis) // 2) - len(self._out))

    def send(self, jobs: Sequence[str]) -> int:
        """Ask jobs of the batch lane at it, as many as have room."""
        few = jobs[: self.room()]
        if not few:
            return 0
        self._out.update(few)
        return self.ledger.make(reroute(few, FLEX))

    def send_next(self, lanes: Sequence[str]) -> int:
        """Ask the next jobs of these lanes at it, as many as have room."""
        room = min(self.room(), MOST_PER_SCRIPT)
        went = (room and self.ledger.make(reroute_queued(lanes, room, FLEX))) or ()
        self._out.update(went)
        return len(went)

    def _forget_ended(self) -> None:
        """Keep those that were sent to it and have not ended."""
        ids = sorted(self._out)
        with self.ledger.redis.pipeline(transaction=False) as pipeline:
            for job_id in ids:
                pipeline.hmget(JOB + job_id, "state", "tier")
            found = pipeline.execute()
        for job_id, (state, tier) in zip(ids, found, strict=True):
            if tier is None or state.decode() in TERMINAL:
                self._out.remove(job_id)
