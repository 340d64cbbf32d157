"""The leases of this process, and the thread that renews them.

The thread outlives Celery's consumer: a warm shutdown stops the consumer first and then waits for
running jobs, whose leases must hold until they end.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

from visionq.redis_connection import TRANSIENT_ERRORS
from worker.threads import BackgroundThread
from worker.threads.watchdog import HEARTBEAT, Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from visionq.ledger import Claim, Ledger, Registration


log = structlog.get_logger(__name__)

#: Signs of life within one lease: a few may fail before the lease lapses.
_BEATS_PER_LEASE = 5
#: Seconds until the next try after a failure.
_PAUSE_AFTER_FAILURE = 0.5


@dataclass(slots=True)
class Lease:
    """One claim. It is renewed until the deadline of the stage that runs."""

    job_id: str
    token: str
    clock: Callable[[], float]
    renew_until: float = field(default=0)

    def extend(self, seconds: float) -> None:
        """Start a stage with a time limit; exceeding it loses the job."""
        self.renew_until = self.clock() + seconds


class Leases:
    """Shared by the jobs at work and the thread that renews their leases."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._held: dict[str, Lease] = {}

    @contextmanager
    def hold(self, claim: Claim, seconds: float) -> Iterator[Lease]:
        """Hold a claim while its job is processed."""
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
        """Return the number of jobs that exceed their stage's time by `beyond` seconds."""
        now = self._clock() - beyond
        with self._lock:
            return sum(now >= lease.renew_until for lease in self._held.values())

    def __len__(self) -> int:
        """Count running jobs, within their time or not."""
        with self._lock:
            return len(self._held)


class Heartbeat(BackgroundThread):
    """Renews every lease a few times within its time."""

    def __init__(
        self,
        ledger: Ledger,
        leases: Leases,
        registration: Registration,
        progress: Progress | None = None,
    ) -> None:
        super().__init__("visionq-heartbeat")
        self._ledger = ledger
        self._leases = leases
        self._registration = registration
        self._progress = progress or Progress(leases, registration.slots)
        self._draining = threading.Event()

    def drain(self) -> None:
        """Take no more work: offer only the slots that are still filled."""
        self._draining.set()

    def stop(self) -> None:
        """Deregister; call this when no job runs any more."""
        super().stop()
        if self._thread.ident is None:
            return  # it never registered
        self.join(timeout=5)
        try:
            self._ledger.renew(dataclasses.replace(self._registration, slots=0))
        except TRANSIENT_ERRORS:
            log.warning("heartbeat.leave_failed", consequence="the registration lapses by itself")

    def _run(self) -> None:
        pause = self._ledger.options.lease / _BEATS_PER_LEASE
        while not self._stopped.is_set():
            answered = self._beat()
            self._progress.redis_answered(answered=answered)
            self._progress.beat(HEARTBEAT)
            self._stopped.wait(pause if answered else _PAUSE_AFTER_FAILURE)

    def _beat(self) -> bool:
        # For `visionq status`.
        facts = {**self._registration.facts, "jobs": len(self._leases), "hung": self._leases.hung()}
        # A job that hangs keeps its slot, which must not be counted on.
        slots = max(0, self._registration.slots - self._progress.lost_slots())
        registration = dataclasses.replace(self._registration, facts=facts, slots=slots)
        if self._draining.is_set():
            registration = dataclasses.replace(registration, slots=len(self._leases))
        try:
            # Jobs in a loop that is stuck belong to other workers.
            kept = [] if self._progress.is_loop_stuck else self._leases.to_renew()
            lost = self._ledger.renew(registration, kept)
        except TRANSIENT_ERRORS as error:
            log.warning("heartbeat.failed", error=str(error))
            return False
        except Exception:
            # The thread must live: without it every job of this process would be taken away.
            log.exception("heartbeat.failed")
            return False
        for job_id in lost:
            log.warning("lease.lost", job=job_id)
        return True
