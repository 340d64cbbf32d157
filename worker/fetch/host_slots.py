"""Never more downloads at a time than connections, nor from one host than it should bear."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpcore2

from visionq.fair_limiter import FairLimiter
from worker.deadlines import bounded

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass
class _Host:
    slots: FairLimiter
    #: Threads that hold a slot or wait for one; with none left the host is forgotten.
    users: int = 0


class HostSlots:
    """A number of places for each host, and for all of them together."""

    def __init__(self, count: int, total: int) -> None:
        """Give every host `count` places, and all together `total`."""
        self._count = count
        self._all = FairLimiter(total)
        self._hosts: dict[str, _Host] = {}
        self._lock = threading.Lock()

    @contextmanager
    def of(self, host: str, tenant: str) -> Iterator[None]:
        """Hold a place of a host; raises `httpcore2.PoolTimeout` past the download's deadline."""
        with self._lock:
            entry = self._hosts.setdefault(host, _Host(FairLimiter(self._count)))
            entry.users += 1
        try:
            # The host's first: who waits for a slow host takes no place from other hosts.
            with _held(entry.slots, tenant), _held(self._all, tenant):
                yield
        finally:
            with self._lock:
                entry.users -= 1
                if not entry.users:
                    del self._hosts[host]

    def __len__(self) -> int:
        """Count the hosts in use."""
        return len(self._hosts)


@contextmanager
def _held(slots: FairLimiter, tenant: str) -> Iterator[None]:
    if not slots.take(tenant, timeout=bounded(None, httpcore2.ConnectTimeout)):
        raise httpcore2.PoolTimeout("too many downloads at a time")
    try:
        yield
    finally:
        slots.give_back(tenant)
