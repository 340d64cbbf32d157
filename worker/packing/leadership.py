"""Elect the process that packs, for each key of the provider."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final

import structlog
from redis.exceptions import LockError

from visionq.names import PACKER_LEASE
from visionq.redis_connection import TRANSIENT_ERRORS
from worker.threads import BackgroundThread

if TYPE_CHECKING:
    from redis import Redis

log = structlog.get_logger(__name__)

#: Seconds after the death of a packer until another one takes over.
LEASE: Final = 20.0
_BEATS_PER_LEASE: Final = 5


class LeadershipLostError(Exception):
    """Another process may pack now: change nothing."""


class Leadership(BackgroundThread):
    """A lock that one process holds while its packer makes progress."""

    def __init__(self, redis: Redis, key: str, lease: float = LEASE) -> None:
        super().__init__("visionq-packer-lease")
        self._lock = redis.lock(
            PACKER_LEASE + key, timeout=lease, blocking=False, thread_local=False
        )
        self._lease = lease
        self._guard = threading.Lock()
        self._holds = False
        self._until = 0.0

    def take(self) -> bool:
        """Take the lock unless another process has it."""
        with self._guard:
            if not self._holds:
                self._holds = self._lock.acquire()
            return self._holds

    def extend(self, seconds: float = 60) -> None:
        """Hold the lock for the next step of at most `seconds`.

        Raises:
            LeadershipLostError: it is another's, or nobody's.
        """
        with self._guard:
            self._until = time.monotonic() + seconds
            if not self._holds:
                raise LeadershipLostError

    def leave(self) -> None:
        """Let another process have it."""
        with self._guard:
            if self._holds:
                self._holds = False
                try:
                    self._lock.release()
                except (LockError, *TRANSIENT_ERRORS) as error:
                    log.info("packer.lease_not_released", error=str(error))

    def _run(self) -> None:
        while not self._stopped.wait(self._lease / _BEATS_PER_LEASE):
            with self._guard:
                if self._holds and time.monotonic() < self._until:
                    self._renew()

    def _renew(self) -> None:
        try:
            self._holds = self._reacquired() or self._lock.acquire()
        except TRANSIENT_ERRORS as error:
            log.warning("packer.lease_not_renewed", error=str(error))

    def _reacquired(self) -> bool:
        """Return whether the lock was still ours; false: it lapsed.

        If another packer took our records over meanwhile, their holder fences us.
        """
        try:
            self._lock.reacquire()
        except LockError:
            log.warning("packer.lease_lapsed")
            return False
        return True
