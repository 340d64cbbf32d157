"""Telling that a provider counts otherwise than the table says, or what can't be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import structlog

from visionq.ledger.metrics import USAGE_DISBELIEVED, read_counters
from visionq.ledger.usage import read_calibrations
from visionq.names import MAINTENANCE, NOTICES, USAGE_SUBJECT

if TYPE_CHECKING:
    from redis import Redis

log = structlog.get_logger(__name__)

#: Seconds: one process at a time looks.
_REST: Final = 60
_MOST_NOTICES: Final = 1000


@dataclass(frozen=True)
class Drift:
    """Leaves one notice when a model's counting leaves the table, and none before it was back."""

    redis: Redis

    def run(self) -> None:
        """Look about once a minute."""
        if not self.redis.set(f"{MAINTENANCE}drift", "1", ex=_REST, nx=True):
            return
        for kind, calibration in read_calibrations(self.redis).items():
            told = f"{MAINTENANCE}drift:{kind}"
            if calibration is None or not calibration.has_drifted:
                self.redis.delete(told)
            elif self.redis.set(told, f"{calibration.factor:.3f}", nx=True):
                factor = f"{calibration.factor:.2f}"
                log.warning("usage.drifted", kind=kind, factor=factor)
                _leave_notice(self.redis, kind, "drifted", factor)


@dataclass(frozen=True)
class Disbelief:
    """Leaves a notice when calls are said to have counted what they can't: one a look and model."""

    redis: Redis

    def run(self) -> None:
        """Look about once a minute."""
        if not self.redis.set(f"{MAINTENANCE}disbelief", "1", ex=_REST, nx=True):
            return
        for (model,), calls in read_counters(self.redis).of(USAGE_DISBELIEVED, 1).items():
            known = f"{MAINTENANCE}disbelief:{model}"
            told: Any = self.redis.get(known)
            if calls > int(told or 0):
                log.warning("usage.disbelieved", model=model, calls=calls)
                _leave_notice(self.redis, model, "disbelieved", str(calls - int(told or 0)))
                self.redis.set(known, calls)


def _leave_notice(redis: Redis, subject: str, state: str, reason: str) -> None:
    notice = {"subject": USAGE_SUBJECT + subject, "state": state, "reason": reason}
    redis.xadd(NOTICES, notice, maxlen=_MOST_NOTICES)  # type: ignore[arg-type] # dict is invariant
