"""What a run has done so far, in figures."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Seconds over which the rate is taken.
_RATE_OVER: Final = 60.0


@dataclass
class Tally:
    """Rows written by this run; `before` stood in OUT already."""

    before: int = 0
    #: Rubles that the rows of OUT cost before this run.
    paid_before: Decimal = Decimal(0)
    rows: int = 0
    cached: int = 0
    spent: Decimal = Decimal(0)
    estimates: int = 0
    failed: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.start(0)

    def start(self, now: float) -> None:
        """Take the rate from here on."""
        self._moments: deque[tuple[float, int]] = deque([(now, self.rows)])

    def take(self, rows: Iterable[dict[str, Any]], paid_earlier: Decimal, now: float) -> None:
        """Count rows that were written; `paid_earlier` was paid for earlier attempts of them."""
        for row in rows:
            self.rows += 1
            self.spent += Decimal(row["cost_rub"])
            self.cached += row["cached"]
            self.estimates += row["cost_is_estimate"]
            if row["error"] is not None:
                self.failed[row["error"]["code"]] += 1
        self.spent -= paid_earlier
        self._moments.append((now, self.rows))
        while now - self._moments[0][0] > _RATE_OVER and len(self._moments) > 2:  # noqa: PLR2004  # a span has two ends
            self._moments.popleft()

    @property
    def failures(self) -> int:
        """Rows without an answer."""
        return self.failed.total()

    @property
    def done(self) -> int:
        """Rows in OUT."""
        return self.before + self.rows

    @property
    def paid(self) -> Decimal:
        """Rubles that all rows of OUT cost."""
        return self.paid_before + self.spent

    def rate(self, now: float) -> float:
        """Return rows a second, lately."""
        then, rows = self._moments[0]
        return (self.rows - rows) / (now - then) if now > then else 0.0

    def eta(self, now: float, total: int | None) -> float | None:
        """Return the seconds until all rows are done, if that can be told."""
        rate = self.rate(now)
        return None if total is None or rate <= 0 else max(0, total - self.done) / rate
