"""Submit rows of the source in portions, as the window has room."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from queue import Empty, Full, Queue, SimpleQueue
from typing import TYPE_CHECKING, Any, Final

from producer.run.run_record import RowAttempt, refused, unanswered
from producer.run.selection import inputs_of
from producer.sources import ROW_FAULTS, BadRow, Row, row_fault
from visionq.blobs import open_blobs
from visionq.errors import BlobMissing, QueueUnavailable, VisionqError
from visionq.ledger import LedgerFull, OverQuota, Submitted
from visionq.ledger.views import states_of
from visionq.redis_connection import as_queue_unavailable
from visionq.sans_io import run
from visionq.sdk.submitting import Draft, submit_drafts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from redis import Redis

    from producer.run.plan import Question
    from producer.run.record_index import IndexEntry as Known
    from producer.run.selection import Selection
    from visionq.ledger import Ledger, NewJob, Submission
    from visionq.settings import Settings

#: Jobs in the ledger at once: enough for some hundred slots, and few enough to lose with Redis.
WINDOW_JOBS: Final = 1_000
#: The same where jobs wait for batches: as many as two of them hold.
WINDOW_JOBS_OF_BATCHES: Final = 100_000
#: Bytes of their pictures, which are in Redis until the jobs end.
WINDOW_BYTES: Final = 256_000_000
#: The same where jobs wait for batches, until the provider has their lines: enough to fill a file.
WINDOW_BYTES_OF_BATCHES: Final = 1_000_000_000
#: Share of Redis's `maxmemory` that pictures may fill; of what is left, one run takes half.
_SHARE_OF_PICTURES: Final = 0.7


@dataclass(frozen=True, slots=True)
class Out:
    """A submitted job, and its row in case Redis loses it."""

    job: NewJob
    row: Row
    place: RowAttempt
    #: Bytes of its pictures in Redis.
    size: int
    #: Whether this run submitted it; else an earlier run of the same command did.
    created: bool
    #: Whether Redis has let its pictures go, since the provider has its line.
    is_released: bool = False


class Window:
    """The submitted jobs: one thread adds them, another takes those that have ended."""

    def __init__(self, most_jobs: int = WINDOW_JOBS, most_bytes: int = WINDOW_BYTES) -> None:
        self._most_jobs = most_jobs
        self.most_bytes = most_bytes
        self._out: dict[str, Out] = {}
        self._bytes = 0
        self._changed = threading.Condition()
        self._closed = False

    def __len__(self) -> int:
        return len(self._out)

    def wait_for_room(self, jobs: int, size: int) -> bool:
        """Wait for room; return False when the window is closed.

        An empty window takes anything, so that no picture is too large.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._has_room(jobs, size))
            return not self._closed

    def _has_room(self, jobs: int, size: int) -> bool:
        fits = len(self._out) + jobs <= self._most_jobs and self._bytes + size <= self.most_bytes
        return fits or not self._out

    def add(self, jobs: Iterable[Out]) -> None:
        """Add submitted jobs."""
        with self._changed:
            for one in jobs:
                self._out[one.job.id] = one
                self._bytes += one.size

    def take(self, job_ids: Iterable[str]) -> list[Out]:
        """Remove the given jobs and return those that were here."""
        with self._changed:
            taken = [self._out.pop(job_id) for job_id in job_ids if job_id in self._out]
            self._bytes -= sum(one.size for one in taken)
            self._changed.notify_all()
        return taken

    def release(self, job_ids: Iterable[str]) -> None:
        """Note that pictures are no longer in Redis."""
        with self._changed:
            for one in (self._out[job_id] for job_id in job_ids if job_id in self._out):
                self._bytes -= one.size
                self._out[one.job.id] = replace(one, size=0, is_released=True)
            self._changed.notify_all()

    def with_pictures(self, job_ids: Iterable[str]) -> list[str]:
        """Return those of the jobs whose pictures are in Redis, as far as is known."""
        with self._changed:
            found = ((job_id, self._out.get(job_id)) for job_id in job_ids)
            return [job_id for job_id, one in found if one is not None and not one.is_released]

    def ids(self) -> Sequence[str]:
        """Return the ids of all jobs, oldest first."""
        with self._changed:
            return list(self._out)

    def close(self) -> None:
        """End all waits for room."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


def bytes_for_batches(redis: Redis) -> int:
    """Return the bytes of pictures that Redis has room for at once."""
    told: Any = redis.info("memory")
    limit, used = int(told.get("maxmemory", 0)), int(told.get("used_memory", 0))
    if not limit:
        return WINDOW_BYTES_OF_BATCHES
    return max(0, min(WINDOW_BYTES_OF_BATCHES, int(limit * _SHARE_OF_PICTURES - used) // 2))


#: Largest chunk: one upload and one call of the ledger.
MOST_JOBS: Final = 250
MOST_BYTES: Final = 32_000_000
#: Rows that are read ahead.
_AHEAD: Final = 500
#: Seconds after which a chunk of a slow source is submitted as it is.
_LONGEST_REST: Final = 0.3
#: Seconds that a thread gets to end.
_FAREWELL: Final = 3.0
#: Seconds between tries while the ledger takes no jobs.
_PAUSE: Final = 1.0
#: Seconds without Redis after which a run gives up; the same command resumes it.
LONGEST_OUTAGE: Final = 600.0


@dataclass(frozen=True, slots=True)
class Ready:
    """A row that is ready to be submitted."""

    row: Row
    place: RowAttempt
    draft: Draft

    @property
    def size(self) -> int:
        """Bytes of its pictures."""
        return sum(map(len, self.draft.contents.values()))


@dataclass
class Submitter:
    """Uploads pictures and enters jobs."""

    ledger: Ledger
    redis: Redis
    settings: Settings

    def __post_init__(self) -> None:
        self._blobs = open_blobs(self.settings, self.redis)

    def submit(self, drafts: Sequence[Draft]) -> list[Submission]:
        """Submit jobs; raise `QueueUnavailable` when the ledger takes none.

        What an earlier run of the same command submitted needs no pictures.
        """
        with as_queue_unavailable():
            known = states_of(self.redis, [one.job.id for one in drafts])
            new = (
                replace(one, contents={}) if state else one
                for one, state in zip(drafts, known, strict=True)
            )
            replies = run(submit_drafts(new, self._blobs, self.ledger))
        for reply in replies:
            if isinstance(reply, OverQuota):
                raise reply.error()
            if isinstance(reply, LedgerFull):
                raise QueueUnavailable("Redis is close to its memory limit and takes no jobs")
        return replies


@dataclass
class Feeder:
    """Two threads: one reads the source, one turns its rows into jobs and submits them.

    A slow source such as stdin blocks nothing. Each row ends once: as a row in `ended`, or as a
    job in the window.
    """

    source: Iterable[Row | BadRow]
    question: Question
    run: str
    settings: Settings
    window: Window
    submitter: Submitter
    #: Called before each submission.
    before: Callable[[], None]
    selection: Selection
    #: Ids of the selected rows to ask about now; None: all.
    sample: frozenset[str] | None = None
    #: Columns of the source that OUT repeats; None: all.
    columns: tuple[str, ...] | None = None
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        #: Rows begun.
        self.begun = 0
        #: Whether the source has ended; `more`: whether rows outside the sample remain.
        self.read_all = False
        self.more = False
        #: Why nothing is being submitted.
        self.trouble: str | None = None
        #: The error that ended a thread.
        self.error: Exception | None = None
        self._ended: SimpleQueue[dict[str, Any]] = SimpleQueue()
        self._again: SimpleQueue[tuple[Row, RowAttempt]] = SimpleQueue()
        self._rows: Queue[tuple[Row, RowAttempt]] = Queue(_AHEAD)
        self._stopped = threading.Event()
        self._threads = [
            threading.Thread(target=self._guarded, args=(work,), name=name, daemon=True)
            for work, name in ((self._read, "run-reader"), (self._send, "run-sender"))
        ]

    def start(self) -> None:
        """Start reading."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Submit no more; do not wait long for a source that blocks."""
        self._stopped.set()
        self.window.close()
        for thread in self._threads:
            thread.join(timeout=_FAREWELL)

    def take_ended(self, most: int) -> list[dict[str, Any]]:
        """Return rows that did not become jobs, such as unreadable pictures."""
        rows: list[dict[str, Any]] = []
        while len(rows) < most:
            try:
                rows.append(self._ended.get_nowait())
            except Empty:
                break
        return rows

    def submit_again(self, lost: Iterable[Out], *, more_attempts: int = 0) -> None:
        """Submit jobs again that Redis has lost, or that an earlier run cancelled."""
        for one in lost:
            place = replace(one.place, attempt=one.place.attempt + more_attempts)
            self._again.put((one.row, place))

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001  # raised in the main thread, which ends the run
            self.error = error

    # The reader -----------------------------------------------------------------------------------

    def _read(self) -> None:
        for row in self.source:
            if self._stopped.is_set():
                return
            is_asked, before = self.selection.take(row)
            if not is_asked:
                continue
            if self.sample is not None and row.id not in self.sample:
                self.more = True
            else:
                self._begin(row, before)
        self.read_all = True

    def _begin(self, row: Row | BadRow, before: Known | None) -> None:
        self.begun += 1
        columns = row.columns
        if self.columns is not None:
            columns = {name: columns[name] for name in self.columns if name in columns}
        file = row.file if isinstance(row, Row) else ""
        inputs = inputs_of(row, self.question.prompt)
        place = RowAttempt(row.number, row.id, file=file, columns=columns, inputs=inputs)
        if before is not None:
            place = replace(place, attempt=before.attempt + 1, paid=before.paid)
        if isinstance(row, BadRow):
            self._ended.put(refused(row, place, self.question))
            return
        while not self._stopped.is_set():
            with suppress(Full):
                self._rows.put((row, place), timeout=_LONGEST_REST)
                return

    # The sender -----------------------------------------------------------------------------------

    def _send(self) -> None:
        portion: list[Ready] = []
        since = 0.0
        while not self._stopped.is_set():
            begun = self._next()
            if begun is not None and (ready := self._drafted(*begun)) is not None:
                since = since if portion else self.clock()
                portion.append(ready)
            waited = self.clock() - since > _LONGEST_REST
            if portion and (begun is None or waited or self._is_full(portion)):
                self._submit(portion)
                portion = []

    def _is_full(self, portion: Sequence[Ready]) -> bool:
        most = min(MOST_BYTES, self.window.most_bytes // 2)
        return len(portion) >= MOST_JOBS or sum(one.size for one in portion) >= most

    def _next(self) -> tuple[Row, RowAttempt] | None:
        with suppress(Empty):
            return self._again.get_nowait()
        with suppress(Empty):
            return self._rows.get(timeout=_LONGEST_REST)
        return None

    def _drafted(self, row: Row, place: RowAttempt) -> Ready | None:
        try:
            draft = self.question.draft(row, self.settings, self.run, place.attempt)
        except VisionqError as error:
            self._ended.put(unanswered(place, self.question, error))
            return None
        except ROW_FAULTS as error:
            self._ended.put(unanswered(place, self.question, row_fault(error)))
            return None
        return Ready(row, place, draft)

    def _submit(self, portion: Sequence[Ready]) -> None:
        """Submit a chunk, and try again while the ledger takes no jobs."""
        if not self.window.wait_for_room(len(portion), sum(one.size for one in portion)):
            return
        outs = []
        for one, reply in zip(portion, self._insist(portion), strict=False):
            if isinstance(reply, Submitted):
                outs.append(Out(one.draft.job, one.row, one.place, one.size, reply.created))
            else:
                error = BlobMissing("its picture vanished from Redis right after it was stored")
                self._ended.put(unanswered(one.place, self.question, error))
        self.window.add(outs)

    def _insist(self, portion: Sequence[Ready]) -> list[Submission]:
        began = self.clock()
        while not self._stopped.is_set():
            try:
                with as_queue_unavailable():
                    self.before()
                replies = self.submitter.submit([one.draft for one in portion])
            except QueueUnavailable as error:
                self.trouble = error.message
                if self.clock() - began > LONGEST_OUTAGE and not len(self.window):
                    raise
                self._stopped.wait(_PAUSE)
            else:
                self.trouble = None
                return replies
        return []
