"""Rate limits: token buckets with a burst of one second."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

#: Seconds of the limit that may pass at once.
BURST: Final = 1.0
#: What sums of floats may be off by.
ROUNDING: Final = 1e-6


@dataclass(slots=True)
class Bucket:
    """What may pass now. A call larger than the burst passes when it is full, and leaves a debt."""

    per_minute: float
    level: float
    at: float

    @classmethod
    def full(cls, per_minute: float, now: float) -> Bucket:
        """Return a bucket that has rested."""
        return cls(per_minute, _capacity(per_minute), now)

    @property
    def rate(self) -> float:
        """Units that come back in a second."""
        return self.per_minute / 60

    def wait_for(self, amount: float, now: float) -> float:
        """Return the seconds until `amount` may pass; 0: now. Takes nothing."""
        capacity = _capacity(self.per_minute)
        self.level = min(capacity, self.level + (now - self.at) * self.rate)
        self.at = now
        missing = min(amount, capacity) - self.level
        return missing / self.rate if missing > ROUNDING else 0.0

    def take(self, amount: float) -> None:
        """Let `amount` pass, after `wait_for` said that it may."""
        self.level -= amount

    def headers(self, kind: str) -> dict[str, str]:
        """Return the provider's headers for this limit; `kind` is `requests` or `tokens`."""
        reset = (_capacity(self.per_minute) - self.level) / self.rate
        return {
            f"x-ratelimit-limit-{kind}": f"{self.per_minute:.0f}",
            f"x-ratelimit-remaining-{kind}": str(max(0, int(self.level))),
            f"x-ratelimit-reset-{kind}": duration(reset),
        }


def _capacity(per_minute: float) -> float:
    return max(1.0, per_minute / 60 * BURST)


def duration(seconds: float) -> str:
    """Return a time as the provider writes it: `120ms`, `1.5s`, `6m0s`."""
    if seconds < 1:
        return f"{max(0, round(seconds * 1000))}ms"
    minutes, rest = divmod(seconds, 60)
    return f"{minutes:.0f}m{rest:.3g}s" if minutes else f"{rest:.3g}s"
