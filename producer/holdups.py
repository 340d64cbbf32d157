"""Why jobs do not go on, in one line that says what to do."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from redis.exceptions import NoPermissionError

from visionq.ledger.serving import is_served

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis import Redis

    from visionq.ledger.gates import Gate

#: Seconds after which the same is said again.
SAID_EVERY: Final = 60.0
#: Why a gate is closed → what is to be said.
_GATES: Final = {
    "insufficient_balance": "the balance is used up",
    "key_rejected": "the provider does not accept the key",
    "access_denied": "the key may not be used from here",
    "operator": "an operator has closed the gate",
}


def no_worker(redis: Redis, queue: str) -> str | None:
    """Return what to say where nobody serves a queue; None: somebody does, or it can't be seen."""
    try:
        served = is_served(redis, queue)
    except NoPermissionError:
        return None
    return None if served else f"no worker serves {queue}: start one with `visionq worker`"


def closed_gate(gate: Gate) -> str | None:
    """Return what to say of the gate where it lets no call through."""
    if gate.state == "closed":
        reason = gate.reason or ""
        since = f" since {gate.since.astimezone():%H:%M:%S}" if gate.since else ""
        said = _GATES.get(reason, reason)
        return f"waiting: {said}{since}; goes on by itself when that is mended"
    if gate.held:
        held = ", ".join(f"{scope} ({reason})" for scope, reason in gate.held.items())
        return f"held: {held}; see `visionq gate show`"
    return None


class Reminder:
    """Decides when a line is said: at once when it is another, and then every minute.

    Figures in it make it no other.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._said: str | None = None
        self._at = 0.0

    def is_due(self, line: str | None) -> bool:
        """Return whether the line is to be said now; None: there is nothing to say any more."""
        shape = None if line is None else "".join(one for one in line if not one.isdigit())
        now = self._clock()
        if shape == self._said and (line is None or now - self._at < SAID_EVERY):
            return False
        self._said, self._at = shape, now
        return True
