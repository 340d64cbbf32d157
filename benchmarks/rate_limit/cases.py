"""Cases of the rate limit benchmark: limits, their sources, fleets, and changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Fewest calls measured; fast fleets are measured for this many seconds.
_ENOUGH: Final = 300
_SECONDS: Final = 30.0
#: Up to this many requests a minute, a fleet barely loads the machine.
_SLOW: Final = 300.0
#: Limit source → seconds before the measurement: learning an unknown limit takes time.
SETTLING: Final = {"setting": 10.0, "headers": 10.0, "unknown": 45.0}
#: Threads of all workers.
THREADS: Final = 64
FLEETS: Final = (1, 4, 16)
_FASTEST: Final = 3000.0


@dataclass(frozen=True)
class Case:
    """One fleet at one limit."""

    #: Requests a minute.
    rate: float
    #: Where workers learn the limit: `setting`, `headers` or `unknown`.
    source: str
    workers: int
    #: Limit after a change, if any.
    then: float | None = None
    #: Fewest jobs queued.
    backlog: int = 0

    @property
    def name(self) -> str:
        """Display name."""
        rate = f"{self.rate:,.0f}" + (f" → {self.then:,.0f}" if self.then else "")
        return f"R {rate} by {self.source}, {self.workers} workers"

    @property
    def measured(self) -> float:
        """Limit during the measurement."""
        return self.then or self.rate

    @property
    def calls(self) -> int:
        """Number of calls measured."""
        return round(max(_ENOUGH, self.measured * _SECONDS / 60))

    @property
    def adapting(self) -> float:
        """Seconds to adapt to a change: 30, or the time of 30 calls if longer."""
        return max(30.0, 30 * 60 / self.then) if self.then else 0.0

    @property
    def jobs(self) -> int:
        """Number of jobs queued, so that the fleet never runs dry."""
        before = self.rate * (SETTLING[self.source] + 5) / 60
        # After a decrease, jobs already claimed still run.
        after = max(self.rate, self.measured) * self.adapting / 60
        return max(self.backlog, round((before + after + self.calls) * 1.2))

    @property
    def is_slow(self) -> bool:
        """Whether other cases may run at the same time."""
        return max(self.rate, self.measured) <= _SLOW


def top_of(fastest: float) -> float:
    """Return the highest limit that this machine can reach."""
    return min(_FASTEST, round(fastest * 0.9))


def quick_cases() -> tuple[Case, ...]:
    """Return the four most telling cases."""
    return (
        Case(300, "setting", 4),
        Case(300, "headers", 4),
        Case(300, "unknown", 1),
        Case(300, "headers", 1, then=600),
    )


def groups(fastest: float) -> Iterator[tuple[Case, ...]]:
    """Yield all cases in groups that run side by side."""
    top = top_of(fastest)
    sources = ("setting", "headers")
    yield (
        *(
            Case(60, by, workers, backlog=10_000 if (by, workers) == ("setting", 4) else 0)
            for by in sources
            for workers in FLEETS
        ),
        Case(300, "headers", 4, then=60),
        Case(60, "unknown", 4),
    )
    # Larger groups would overload two cores.
    yield (*(Case(300, "setting", workers) for workers in FLEETS), Case(60, "setting", 4, then=300))
    yield (*(Case(300, "headers", workers) for workers in FLEETS), Case(300, "unknown", 1))
    middle = min(1000.0, round(top / 2))
    fast = [Case(top, by, workers) for by in sources for workers in FLEETS]
    fast += [Case(middle, by, 4) for by in sources]
    fast += [Case(middle, "headers", 4, then=top), Case(top, "setting", 4, then=middle)]
    fast += [Case(middle, "unknown", 4), Case(top, "unknown", 1)]
    yield from ((case,) for case in fast)
