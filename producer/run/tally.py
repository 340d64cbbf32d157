"""What a run has done so far, in figures."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from visionq.errors import BillingUnknown

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Seconds over which the rate is taken.
_RATE_OVER: Final = 60.0
CODES_SHOWN: Final = 5


@dataclass
class Tally:
    """The rows of a source that stand in OUT, and those that this run writes."""

    #: Rows that stood in OUT already and are not asked again, and which of them failed.
    before: int = 0
    failed_before: Counter[str] = field(default_factory=Counter)
    #: Rubles that the rows of OUT cost before this run.
    paid_before: Decimal = Decimal(0)
    #: Rows that are to be asked, and what the quote says that they cost.
    to_ask: int = 0
    expected: Decimal | None = None
    rows: int = 0
    cached: int = 0
    spent: Decimal = Decimal(0)
    failed_now: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.start(0)

    def start(self, now: float) -> None:
        """Take the pace from here on."""
        self._moments: deque[tuple[float, int]] = deque([(now, self.rows)])
        self._rests_since: float | None = None
        self._rested = 0.0

    def rest(self, now: float, *, rests: bool) -> None:
        """Note whether something keeps the work back now: such time counts for no pace."""
        if rests and self._rests_since is None:
            self._rests_since = now
        elif not rests and self._rests_since is not None:
            self._rested += now - self._rests_since
            self._rests_since = None

    def take(self, rows: Iterable[dict[str, Any]], paid_earlier: Decimal, now: float) -> None:
        """Count rows that were written; `paid_earlier` was paid for earlier attempts of them."""
        for row in rows:
            self.rows += 1
            self.spent += Decimal(row["cost_rub"])
            self.cached += row["cached"]
            if row["error"] is not None:
                self.failed_now[row["error"]["code"]] += 1
        self.spent -= paid_earlier
        worked = self._worked(now)
        self._moments.append((worked, self.rows))
        while worked - self._moments[0][0] > _RATE_OVER and len(self._moments) > 2:  # noqa: PLR2004  # a span has two ends
            self._moments.popleft()

    @property
    def failed(self) -> Counter[str]:
        """Code → rows without an answer, of all that are done."""
        return self.failed_before + self.failed_now

    @property
    def has_answers(self) -> bool:
        """Whether this run has answered any row: its model exists."""
        return self.rows > self.failed_now.total()

    @property
    def done(self) -> int:
        """Rows that stand in OUT."""
        return self.before + self.rows

    @property
    def total(self) -> int:
        """Rows of the source."""
        return self.before + max(self.to_ask, self.rows)

    @property
    def paid(self) -> Decimal:
        """Rubles that all rows of OUT cost."""
        return self.paid_before + self.spent

    @property
    def forecast(self) -> Decimal | None:
        """Rubles that all rows of OUT will have cost: what was paid, and what the others take."""
        if self.expected is None:
            return None
        return self.paid + self.expected * self.left / max(1, self.to_ask)

    @property
    def left(self) -> int:
        """Rows that are still to be asked."""
        return max(0, self.to_ask - self.rows)

    def rate(self, now: float) -> float:
        """Return rows a second, lately, while nothing kept the work back."""
        then, rows = self._moments[0]
        worked = self._worked(now)
        return (self.rows - rows) / (worked - then) if worked > then else 0.0

    def eta(self, now: float) -> float | None:
        """Return the seconds until all rows are done; None: there is no pace to tell it by."""
        if self._rests_since is not None or self.rows == 0:
            return None
        rate = self.rate(now)
        return self.left / rate if rate > 0 else None

    def _worked(self, now: float) -> float:
        rests = 0.0 if self._rests_since is None else now - self._rests_since
        return now - self._rested - rests


def listed(codes: Counter[str]) -> str:
    """Return code and rows of each, the most frequent first; they add up to all failures."""
    shown = codes.most_common(CODES_SHOWN)
    parts = [f"{code} {count:,}" for code, count in shown]
    if others := codes.total() - sum(count for _, count in shown):
        parts.append(f"others {others:,}")
    return ", ".join(parts)


def without_answer(codes: Counter[str]) -> str:
    """Return how many rows failed, by code, and of how many it is not known what became of them.

    A row whose call may have been billed has not failed: its answer may exist, and be paid for.
    """
    failed = Counter(codes)
    unknown = failed.pop(BillingUnknown.code, 0)
    parts = [f"{failed.total():,} failed ({listed(failed)})"] if failed else []
    parts += [f"{unknown:,} of unknown billing"] if unknown else []
    return ", ".join(parts)
