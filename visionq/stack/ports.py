"""Ports for a stack that keeps them through restarts of its parts."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

from visionq.stack.errors import StartFailed

if TYPE_CHECKING:
    from random import Random

#: Below the range from which Linux and macOS take ports for outgoing connections: while a part
#: is down between two lives, no such connection can sit on its port.
RANGE: Final = range(20_000, 30_000)
_ATTEMPTS: Final = 200


def free_ports(count: int, random: Random) -> list[int]:
    """Return `count` different ports of 127.0.0.1 on which nobody listens now.

    Raises:
        StartFailed: no such ports were found.
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
        raise StartFailed(f"no free ports between {RANGE.start} and {RANGE.stop - 1}")
    return found
