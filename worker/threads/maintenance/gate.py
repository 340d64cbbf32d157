"""Read the provider's balance, and reopen the gate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog

from visionq.errors import InsufficientBalance, ProviderUnavailable
from visionq.ledger import GateOrder
from visionq.names import BALANCES, GATE
from visionq.pricing.money import nano_rubles
from worker.threads.maintenance.scheduler import is_due

if TYPE_CHECKING:
    from collections.abc import Callable
    from decimal import Decimal

    from redis import Redis

    from visionq.ledger import Ledger

log = structlog.get_logger(__name__)

#: Seconds between two readings of one key's balance, by whichever process.
_BALANCE_INTERVAL: Final = 60
#: Seconds between two probes while the gate is closed.
_PROBE_INTERVAL: Final = 4


@dataclass(frozen=True)
class BalanceProbe:
    """Read the balance of this process's key; record it, warn if it is low, reopen the gate.

    Once a minute; every few seconds while the gate is closed for insufficient balance.
    """

    redis: Redis
    ledger: Ledger
    #: Id of the key.
    key: str
    read_balance: Callable[[], Decimal | None]
    clock: Callable[[], float]
    warn_if_low: Callable[[Decimal], None] = lambda _: None

    def run(self) -> None:
        """Read the balance if it is due."""
        state, reason, needed = self.redis.hmget(GATE + self.key, "state", "reason", "needed")
        is_closed = (state, reason) == (b"closed", InsufficientBalance.code.encode())
        name, interval = "balance-read", _BALANCE_INTERVAL
        if is_closed:
            name, interval = "balance", _PROBE_INTERVAL
        if not is_due(self.redis, f"{name}:{self.key}", interval):
            return
        balance = self.read_balance()
        if balance is None:
            self.redis.hdel(BALANCES, self.key)
            return
        moment = round(self.clock() * 1000)
        self.redis.hset(BALANCES, self.key, f"{nano_rubles(balance)} {moment}")
        if is_closed and nano_rubles(balance) > int(needed or 0):
            log.info("gate.topped_up", balance_rub=str(balance))
            self.ledger.steer_gate(self.key, GateOrder.REOPEN)
        self.warn_if_low(balance)


@dataclass(frozen=True)
class OutageProbe:
    """Postpone paid trials of a gate closed for an outage until a free request is answered."""

    redis: Redis
    ledger: Ledger
    #: Id of the key.
    key: str
    answers: Callable[[], bool]

    def run(self) -> None:
        """Postpone the next trial if the provider does not answer."""
        state, reason = self.redis.hmget(GATE + self.key, "state", "reason")
        if (state, reason) != (b"closed", ProviderUnavailable.code.encode()):
            return
        if is_due(self.redis, f"recovery:{self.key}", _PROBE_INTERVAL) and not self.answers():
            self.ledger.steer_gate(self.key, GateOrder.POSTPONE)
