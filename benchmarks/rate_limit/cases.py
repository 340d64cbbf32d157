"""What is measured of the pace: limits, who tells them, fleets, and limits that change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Calls measured at least; where they come fast, half a minute of them.
_ENOUGH: Final = 300
_SECONDS: Final = 30.0
#: Up to this many requests a minute a fleet uses next to none of a machine.
_SLOW: Final = 300.0
#: Seconds before the measurement begins: learning takes time where nobody tells the limit.
SETTLING: Final = {"setting": 10.0, "headers": 10.0, "unknown": 45.0}
#: Threads of all workers together.
THREADS: Final = 64
FLEETS: Final = (1, 4, 16)
_FASTEST: Final = 3000.0


@dataclass(frozen=True)
class Case:
    """One fleet at one limit."""

    #: Requests a minute.
    rate: float
    #: `setting`, `headers` or `unknown`.
    told: str
    workers: int
    #: The limit once the first has been reached, where it changes.
    then: float | None = None
    #: Jobs queued at least.
    backlog: int = 0

    @property
    def name(self) -> str:
        """For people."""
        rate = f"{self.rate:,.0f}" + (f" → {self.then:,.0f}" if self.then else "")
        return f"R {rate} by {self.told}, {self.workers} workers"

    @property
    def measured(self) -> float:
        """The limit while it is measured."""
        return self.then or self.rate

    @property
    def calls(self) -> int:
        """How many are measured."""
        return round(max(_ENOUGH, self.measured * _SECONDS / 60))

    @property
    def adapting(self) -> float:
        """Seconds that a fleet is given after a change: 30, or as long as 30 calls take."""
        return max(30.0, 30 * 60 / self.then) if self.then else 0.0

    @property
    def jobs(self) -> int:
        """How many have to be queued so that the fleet never runs out of them."""
        before = self.rate * (SETTLING[self.told] + 5) / 60
        # A change downwards is obeyed late by as much as was taken already.
        after = max(self.rate, self.measured) * self.adapting / 60
        return max(self.backlog, round((before + after + self.calls) * 1.2))

    @property
    def is_slow(self) -> bool:
        """Whether others may run beside it."""
        return max(self.rate, self.measured) <= _SLOW


def top_of(fastest: float) -> float:
    """Return the highest limit that this machine can be measured at."""
    return min(_FASTEST, round(fastest * 0.9))


def quick_cases() -> tuple[Case, ...]:
    """Return the four that say most."""
    return (
        Case(300, "setting", 4),
        Case(300, "headers", 4),
        Case(300, "unknown", 1),
        Case(300, "headers", 1, then=600),
    )


def groups(fastest: float) -> Iterator[tuple[Case, ...]]:
    """Yield all cases; those of one group run side by side."""
    top = top_of(fastest)
    told = ("setting", "headers")
    yield (
        *(
            Case(60, by, workers, backlog=10_000 if (by, workers) == ("setting", 4) else 0)
            for by in told
            for workers in FLEETS
        ),
        Case(300, "headers", 4, then=60),
        Case(60, "unknown", 4),
    )
    # More at a time would be more than a machine of two cores can do beside its own work.
    yield (*(Case(300, "setting", workers) for workers in FLEETS), Case(60, "setting", 4, then=300))
    yield (*(Case(300, "headers", workers) for workers in FLEETS), Case(300, "unknown", 1))
    middle = min(1000.0, round(top / 2))
    fast = [Case(top, by, workers) for by in told for workers in FLEETS]
    fast += [Case(middle, by, 4) for by in told]
    fast += [Case(middle, "headers", 4, then=top), Case(top, "setting", 4, then=middle)]
    fast += [Case(middle, "unknown", 4), Case(top, "unknown", 1)]
    yield from ((case,) for case in fast)
