"""A gate that closed for want of money opens when the balance says so, where the key may ask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog

from visionq.errors import InsufficientBalance
from visionq.ledger import GateOrder
from visionq.names import GATE, MAINTENANCE
from visionq.pricing.money import nano_rubles

if TYPE_CHECKING:
    from collections.abc import Callable
    from decimal import Decimal

    from redis import Redis

    from visionq.ledger import Ledger

log = structlog.get_logger(__name__)

#: Seconds until some process asks for the balance again.
_REST: Final = 4


@dataclass(frozen=True)
class BalanceProbe:
    """Asks for the balance while the gate of the process's own key is closed for want of money."""

    redis: Redis
    ledger: Ledger
    #: Id of the key.
    key: str
    read_balance: Callable[[], Decimal | None]

    def run(self) -> None:
        """Let the gate reopen in steps once the balance covers what was refused."""
        state, reason, needed = self.redis.hmget(GATE + self.key, "state", "reason", "needed")
        if (state, reason) != (b"closed", InsufficientBalance.code.encode()):
            return
        if not self.redis.set(f"{MAINTENANCE}balance:{self.key}", "1", ex=_REST, nx=True):
            return
        balance = self.read_balance()
        if balance is not None and nano_rubles(balance) > int(needed or 0):
            log.info("gate.topped_up", balance_rub=str(balance))
            self.ledger.steer_gate(self.key, GateOrder.REOPEN)
