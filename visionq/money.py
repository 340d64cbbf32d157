"""Money: decimals in rubles for people, integer nano-rubles in the ledger, floats nowhere."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

NANO: Final = Decimal(1_000_000_000)


def rubles(nano: int) -> Decimal:
    """Return an amount of the ledger in rubles."""
    return Decimal(nano) / NANO


def nano_rubles(amount: Decimal) -> int:
    """Return rubles as the ledger counts them; what is finer is cut off."""
    return int(amount * NANO)
