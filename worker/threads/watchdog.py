"""The watchdog: progress of this process's threads, and the health file."""

from __future__ import annotations

import faulthandler
import os
import signal
import threading
import time
from typing import TYPE_CHECKING, Final

import structlog

from visionq.health import HealthReport, ReportFile, directory, fleet_of, now
from worker.threads import BackgroundThread

if TYPE_CHECKING:
    from collections.abc import Callable

    from visionq.settings import Settings
    from worker.threads.heartbeat import Leases

log = structlog.get_logger(__name__)

_INTERVAL: Final = 1.0

#: Seconds without progress that no thread takes which is well, beside what its stage allows.
PATIENCE: Final = 60.0
#: Seconds without a turn after which the event loop is stuck, and its jobs are left to others.
STUCK_AFTER: Final = 5.0
CONSUMER: Final = "consumer"
DISPATCHER: Final = "dispatcher"
HEARTBEAT: Final = "heartbeat"


class Progress:
    """Signs of life of the threads of a process, each judged from its first sign on.

    Nothing that waits for Redis counts as standing still: time counts from when Redis answered
    again. The heartbeat alone, whose calls end in seconds either way, is judged always.
    """

    def __init__(
        self,
        leases: Leases,
        slots: int,
        clock: Callable[[], float] = time.monotonic,
        silence: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """Read by `silence` the seconds since the event loop took a turn."""
        self._leases = leases
        self._slots = slots
        self._clock = clock
        self._silence = silence
        self._lock = threading.Lock()
        self._seen: dict[str, float] = {}
        #: Since when Redis has answered without a failure between.
        self._redis_since: float | None = None

    def beat(self, thread: str) -> None:
        """Note that a thread has made a round."""
        with self._lock:
            self._seen[thread] = self._clock()

    def rest(self, thread: str) -> None:
        """Stop judging a thread that has ended, or waits for a broker."""
        with self._lock:
            self._seen.pop(thread, None)

    def redis_answered(self, *, answered: bool) -> None:
        """Record whether the heartbeat's last call succeeded."""
        with self._lock:
            if not answered:
                self._redis_since = None
            elif self._redis_since is None:
                self._redis_since = self._clock()

    @property
    def redis(self) -> str:
        """State of Redis: `answers` or `away`."""
        return "away" if self._redis_since is None else "answers"

    @property
    def is_loop_stuck(self) -> bool:
        """Return whether the event loop, and every job in it, is stuck."""
        return self._silence() > STUCK_AFTER

    def lost_slots(self) -> int:
        """Return the number of slots that take no job."""
        if self.is_loop_stuck:
            return self._slots
        since = self._redis_since
        if since is None or self._clock() - since < PATIENCE:
            return 0
        return self._leases.hung(beyond=PATIENCE)

    def is_useless(self) -> bool:
        """Return whether the process can do no work, though Redis answers."""
        if self.is_loop_stuck:
            return self._silence() > PATIENCE
        return self.lost_slots() >= self._slots

    def trouble(self) -> str | None:
        """Return which thread is stuck, or None."""
        now = self._clock()
        with self._lock:
            seen, redis_since = dict(self._seen), self._redis_since
        for thread, moment in seen.items():
            if thread != HEARTBEAT and redis_since is None:
                continue
            since = moment if thread == HEARTBEAT else max(moment, redis_since or moment)
            if now - since > PATIENCE:
                return f"its {thread} has been stuck for {now - since:.0f} s"
        if self._silence() > PATIENCE:
            return f"its event loop has been stuck for {self._silence():.0f} s"
        if self.is_useless():
            return f"all {self._slots} slots hang in stages beyond their time"
        return None


class Watchdog:
    """Ends the process unless it is fed within a number of CPU seconds."""

    def __init__(self, seconds: float) -> None:
        """Do nothing before `start`."""
        self._seconds = seconds

    def start(self) -> None:
        """Begin; the signal prints each thread's stack and ends the process."""
        faulthandler.register(signal.SIGPROF, all_threads=True, chain=True)
        self.feed()

    def feed(self) -> None:
        """Restart the timer."""
        signal.setitimer(signal.ITIMER_PROF, self._seconds)

    def stop(self) -> None:
        """Leave the process alone from now on."""
        signal.setitimer(signal.ITIMER_PROF, 0)
        faulthandler.unregister(signal.SIGPROF)


class Reporter(BackgroundThread):
    """Reports health in the file that `visionq health` reads."""

    def __init__(self, progress: Progress, leases: Leases, name: str, settings: Settings) -> None:
        super().__init__("visionq-health")
        self._progress = progress
        self._leases = leases
        self._name = name
        self._settings = settings
        #: A lease lapses where nobody can renew it: then the process had better end, too.
        self._watchdog = Watchdog(settings.lease)

    def start(self) -> None:
        """Begin; a process works even if it can't report."""
        self._watchdog.start()
        super().start()

    def stop(self) -> None:
        """End."""
        super().stop()
        self._watchdog.stop()
        self.join(timeout=5)

    def report(self) -> HealthReport:
        """Return the health of this process."""
        return HealthReport(
            pid=os.getpid(),
            name=self._name,
            at=now(),
            trouble=self._progress.trouble(),
            redis=self._progress.redis,
            jobs=len(self._leases),
            hung=self._leases.hung(),
        )

    def _run(self) -> None:
        file = self._open()
        while not self._stopped.wait(_INTERVAL):
            self._watchdog.feed()
            if file is not None:
                file.write(self.report())
            if self._progress.is_useless():
                # Their jobs have gone to other workers when their leases lapsed: nothing is lost.
                reason = f"{self._progress.trouble()}; the supervisor restarts the worker"
                log.error("worker.ended", reason=reason)
                os._exit(1)
        if file is not None:
            file.remove()

    def _open(self) -> ReportFile | None:
        url = self._settings.redis_url
        try:
            file = ReportFile(directory(), fleet_of(url.get_secret_value() if url else ""))
        except OSError as error:
            log.warning("health.no_file", error=str(error))
            return None
        file.write(self.report())
        return file
