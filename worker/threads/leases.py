"""The claims that this process holds, and for how long each stage may still need them."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from visionq.ledger import Claim


@dataclass(slots=True)
class Lease:
    """One claim. It is renewed until the deadline of the stage that runs."""

    job_id: str
    token: str
    clock: Callable[[], float]
    renew_until: float = field(default=0)

    def extend(self, seconds: float) -> None:
        """Begin a stage that may take so long; a stage that hangs longer loses the job."""
        self.renew_until = self.clock() + seconds


class Leases:
    """Shared by the threads that work on jobs and the one that renews their leases."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._held: dict[str, Lease] = {}

    @contextmanager
    def hold(self, claim: Claim, seconds: float) -> Iterator[Lease]:
        """Hold a claim while its job is worked on."""
        lease = Lease(claim.id, claim.token, self._clock)
        lease.extend(seconds)
        with self._lock:
            self._held[claim.token] = lease
        try:
            yield lease
        finally:
            with self._lock:
                del self._held[claim.token]

    def to_renew(self) -> list[tuple[str, str]]:
        """Return (job, token) of every claim whose stage is within its time."""
        now = self._clock()
        with self._lock:
            return [
                (lease.job_id, lease.token)
                for lease in self._held.values()
                if now < lease.renew_until
            ]

    def hung(self, beyond: float = 0) -> int:
        """Return how many jobs are in a stage so many seconds beyond its time, or more."""
        now = self._clock() - beyond
        with self._lock:
            return sum(now >= lease.renew_until for lease in self._held.values())

    def __len__(self) -> int:
        """How many jobs are worked on, within their time or not."""
        with self._lock:
            return len(self._held)
