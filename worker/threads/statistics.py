"""The thread that writes counters of attempts, and the learned statistics.

They are gathered and written once a second in one script. A crash loses those of the last second,
and never money or jobs, which are written with the end of each attempt.
"""

from __future__ import annotations

from collections import deque
from threading import Lock
from typing import TYPE_CHECKING, Final

import structlog

from visionq.ledger.attempt_statistics import statistics_of
from visionq.redis_connection import TRANSIENT_ERRORS
from worker.threads import BackgroundThread

if TYPE_CHECKING:
    from visionq.contract import JobDocument
    from visionq.ledger import Ending, Ledger
    from visionq.ledger.attempt_statistics import AttemptStatistics

log = structlog.get_logger(__name__)

_PAUSE: Final = 1.0
#: Attempts that are kept: more can't end in the moments for which Redis takes nothing.
_MOST_KEPT: Final = 10_000


class StatisticsWriter(BackgroundThread):
    """Counters of attempts since the last flush."""

    def __init__(self, ledger: Ledger) -> None:
        super().__init__("visionq-statistics")
        self._ledger = ledger
        self._attempts: deque[AttemptStatistics] = deque(maxlen=_MOST_KEPT)
        self._flushing = Lock()

    def add(self, document: JobDocument, ending: Ending) -> None:
        """Add the counters of an attempt; call this when its end is written."""
        self._attempts.append(statistics_of(document, ending))

    def flush(self) -> None:
        """Write the gathered counters; failed writes are repeated next time."""
        with self._flushing:
            attempts = [self._attempts.popleft() for _ in range(len(self._attempts))]
            if not attempts:
                return
            try:
                self._ledger.add_statistics(attempts)
            except TRANSIENT_ERRORS as error:
                log.warning("statistics.failed", error=str(error))
                self._attempts.extendleft(reversed(attempts))
            except Exception:
                # A number for a chart must not end the thread, nor be tried for ever.
                log.exception("statistics.dropped", attempts=len(attempts))

    def _run(self) -> None:
        while not self._stopped.wait(_PAUSE):
            self.flush()

    def stop(self) -> None:
        """Stop, and write the remaining counters; no job may run any more."""
        super().stop()
        self.join(timeout=5)
        self.flush()
