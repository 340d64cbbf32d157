"""What the first rows have shown, before the rest is paid for."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from producer.run.progress import rubles
from visionq.cli.doctor.provider_checks import provider_at, read_balance
from visionq.errors import Incomplete, InvalidOutput, Refused

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from producer.stack import Stack
    from visionq.settings import Settings

_LONGEST_ANSWER: Final = 300
_EXAMPLES: Final = 3
#: Paid, and not what was asked for.
_PAID_FAILURES: Final = (InvalidOutput.code, Incomplete.code, Refused.code)


def balance_of(stack: Stack, settings: Settings) -> Decimal | None:
    """Return the rubles on the provider's account, where that can be read from here."""
    url, simulated = stack.provider_url or settings.base_url, stack.simulated is True
    return read_balance(provider_at(url, settings, simulated=simulated))


@dataclass
class Shown:
    """What the rows of a sample have shown, in figures."""

    rows: int = 0
    cached: int = 0
    spent: Decimal = Decimal(0)
    failed: Counter[str] = field(default_factory=Counter)
    #: A few answers, for people to look at.
    examples: list[dict[str, Any]] = field(default_factory=list)

    @property
    def answered(self) -> int:
        """Rows with an answer."""
        return self.rows - self.failed.total()

    @property
    def paid(self) -> int:
        """Rows that were paid for, as far as the quote counts them."""
        return max(0, self.answered - self.cached)


@dataclass(frozen=True, slots=True)
class Account:
    """The provider's account before and after, where it can be read, and what was spent by us."""

    before: Decimal | None
    after: Decimal | None
    spent: Decimal

    def __str__(self) -> str:
        if self.before is None or self.after is None:
            return "can't be read from here"
        less = rubles(self.before - self.after)
        said = f"{rubles(self.before)} → {rubles(self.after)}: {less} less"
        return f"{said}; by our prices {rubles(self.spent)} (other work of the key counts in)"


def look_at(rows: Iterable[dict[str, Any]]) -> Shown:
    """Add the rows of a sample up, as they stand in OUT."""
    shown = Shown()
    for row in rows:
        shown.rows += 1
        shown.cached += row["cached"]
        shown.spent += Decimal(row["cost_rub"])
        if row["error"] is not None:
            shown.failed[row["error"]["code"]] += 1
        elif len(shown.examples) < _EXAMPLES:
            shown.examples.append(row)
    return shown


def report(
    shown: Shown,
    account: Account | None,
    forecast: Decimal | None,
    *,
    has_schema: bool,
) -> Iterator[str]:
    """Yield lines about a sample; `forecast` is what the quote expects of as many rows.

    `account` is None where nothing was asked just now.
    """
    failed = _share(shown.failed.total(), shown)
    yield f"sample: {shown.rows:,} rows, {shown.answered:,} answered, {failed} failed"
    for code, count in shown.failed.most_common():
        paid = " (paid)" if code in _PAID_FAILURES else ""
        yield f"  {code}{paid}: {_share(count, shown)}"
    if has_schema:
        misfits = _share(shown.failed[InvalidOutput.code], shown)
        yield f"schema: {_share(shown.answered, shown)} fit, {misfits} do not"
    each = f", {rubles(shown.spent / shown.rows)} each" if shown.rows else ""
    expected = f"; the quote expected {rubles(forecast)}" if forecast is not None else ""
    yield f"cost:   {rubles(shown.spent)}{each}{expected}"
    if account is not None:
        yield f"balance: {account}"
    if shown.cached:
        yield f"stored answers: {shown.cached:,}, at no cost"
    for row in shown.examples:
        text = " ".join(str(row["text"]).split())[:_LONGEST_ANSWER]
        yield f"  {row['id']}: {text}"


def _share(count: int, shown: Shown) -> str:
    return f"{count:,} ({count / max(1, shown.rows):.0%})"
