"""Ports for servers that keep them across restarts."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from random import SystemRandom
from typing import TYPE_CHECKING, Final

from visionq.errors import QueueUnavailable

if TYPE_CHECKING:
    from random import Random

#: Below the range from which Linux and macOS take ports for outgoing connections: while a server
#: is down between two lives, no such connection can sit on its port.
RANGE: Final = range(20_000, 30_000)
_ATTEMPTS: Final = 200


def free_port() -> int:
    """Return one port of `free_ports`."""
    return free_ports(1, SystemRandom())[0]


def is_free(port: int) -> bool:
    """Return whether nobody listens on this port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_ports(count: int, random: Random) -> list[int]:
    """Return `count` different ports of 127.0.0.1 on which nobody listens now.

    Raises:
        QueueUnavailable: no such ports were found.
    """
    found: list[int] = []
    with ExitStack() as taken:
        for port in random.sample(RANGE, _ATTEMPTS):
            if len(found) == count:
                break
            probe = taken.enter_context(socket.socket())
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            found.append(port)
    if len(found) < count:
        raise QueueUnavailable(f"no free ports between {RANGE.start} and {RANGE.stop - 1}")
    return found
