"""Never more downloads from one host at a time than it should bear."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpcore2

from worker.deadlines import bounded

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass
class _Host:
    free: threading.Semaphore
    #: Threads that hold a slot or wait for one; with none left the host is forgotten.
    users: int = 0


class HostSlots:
    """A number of places for each host."""

    def __init__(self, count: int) -> None:
        """Give every host `count` places."""
        self._count = count
        self._hosts: dict[str, _Host] = {}
        self._lock = threading.Lock()

    @contextmanager
    def of(self, host: str) -> Iterator[None]:
        """Hold a place of a host; raises `httpcore2.PoolTimeout` past the download's deadline."""
        with self._lock:
            entry = self._hosts.setdefault(host, _Host(threading.Semaphore(self._count)))
            entry.users += 1
        try:
            if not entry.free.acquire(timeout=bounded(None, httpcore2.ConnectTimeout)):
                raise httpcore2.PoolTimeout("too many downloads from this host")
            try:
                yield
            finally:
                entry.free.release()
        finally:
            with self._lock:
                entry.users -= 1
                if not entry.users:
                    del self._hosts[host]

    def __len__(self) -> int:
        """Count the hosts in use."""
        return len(self._hosts)
