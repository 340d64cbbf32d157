"""What a process shows of its progress, and the rules by which it stands still."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from worker.threads.leases import Leases

#: Seconds without progress that no thread takes which is well, beside what its stage allows.
PATIENCE: Final = 60.0
CONSUMER: Final = "consumer"
DISPATCHER: Final = "dispatcher"
HEARTBEAT: Final = "heartbeat"


class Progress:
    """Signs of life of the threads of a process, each judged from its first sign on.

    Nothing that waits for Redis counts as standing still: time counts from when Redis answered
    again. The heartbeat alone, whose calls end in seconds either way, is judged always.
    """

    def __init__(
        self, leases: Leases, slots: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._leases = leases
        self._slots = slots
        self._clock = clock
        self._lock = threading.Lock()
        self._seen: dict[str, float] = {}
        #: Since when Redis has answered without a failure between.
        self._redis_since: float | None = None

    def beat(self, thread: str) -> None:
        """A thread has come round."""
        with self._lock:
            self._seen[thread] = self._clock()

    def rest(self, thread: str) -> None:
        """A thread has ended, or waits for a broker: not judged until it comes round again."""
        with self._lock:
            self._seen.pop(thread, None)

    def redis_answered(self, *, answered: bool) -> None:
        """Whether the heartbeat's last call went through."""
        with self._lock:
            if not answered:
                self._redis_since = None
            elif self._redis_since is None:
                self._redis_since = self._clock()

    @property
    def redis(self) -> str:
        """What is known of Redis, in a word."""
        return "away" if self._redis_since is None else "answers"

    def lost_slots(self) -> int:
        """Return how many jobs hang so far beyond their time that their threads are lost."""
        since = self._redis_since
        if since is None or self._clock() - since < PATIENCE:
            return 0
        return self._leases.hung(beyond=PATIENCE)

    def all_slots_lost(self) -> bool:
        """Whether the process can't work any more, though nothing but itself is in its way."""
        return self.lost_slots() >= self._slots

    def trouble(self) -> str | None:
        """Return what stands still, if anything does."""
        now = self._clock()
        with self._lock:
            seen, redis_since = dict(self._seen), self._redis_since
        for thread, moment in seen.items():
            if thread != HEARTBEAT and redis_since is None:
                continue
            since = moment if thread == HEARTBEAT else max(moment, redis_since or moment)
            if now - since > PATIENCE:
                return f"its {thread} has stood still for {now - since:.0f} s"
        if self.all_slots_lost():
            return f"all {self._slots} slots hang in stages beyond their time"
        return None
