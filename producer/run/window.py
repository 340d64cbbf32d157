"""The jobs that are out: as many as keep the workers busy, however long the source is."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from producer.run.rows import Place
    from producer.sources import Row
    from visionq.ledger import NewJob

#: Jobs in the ledger at once: enough for some hundred slots, and few enough to lose with Redis.
MOST_JOBS: Final = 1_000
#: Bytes of their pictures, which stand in Redis until the jobs end.
MOST_BYTES: Final = 256_000_000


@dataclass(frozen=True, slots=True)
class Out:
    """One job that is out, and the row to submit it from again should Redis lose it."""

    job: NewJob
    row: Row
    place: Place
    size: int
    #: Whether this submission entered it; else an earlier run of the same has.
    created: bool


class Window:
    """Filled by the thread that submits, emptied by the one that collects."""

    def __init__(self, most_jobs: int = MOST_JOBS, most_bytes: int = MOST_BYTES) -> None:
        self._most_jobs = most_jobs
        self._most_bytes = most_bytes
        self._out: dict[str, Out] = {}
        self._bytes = 0
        self._changed = threading.Condition()
        self._closed = False

    def __len__(self) -> int:
        return len(self._out)

    def wait_for_room(self, jobs: int, size: int) -> bool:
        """Wait until so much more may go out; false when no more may at all.

        An empty window takes anything, so that no picture is too large for it.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._has_room(jobs, size))
            return not self._closed

    def _has_room(self, jobs: int, size: int) -> bool:
        fits = len(self._out) + jobs <= self._most_jobs and self._bytes + size <= self._most_bytes
        return fits or not self._out

    def add(self, jobs: Iterable[Out]) -> None:
        """Note jobs that are out now."""
        with self._changed:
            for one in jobs:
                self._out[one.job.id] = one
                self._bytes += one.size

    def take(self, job_ids: Iterable[str]) -> list[Out]:
        """Return and remove those of the jobs that are here."""
        with self._changed:
            taken = [self._out.pop(job_id) for job_id in job_ids if job_id in self._out]
            self._bytes -= sum(one.size for one in taken)
            self._changed.notify_all()
        return taken

    def ids(self) -> Sequence[str]:
        """Return the jobs that are out, the longest out first."""
        with self._changed:
            return list(self._out)

    def close(self) -> None:
        """Let nobody wait for room any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
