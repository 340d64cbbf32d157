"""A gate that closed for an outage is not tried by paid calls while nobody answers a free one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from visionq.errors import ProviderUnavailable
from visionq.ledger import GateOrder
from visionq.names import GATE, MAINTENANCE

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis import Redis

    from visionq.ledger import Ledger

#: Seconds until some process asks again.
_REST: Final = 4


@dataclass(frozen=True)
class OutageProbe:
    """Asks for something free while the gate of the process's own key is closed for an outage."""

    redis: Redis
    ledger: Ledger
    #: Id of the key.
    key: str
    answers: Callable[[], bool]

    def run(self) -> None:
        """Put the next trial off if the provider says nothing; where it does, pauses decide."""
        state, reason = self.redis.hmget(GATE + self.key, "state", "reason")
        if (state, reason) != (b"closed", ProviderUnavailable.code.encode()):
            return
        if not self.redis.set(f"{MAINTENANCE}recovery:{self.key}", "1", ex=_REST, nx=True):
            return
        if not self.answers():
            self.ledger.steer_gate(self.key, GateOrder.POSTPONE)
