"""A ledger that blocks, with what the product does to a job at work in an event loop only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from tests.support.awaited import Awaited, at_once
from visionq.ledger import AsyncLedger, Ledger, LedgerOptions

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis import Redis

    from visionq.ledger import Admission, Claim, ClaimRefusal, Ending, Registration, Written
    from visionq.ledger.scripts import Call

T = TypeVar("T")


class WorkerLedger(Ledger):
    """Makes the transitions of `AsyncLedger` at once, by the clock of the test."""

    def __init__(
        self,
        redis: Redis,
        options: LedgerOptions | None = None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        super().__init__(redis, options, clock)
        self._at_work = _AtWork(self)

    def claim(self, job_id: str, token: str, registration: Registration) -> Claim | ClaimRefusal:
        return at_once(self._at_work.claim(job_id, token, registration))

    def admit(self, claim: Claim, **wanted: Any) -> Admission:
        return at_once(self._at_work.admit(claim, **wanted))

    def gather(self, key: str, leader: str, most: int) -> tuple[str, ...]:
        return at_once(self._at_work.gather(key, leader, most))

    def lead_together(self, key: str, job_id: str, seconds: int) -> bool:
        return at_once(self._at_work.lead_together(key, job_id, seconds))

    def release_together(self, key: str, job_id: str) -> None:
        at_once(self._at_work.release_together(key, job_id))

    def list_together(self, key: str, job_ids: Any) -> None:
        at_once(self._at_work.list_together(key, job_ids))

    def cached_answer(self, cache_key: str) -> str | None:
        return at_once(self._at_work.cached_answer(cache_key))

    def finish(self, claim: Claim, ending: Ending) -> Written:
        return at_once(self._at_work.finish(claim, ending))

    def block(self, claim: Claim) -> None:
        at_once(self._at_work.block(claim))


class _AtWork(AsyncLedger):
    def __init__(self, ledger: WorkerLedger) -> None:
        redis: Any = Awaited(ledger.redis)
        self.redis = redis
        self.options = ledger.options
        self._ledger = ledger

    async def _now(self) -> float:
        return self._ledger._now()

    async def _make(self, call: Call[T]) -> T:
        return self._ledger.make(call)
