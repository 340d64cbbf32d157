"""Noting the balance of a key, for those who may not have the key: the exporter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from visionq.names import BALANCES, MAINTENANCE
from visionq.pricing.money import nano_rubles

if TYPE_CHECKING:
    from collections.abc import Callable
    from decimal import Decimal

    from redis import Redis

#: Seconds: one process of each key asks.
_REST: Final = 60


@dataclass(frozen=True)
class Balance:
    """Writes down the balance about once a minute, where the provider tells it."""

    redis: Redis
    #: Id of the key.
    key: str
    read_balance: Callable[[], Decimal | None]
    clock: Callable[[], float]

    def run(self) -> None:
        """Ask, unless another process has lately; a balance that is not told is not kept."""
        if not self.redis.set(f"{MAINTENANCE}balance-read:{self.key}", "1", ex=_REST, nx=True):
            return
        balance = self.read_balance()
        if balance is None:
            self.redis.hdel(BALANCES, self.key)
            return
        moment = round(self.clock() * 1000)
        self.redis.hset(BALANCES, self.key, f"{nano_rubles(balance)} {moment}")
