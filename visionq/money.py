"""Money: decimals in rubles for people, integer nano-rubles in the ledger, floats nowhere."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Final
from zoneinfo import ZoneInfo

NANO: Final = Decimal(1_000_000_000)


def rubles(nano: int) -> Decimal:
    """Return an amount of the ledger in rubles."""
    return Decimal(nano) / NANO


def nano_rubles(amount: Decimal) -> int:
    """Return rubles as the ledger counts them; what is finer is cut off."""
    return int(amount * NANO)


def day_of(moment: float, time_zone: str) -> str:
    """Return the date on which money is booked; `moment` is seconds since the epoch."""
    return datetime.fromtimestamp(moment, ZoneInfo(time_zone)).date().isoformat()
