"""The thread that runs periodic tasks under a lock of the fleet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

import structlog

from visionq.errors import QueueUnavailable
from visionq.names import MAINTENANCE
from visionq.redis_connection import TRANSIENT_ERRORS
from worker.threads import BackgroundThread

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redis import Redis

log = structlog.get_logger(__name__)

#: Seconds from round to round.
_PAUSE: Final = 5.0


def is_due(redis: Redis, name: str, seconds: int) -> bool:
    """Claim the fleet's next run of a task; false within `seconds` of the last one."""
    return bool(redis.set(MAINTENANCE + name, "1", ex=seconds, nx=True))


class PeriodicTask(Protocol):
    """A task that runs in every round."""

    def run(self) -> None:
        """Run once; a failure is retried in the next round."""
        ...


class MaintenanceThread(BackgroundThread):
    """Runs its tasks, round after round, until it is stopped."""

    def __init__(self, tasks: Sequence[PeriodicTask], pause: float = _PAUSE) -> None:
        super().__init__("visionq-watch")
        self._periodic_tasks = tasks
        self._pause = pause

    def _run(self) -> None:
        pause = min(self._pause, _PAUSE)  # the first round is soon, however rare they are
        while not self._stopped.wait(pause):
            for task in self._periodic_tasks:
                self._run_task(task)
            pause = self._pause

    def _run_task(self, task: PeriodicTask) -> None:
        try:
            task.run()
        except (*TRANSIENT_ERRORS, QueueUnavailable) as error:
            log.warning("watch.failed", duty=type(task).__name__, error=str(error))
        except Exception:
            # The thread must live: without it a closed gate stays closed and blobs stay forever.
            log.exception("watch.failed", duty=type(task).__name__)
