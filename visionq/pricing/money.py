"""Money: decimals in rubles for people, integer nano-rubles in the ledger, floats nowhere."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Final
from zoneinfo import ZoneInfo

NANO: Final = Decimal(1_000_000_000)
#: Rubles. No balance is more; as nano-rubles they fit into 64 bits.
_MOST: Final = Decimal(10**9)
#: Characters of an amount that are looked at: ten digits and a point stand before what can matter.
_LONGEST: Final = 64
_FINEST: Final = -9


def rubles(nano: int) -> Decimal:
    """Return an amount of the ledger in rubles."""
    return Decimal(nano) / NANO


def nano_rubles(amount: Decimal) -> int:
    """Return rubles as the ledger counts them; what is finer is cut off."""
    return int(amount * NANO)


def read_rubles(value: object) -> Decimal | None:
    """Return an amount that somebody else tells, as a number or its text; None: it is none.

    No more than anybody has, and no finer than a nano-ruble: `1e999999999` is no amount.
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
    except ArithmeticError:  # no number, or none that can be compared
        return None


def day_of(moment: float, time_zone: str) -> str:
    """Return the date on which money is booked; `moment` is seconds since the epoch."""
    return datetime.fromtimestamp(moment, ZoneInfo(time_zone)).date().isoformat()
