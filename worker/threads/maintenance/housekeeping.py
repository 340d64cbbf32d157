"""Housekeeping in Redis: expired data, loaded scripts, configured limits, the list of models."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import structlog

from visionq.ledger.rate_limits import ENVIRONMENT, read_limits
from visionq.ledger.scripts import load_missing
from visionq.names import DEAD_LETTERS, DELIVERIES, EVENTS, FAILED, FINISHED
from visionq.pricing.model_list import note_model_list
from worker.threads.maintenance.scheduler import is_due

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from redis import Redis

    from visionq.blobs import BlobStore
    from visionq.contract.limits import Limits
    from visionq.ledger import Ledger
    from visionq.pricing.model_list import ListedModels

#: Blobs that one step deletes, and steps in one round: the next round takes up what is left.
_AT_ONCE: Final = 500
_MOST_STEPS: Final = 20


@dataclass(frozen=True)
class Sweep:
    """Deletes blobs whose time is up, and shortens the lists that are bounded by age.

    Every process of the fleet does it; what is done is done once.
    """

    redis: Redis
    blobs: BlobStore
    #: Seconds.
    result_ttl: int
    failed_ttl: int = 14 * 24 * 3600

    def run(self) -> None:
        """Delete expired data."""
        trim(self.redis, self.result_ttl, self.failed_ttl)
        for _ in range(_MOST_STEPS):
            if self.blobs.sweep(_AT_ONCE) < _AT_ONCE:
                return


#: Seconds between two rounds of the whole fleet.
_FALLBACK_INTERVAL: Final = 4


@dataclass(frozen=True)
class Fallbacks:
    """Has queued jobs whose model is held for long asked of the next model that they name."""

    redis: Redis
    ledger: Ledger

    def run(self) -> None:
        """Move them, some at a time."""
        if not is_due(self.redis, "fallback", _FALLBACK_INTERVAL):
            return
        steps, moved = 0, 1
        while moved and steps < _MOST_STEPS:
            moved = self.ledger.fall_back(_AT_ONCE)
            steps += 1
            if moved:
                log.info("jobs.fell_back", jobs=moved)


def trim(redis: Redis, result_ttl: int, failed_ttl: int) -> None:
    """Forget jobs that ended, and events, older than their time to live.

    The scripts bound all this whenever a job ends; this empties them when none does.
    """
    time: Any = redis.time()
    oldest = (time[0] - result_ttl) * 1000
    with redis.pipeline(transaction=False) as pipeline:
        pipeline.zremrangebyscore(FINISHED, "-inf", oldest)
        pipeline.zremrangebyscore(DEAD_LETTERS, "-inf", oldest)
        pipeline.zremrangebyscore(DELIVERIES, "-inf", oldest)
        pipeline.zremrangebyscore(FAILED, "-inf", (time[0] - failed_ttl) * 1000)
        pipeline.xtrim(EVENTS, minid=oldest, approximate=False)
        pipeline.execute()


log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Scripts:
    """Keeps the scripts of this release loaded: Redis forgets them when it restarts."""

    redis: Redis

    def run(self) -> None:
        """Load those that are missing."""
        if loaded := load_missing(self.redis):
            log.info("scripts.loaded", scripts=loaded)


@dataclass
class EnvironmentLimits:
    """Writes the limits of `VISIONQ_LIMITS` into the ledger once, when Redis is there.

    Of workers whose environments differ the last one started is believed.
    """

    ledger: Ledger
    limits: Mapping[str, Limits]
    _is_written: bool = field(default=False, init=False)

    def run(self) -> None:
        """Tell them, unless that is done."""
        if self._is_written:
            return
        known = read_limits(self.ledger.redis)[ENVIRONMENT]
        changes: dict[str, Limits | None] = dict.fromkeys(known.keys() - self.limits.keys())
        changes |= {model: one for model, one in self.limits.items() if known.get(model) != one}
        if changes:
            self.ledger.set_limits(ENVIRONMENT, changes)
        self._is_written = True


#: Seconds: one process of the fleet asks.
_MODELS_INTERVAL: Final = 600


@dataclass(frozen=True)
class Models:
    """Records the provider's models every ten minutes."""

    redis: Redis
    read_models: Callable[[], ListedModels | None]

    def run(self) -> None:
        """Fetch the list if it is due; a failure leaves it unchanged."""
        if not is_due(self.redis, "models-read", _MODELS_INTERVAL):
            return
        listed = self.read_models()
        if listed is not None:
            note_model_list(self.redis, listed)
