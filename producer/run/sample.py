"""What the first rows have shown, before the rest is paid for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from producer.run.progress import rubles
from visionq.doctor.provider_checks import Provider, read_balance
from visionq.errors import Incomplete, InvalidOutput, Refused

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from decimal import Decimal

    from producer.run.tally import Tally
    from producer.stack import Stack
    from visionq.settings import Settings

_LONGEST_ANSWER: Final = 300
#: Paid, and not what was asked for.
_PAID_FAILURES: Final = (InvalidOutput.code, Incomplete.code, Refused.code)


def balance_of(stack: Stack, settings: Settings) -> Decimal | None:
    """Return the rubles on the provider's account, where that can be read from here."""
    key = settings.api_key.get_secret_value() if settings.api_key else None
    url = stack.provider_url or settings.base_url
    simulated = stack.simulated is True
    return read_balance(Provider(url, None if simulated else key, simulated))


def report(
    tally: Tally,
    examples: Sequence[dict[str, Any]],
    balances: tuple[Decimal | None, Decimal | None],
    forecast: Decimal | None,
    *,
    has_schema: bool,
) -> Iterator[str]:
    """Yield lines about a sample; `forecast` is what the quote expects of as many rows."""
    answered, failed = tally.rows - tally.failures, _share(tally.failures, tally)
    yield f"sample: {tally.rows:,} rows, {answered:,} answered, {failed} failed"
    for code, count in tally.failed.most_common():
        paid = " (paid)" if code in _PAID_FAILURES else ""
        yield f"  {code}{paid}: {_share(count, tally)}"
    if has_schema:
        yield f"schema: {_share(answered, tally)} fit, {_share(_misfits(tally), tally)} do not"
    each = f", {rubles(tally.spent / tally.rows)} each" if tally.rows else ""
    expected = f"; the quote expected {rubles(forecast)}" if forecast is not None else ""
    yield f"cost:   {rubles(tally.spent)}{each}{expected}"
    yield f"balance: {_balance(balances, tally.spent)}"
    if tally.cached:
        yield f"stored answers: {tally.cached:,}, at no cost"
    for row in examples:
        text = " ".join(str(row["text"]).split())[:_LONGEST_ANSWER]
        yield f"  {row['id']}: {text}"


def _balance(balances: tuple[Decimal | None, Decimal | None], spent: Decimal) -> str:
    before, after = balances
    if before is None or after is None:
        return "can't be read from here"
    less = before - after
    said = f"{rubles(before)} → {rubles(after)}: {rubles(less)} less"
    return f"{said}; by our prices {rubles(spent)} (other work of the key counts in)"


def _misfits(tally: Tally) -> int:
    return tally.failed[InvalidOutput.code]


def _share(count: int, tally: Tally) -> str:
    return f"{count:,} ({count / max(1, tally.rows):.0%})"
