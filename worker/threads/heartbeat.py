"""The thread that keeps this process registered and its leases running.

It outlives Celery's consumer: a warm shutdown stops the consumer first and then waits for the jobs
that run, whose leases must hold until they end.
"""

from __future__ import annotations

import dataclasses
import threading
from typing import TYPE_CHECKING

import structlog

from visionq.redis_connection import TRANSIENT_ERRORS
from worker.threads.health.progress import HEARTBEAT, Progress

if TYPE_CHECKING:
    from visionq.ledger import Ledger, Registration
    from worker.threads.leases import Leases

log = structlog.get_logger(__name__)

#: Signs of life within one lease: a few may fail before the lease lapses.
_BEATS_PER_LEASE = 5
#: Seconds until the next try after a failure.
_PAUSE_AFTER_FAILURE = 0.5


class Heartbeat:
    """Renews every lease a few times within its time."""

    def __init__(
        self,
        ledger: Ledger,
        leases: Leases,
        registration: Registration,
        progress: Progress | None = None,
    ) -> None:
        self._ledger = ledger
        self._leases = leases
        self._registration = registration
        self._progress = progress or Progress(leases, registration.slots)
        self._draining = threading.Event()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="visionq-heartbeat", daemon=True)

    def start(self) -> None:
        """Register and begin."""
        self._thread.start()

    def drain(self) -> None:
        """Take no more work: from now on the process has only the slots that it still fills."""
        self._draining.set()

    def stop(self) -> None:
        """Take leave; to be called when no job runs any more."""
        self._stopped.set()
        if self._thread.ident is None:
            return  # it never registered
        self._thread.join(timeout=5)
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
        # For `visionq status` and whoever looks.
        facts = {**self._registration.facts, "jobs": len(self._leases), "hung": self._leases.hung()}
        # A thread that hangs takes no hint: its slot must not be counted on.
        slots = max(0, self._registration.slots - self._progress.lost_slots())
        registration = dataclasses.replace(self._registration, facts=facts, slots=slots)
        if self._draining.is_set():
            registration = dataclasses.replace(registration, slots=len(self._leases))
        try:
            lost = self._ledger.renew(registration, self._leases.to_renew())
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
