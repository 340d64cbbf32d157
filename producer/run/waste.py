"""Stop a run whose paid answers fail."""

from __future__ import annotations

from collections import Counter, deque
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from producer.run.run_progress import listed, rubles
from producer.sources.source import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

#: Share of failures among the last paid answers above which a run stops.
USUAL_SHARE: Final = 0.5
#: Paid answers that are looked at, and the fewest that say something.
_WINDOW: Final = 50
_LEAST: Final = 20
_EXAMPLES: Final = 3
_LONGEST: Final = 200


class WasteBreaker:
    """Looks at the last paid answers, and trips where too many of them are failures."""

    def __init__(self, share: float) -> None:
        self._share = share
        self._last: deque[Mapping[str, Any]] = deque(maxlen=_WINDOW)
        self.has_tripped = False

    def take(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Count the rows that were paid for."""
        for row in rows:
            if not self.has_tripped and Decimal(row["cost_rub"]) > 0:
                self._last.append(row)
                seen, failed = len(self._last), len(self._failed())
                self.has_tripped = seen >= _LEAST and failed > self._share * seen

    def said(self) -> Iterator[str]:
        """Yield what was wasted, by reason, and a few examples."""
        failed = self._failed()
        codes = Counter(row["error"]["code"] for row in failed)
        paid = sum((Decimal(row["cost_rub"]) for row in failed), Decimal(0))
        yield (
            f"of the last {len(self._last)} paid answers {len(failed)} failed ({listed(codes)}),"
            f" {rubles(paid)} for nothing"
        )
        for row in failed[-_EXAMPLES:]:
            error = " ".join(f"{row['error']['code']}: {row['error']['message']}".split())
            yield f"  {row['id']}: {printable(error)[:_LONGEST]}"

    def _failed(self) -> list[Mapping[str, Any]]:
        return [row for row in self._last if row["error"] is not None]
