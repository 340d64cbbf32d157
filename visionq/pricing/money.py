"""Money: decimal rubles for people, integer nano-rubles in the ledger, never floats."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Final
from zoneinfo import ZoneInfo

NANO: Final = Decimal(1_000_000_000)
#: Rubles. No balance is larger; as nano-rubles this fits into 64 bits.
_MOST: Final = Decimal(10**9)
#: Characters of an amount that are read: enough for ten digits, a point and the decimals.
_LONGEST: Final = 64
_FINEST: Final = -9


def rubles(nano: int) -> Decimal:
    """Convert nano-rubles to rubles."""
    return Decimal(nano) / NANO


def nano_rubles(amount: Decimal) -> int:
    """Convert rubles to whole nano-rubles, rounding towards zero."""
    return int(amount * NANO)


def read_rubles(value: object) -> Decimal | None:
    """Parse an amount from outside, a number or its text, or return None.

    Rounded to a nano-ruble; amounts above 10⁹ rubles, such as `1e999999999`, are refused.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        return None
    try:
        amount = Decimal(str(value)[:_LONGEST])
        if not amount.copy_abs() <= _MOST:
            return None
        exponent = amount.as_tuple().exponent
        is_plain = isinstance(exponent, int) and _FINEST <= exponent <= 0
        return amount if is_plain else amount.quantize(1 / NANO)
    except ArithmeticError:  # not a number, or NaN
        return None


def day_of(moment: float, time_zone: str) -> str:
    """Return the booking date of a moment in seconds since the epoch."""
    return datetime.fromtimestamp(moment, ZoneInfo(time_zone)).date().isoformat()
