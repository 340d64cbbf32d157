"""The thread that dispatches: it waits to be woken, looks, and publishes hints.

Scripts wake it through a list in Redis, which wakes one process of the fleet and not all; a tick a
second covers what a lost wake-up would leave.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import structlog
from kombu.exceptions import OperationalError

from visionq.names import WAKE
from visionq.redis_connection import TRANSIENT_ERRORS
from worker.threads.health.progress import DISPATCHER

if TYPE_CHECKING:
    from redis import Redis

    from visionq.ledger import Ledger
    from worker.threads.health import Progress
    from worker.threads.hints import HintPublisher

log = structlog.get_logger(__name__)

_TICK = 1.0
#: The tick of a process that finds others to be quicker; short enough to stand in for them.
_TICK_BEHIND = 1.8
#: A tick does nothing when some process of the fleet has just looked.
_REST = 0.9
_PAUSE_AFTER_FAILURE = 0.5


class Dispatcher:
    """Moves jobs from their lanes to the workers."""

    def __init__(
        self,
        redis: Redis,
        ledger: Ledger,
        publisher: HintPublisher,
        progress: Progress | None = None,
    ) -> None:
        self._redis = redis
        self._ledger = ledger
        self._publisher = publisher
        self._progress = progress
        self._tick = _TICK
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="visionq-dispatcher", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End after the current round; the rest of the fleet goes on dispatching."""
        self._stopped.set()

    def join(self, timeout: float) -> None:
        """Wait for the end."""
        if self._thread.ident is not None:
            self._thread.join(timeout)

    def _run(self) -> None:
        while not self._stopped.is_set():
            if self._progress is not None:
                self._progress.beat(DISPATCHER)
            try:
                woken = self._redis.blpop([WAKE], timeout=self._tick)
                if self._stopped.is_set():
                    self._pass_on(woken)
                    return
                self.look(rest=0 if woken else _REST)
            except (*TRANSIENT_ERRORS, OperationalError) as error:
                log.warning("dispatch.failed", error=str(error))
                self._stopped.wait(_PAUSE_AFTER_FAILURE)
            except Exception:
                # The thread must live: without it nothing is dispatched from this process.
                log.exception("dispatch.failed")
                self._stopped.wait(_PAUSE_AFTER_FAILURE)

    def look(self, *, rest: float = 0) -> None:
        """Dispatch once."""
        found = self._ledger.dispatch(rest=rest)
        self._tick = _TICK_BEHIND if found.rested else _TICK
        self._publisher.publish(found.hints)
        if found.deliveries:
            self._publisher.publish_deliveries(found.deliveries)
        if found.expired:
            self._ledger.expire(found.expired)

    def _pass_on(self, woken: object) -> None:
        if woken:
            self._redis.lpush(WAKE, "1")
