"""Find or start the stack that a command uses, and explain why its jobs are blocked."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import click
from redis.exceptions import NoPermissionError

from visionq.cli.record import read_record
from visionq.cli.shared import find_redis_url
from visionq.contract import DelayReason
from visionq.devstack.temporary import temporary_stack
from visionq.installation import STACK, check_extras
from visionq.ledger.views import is_served

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from redis import Redis

    from visionq.ledger.gates import Gate
    from visionq.settings import Settings


@dataclass(frozen=True, slots=True)
class Stack:
    """Addresses of Redis and the provider, as far as they are known here."""

    redis_url: str
    #: Ends in `/openai/v1`; None if only the workers know.
    provider_url: str | None = None
    #: Whether the simulator answers; None if only the workers know.
    simulated: bool | None = None


def simulates(settings: Settings) -> bool | None:
    """Return whether the simulator answers in the stack of `found_stack`; None: unknown."""
    if settings.redis_url is not None:
        return None
    record = read_record()
    return settings.api_key is None if record is None else record.simulator_url is not None


@contextmanager
def found_stack(settings: Settings, *options: str) -> Iterator[Stack]:
    """Give the stack of `VISIONQ_REDIS_URL`, else the running one, else a temporary one.

    `options` of `visionq up` apply to a temporary stack.

    Raises:
        QueueUnavailable: a temporary stack did not start.
        ConfigurationError: the address of Redis is malformed, or the packages of a temporary stack
            are not installed.
    """
    record = read_record() if settings.redis_url is None else None
    if settings.redis_url is not None:
        yield Stack(find_redis_url(settings))
    elif record is not None:
        simulated = record.simulator_url is not None
        yield Stack(record.redis_url, record.provider_url, simulated)
    else:
        check_extras("no stack is running, VISIONQ_REDIS_URL is not set, and starting one", STACK)
        click.echo("no stack is running: starting a temporary one …", err=True)
        with temporary_stack(*options) as urls:
            simulated = urls["simulator_url"] is not None
            yield Stack(urls["redis_url"], urls["provider_url"], simulated)


#: Seconds after which a reminder is repeated.
REMIND_EVERY: Final = 60.0
#: Reason of a closed gate → message.
_GATES: Final = {
    "insufficient_balance": "the balance is used up",
    "key_rejected": "the provider does not accept the key",
    "access_denied": "the key may not be used from here",
    "operator": "an operator has closed the gate",
}


def no_worker(redis: Redis, queue: str) -> str | None:
    """Return a message if no worker serves a queue, else None, also without permission."""
    try:
        served = is_served(redis, queue)
    except NoPermissionError:
        return None
    return None if served else f"no worker serves {queue}: start one with `visionq worker`"


def closed_gate(gate: Gate) -> str | None:
    """Return a message about a gate that lets no call pass, else None."""
    if gate.state == "closed":
        reason = gate.reason or ""
        since = f" since {gate.since.astimezone():%H:%M:%S}" if gate.since else ""
        said = _GATES.get(reason, reason)
        return f"waiting: {said}{since}; goes on by itself when that is fixed"
    if gate.held:
        held = ", ".join(f"{scope} ({reason})" for scope, reason in gate.held.items())
        is_waste = DelayReason.WASTE in gate.held.values()
        return f"held: {held}; see `visionq {'budget waste show' if is_waste else 'gate show'}`"
    return None


class Reminder:
    """Decides when to print a line: at once if it is new, then every minute.

    A line that differs only in digits is not new.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._said: str | None = None
        self._at = 0.0

    def is_due(self, line: str | None) -> bool:
        """Return whether to print the line now; None if there is nothing left to report."""
        shape = None if line is None else "".join(one for one in line if not one.isdigit())
        now = self._clock()
        if shape == self._said and (line is None or now - self._at < REMIND_EVERY):
            return False
        self._said, self._at = shape, now
        return True
