"""A fleet at a rate limit in simulated time: the ledger's own scripts, in a real Redis."""

from __future__ import annotations

import heapq
import itertools
import math
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any, Final

from tests.support.ledger import completed, new_job
from visionq.devstack.simulator.account import TokenBucket
from visionq.errors import RateLimited
from visionq.ledger import Billing, Claim, Ending, RateLimitFeedback, Verdict
from worker.decision import AttemptFacts, decide

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.ledger import LedgerDriver
    from visionq.ledger import Registration

_RENEWAL: Final = 3.0
_BACKLOG: Final = 400


@dataclass
class Provider:
    """What refuses calls: a bucket of a second's calls, and, at any rate, a share of the calls."""

    per_minute: float | None = None
    refused: float = 0
    #: Whether a refusal says how long to wait.
    says_pause: bool = True
    #: Seconds that half of the answers take.
    latency: float = 1.5
    #: Whether answers announce the limit.
    announces: bool = False


@dataclass
class RateLimitFleet:
    """Slots that work through an endless backlog. Times are seconds since the start."""

    driver: LedgerDriver
    provider: Provider
    slots: int = 64
    random: Random = field(default_factory=lambda: Random(1))
    #: When each call was sent, and whether it was answered.
    calls: list[tuple[float, bool]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._began = self.driver.clock.now
        self._events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._numbers = itertools.count()
        self._worker: Registration = self.driver.worker(slots=self.slots)
        self._leases: dict[str, str] = {}
        self._queued = 0
        self.change_limit(self.provider.per_minute)
        self._after(0, self._dispatch)
        self._after(_RENEWAL, self._renew)

    def change_limit(self, per_minute: float | None) -> None:
        self.provider.per_minute = per_minute
        self._bucket = TokenBucket.full(per_minute, self.driver.clock.now) if per_minute else None

    def run(self, until: float) -> None:
        while self._events[0][0] <= self._began + until:
            moment, _, act, arguments = heapq.heappop(self._events)
            self.driver.clock.now = max(moment, self.driver.clock.now)
            act(*arguments)

    def figures(self, start: float, end: float) -> tuple[float, float]:
        """Return the answered calls a minute, and the share of calls that were refused."""
        answered = [is_answered for moment, is_answered in self.calls if start <= moment < end]
        return sum(answered) * 60 / (end - start), 1 - sum(answered) / len(answered)

    def _after(self, delay: float, act: Callable[..., None], *arguments: object) -> None:
        event = (self.driver.clock.now + delay, next(self._numbers), act, arguments)
        heapq.heappush(self._events, event)

    def _renew(self) -> None:
        self.driver.ledger.renew(self._worker, list(self._leases.items()))
        self._after(_RENEWAL, self._renew)

    def _dispatch(self) -> None:
        if self._queued < _BACKLOG:
            self._queued += len(self.driver.enter(*(new_job(reuse="off") for _ in range(_BACKLOG))))
        for hint in self.driver.hints():
            self._after(self.random.uniform(0.002, 0.01), self._claim, hint.id)
        self._after(0.1, self._dispatch)

    def _claim(self, job_id: str) -> None:
        token = f"token-{next(self._numbers)}"
        claim = self.driver.ledger.claim(job_id, token, self._worker)
        if isinstance(claim, Claim):
            self._leases[job_id] = token
            self._after(self.random.uniform(0.02, 0.15), self._admit, claim)

    def _admit(self, claim: Claim) -> None:
        admission = self.driver.ledger.admit(claim)
        if admission.verdict is Verdict.WAIT:
            self._after(admission.wait + self.random.uniform(0, 0.01), self._admit, claim)
        elif admission.verdict is Verdict.GO:
            self._after(self.random.uniform(0.005, 0.03), self._send, claim)
        else:
            del self._leases[claim.id]

    def _send(self, claim: Claim) -> None:
        now, pause = self.driver.clock.now, 0.0
        if self.random.random() < self.provider.refused:
            pause = 0.1
        elif self._bucket:
            pause = self._bucket.wait_for(1, now)
        if not pause and self._bucket:
            self._bucket.take(1)
        self.calls.append((now - self._began, not pause))
        answer = self.random.lognormvariate(math.log(self.provider.latency), 0.3)
        self._after(0.05 if pause else answer, self._finish, claim, pause)

    def _finish(self, claim: Claim, pause: float) -> None:
        del self._leases[claim.id]
        announced = self.provider.per_minute if self.provider.announces else None
        if not pause:
            self._queued -= 1
            feedback = RateLimitFeedback(requests_limit=announced)
            self.driver.ledger.finish(
                claim, Ending(completed(claim.id), Billing.SETTLED, 5, rate_limit=feedback)
            )
            return
        told = pause if self.provider.says_pause else None
        outcome = decide(
            RateLimited("too fast", retry_after=told),
            AttemptFacts(1, 5, waits=claim.waits),
            random=self.random.random,
        )
        feedback = RateLimitFeedback(refused=True, pause=told, requests_limit=announced)
        self.driver.ledger.finish(claim, Ending(outcome, Billing.RELEASED, rate_limit=feedback))
