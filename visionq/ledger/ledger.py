"""The ledger as programs call it."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, Final, TypeVar

from visionq.contract import DelayReason
from visionq.errors import ConfigurationError
from visionq.ledger import budgets, calls, deliveries, endings, spending
from visionq.ledger.attempt_statistics import add_statistics
from visionq.ledger.options import LedgerOptions
from visionq.ledger.rate_limits import set_limits
from visionq.ledger.scripts import MOST_PER_SCRIPT, OTHER, SCRIPTS, Call, script_text
from visionq.names import (
    ANSWER,
    CELERY_RESULT,
    JOB,
    LEDGER_VERSION,
    REVOKED,
    TOGETHER,
    TOGETHER_LEADER,
)
from visionq.pricing.money import day_of
from visionq.redis_connection import mapping_transient_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from decimal import Decimal

    from redis import Redis
    from redis.asyncio import Redis as AsyncRedis
    from redis.asyncio.client import Pipeline

    from visionq.contract.limits import Limits
    from visionq.ledger.attempt_statistics import AttemptStatistics
    from visionq.ledger.budgets import Book, BudgetScope
    from visionq.ledger.deliveries import DeliveryClaim, DeliveryEnding
    from visionq.ledger.records import (
        Admission,
        BatchPlace,
        Claim,
        ClaimRefusal,
        Dispatch,
        Ending,
        GateOrder,
        NewJob,
        Registration,
        Submission,
        Written,
    )
    from visionq.ledger.spending import Settled, UnknownCall

T = TypeVar("T")


#: Raised when an older release would misread what a newer one writes. New optional fields and new
#: keys are no reason: scripts of one version work side by side.
VERSION: Final = 1
#: Seconds after which Redis is asked again: clocks drift, and machines sleep.
_REST: Final = 60.0


def check_version(redis: Redis) -> None:
    """Mark an empty ledger as ours; refuse one that another version has written.

    Raises:
        ConfigurationError: the ledger is older or newer than this release can work on.
    """
    redis.set(LEDGER_VERSION, VERSION, nx=True)
    stored = redis.get(LEDGER_VERSION)
    found = int(stored) if stored is not None else VERSION
    if found > VERSION:
        raise ConfigurationError(
            f"the ledger in this Redis is of version {found}, this release works on {VERSION}:"
            " run the newer release, or another Redis"
        )
    if found < VERSION:
        raise ConfigurationError(
            f"the ledger in this Redis is of version {found}, this release works on {VERSION}:"
            " let the older release finish its jobs first, then remove the key"
            f" {LEDGER_VERSION}"
        )


class RedisClock:
    """Redis's time in seconds, extrapolated by the local clock, which may be a day off.

    Days of budgets turn by it, for everybody in the same moment.
    """

    def __init__(self, own: Callable[[], float] = time.time) -> None:
        """`own` goes as fast as Redis's clock does."""
        self._own = own
        self._ahead = 0.0
        self._asked: float | None = None

    def now(self, redis: Redis) -> float:
        """Return the time; raises redis-py's errors."""
        if self._is_old:
            self._set(redis.time())
        return self._own() + self._ahead

    async def now_async(self, redis: AsyncRedis) -> float:
        """Return the time; raises redis-py's errors."""
        if self._is_old:
            self._set(await redis.time())
        return self._own() + self._ahead

    @property
    def _is_old(self) -> bool:
        # Also when the machine's clock was put back.
        return self._asked is None or not 0 <= self._own() - self._asked < _REST

    def _set(self, told: Any) -> None:  # noqa: ANN401  # seconds and microseconds
        seconds, microseconds = told
        self._asked = self._own()
        self._ahead = seconds + microseconds / 1_000_000 - self._asked


class Ledger:
    """The record of every job, attempt and ruble, in one Redis.

    `clock` (seconds since the epoch) replaces Redis's own time in tests. Every method raises
    redis-py's errors as they are; `visionq.redis_connection` says which of them pass.
    """

    def __init__(
        self,
        redis: Redis,
        options: LedgerOptions | None = None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self.redis = redis
        self.options = options or LedgerOptions()
        self._clock = clock
        self._redis_clock = RedisClock()
        self._scripts = {name: redis.register_script(script_text(name)) for name in SCRIPTS}

    def submit(self, jobs: Sequence[NewJob]) -> list[Submission]:
        """Submit jobs, in order; idempotent by job id and by idempotency key."""
        replies: list[Submission] = []
        for few in _portions(jobs):
            replies += self.make(calls.submit(few, self.options))
        return replies

    def dispatch(self, limit: int = MOST_PER_SCRIPT, *, rest: float = 0) -> Dispatch:
        """Process what is due and take the next jobs; the caller publishes the hints.

        With `rest`, do nothing within that many seconds of the last look of any dispatcher.
        """
        return self.make(calls.dispatch(self.options, limit, rest, self._now()))

    def renew(
        self, registration: Registration, leases: Sequence[tuple[str, str]] = ()
    ) -> frozenset[str]:
        """Renew the registration and the (job, token) leases; return lost jobs."""
        facts = json.dumps(dict(registration.facts), ensure_ascii=False)
        return self.make(calls.renew(registration, facts, leases, self.options.lease))

    def canvas(self, job_id: str) -> tuple[bytes | None, bytes | None]:
        """Return what Celery sends when a job ends, and its Celery result."""
        with mapping_transient_errors(), self.redis.pipeline(transaction=False) as pipeline:
            pipeline.hget(JOB + job_id, "canvas")
            pipeline.get(CELERY_RESULT + job_id)
            canvas, meta = pipeline.execute()
        return canvas, meta

    def add_statistics(self, attempts: Sequence[AttemptStatistics]) -> None:
        """Add counts of attempts to the metrics and to the learned statistics."""
        for few in _portions(attempts):
            self.make(add_statistics(few))

    def cancel(self, job_ids: Sequence[str], only: str = "") -> list[str]:
        """Cancel jobs in any state, or only in one; return each former state, or `missing`."""
        states: list[str] = []
        for few in _portions(job_ids):
            states += self.make(endings.cancel(few, self.options, self._now(), only))
        return states

    def resume(self, job_ids: Sequence[str]) -> list[str]:
        """Resume parked jobs whose calls have unknown billing.

        Returns `resumed` for each, or the state of what is not parked for that, or `missing`.
        """
        states: list[str] = []
        for few in _portions(job_ids):
            states += self.make(calls.resume(few))
        return states

    def revoke(self, job_ids: Sequence[str]) -> list[str]:
        """Cancel jobs, even those submitted later; return states like `cancel`."""
        with self.redis.pipeline(transaction=False) as pipeline:
            for job_id in job_ids:
                pipeline.set(REVOKED + job_id, "", ex=self.options.result_ttl)
            pipeline.execute()
        return self.cancel(job_ids)

    def is_revoked(self, job_id: str) -> bool:
        """Return whether a job was revoked, perhaps before its submission."""
        return bool(self.redis.exists(REVOKED + job_id))

    def expire(self, job_ids: Sequence[str]) -> list[str]:
        """Fail the given jobs that are still queued: their deadline has passed."""
        return self.make(endings.expire(job_ids, self.options, self._now()))

    def forget(self, job_ids: Sequence[str]) -> int:
        """Remove jobs whose results their owner has saved; return how many.

        A job that has not ended, or whose money is still open, stays.
        """
        return sum(self.make(Call("forget", tuple(few), int)) for few in _portions(job_ids))

    def claim_delivery(self, delivery_id: str, token: str, lease: float) -> DeliveryClaim | None:
        """Take a hinted event for `lease` seconds; None if it is not due."""
        return self.make(deliveries.claim(delivery_id, token, lease))

    def finish_delivery(self, claim: DeliveryClaim, ending: DeliveryEnding) -> bool:
        """Record the outcome of a delivery; return false if another worker holds it."""
        return self.make(deliveries.finish(claim, ending, self.options))

    def redeliver(self, delivery_ids: Sequence[str]) -> list[str]:
        """Deliver events again; return the former state of each, or `missing`."""
        return [
            state
            for few in _portions(delivery_ids)
            for state in self.make(deliveries.redeliver(few))
        ]

    def note_replays(self, replays: Mapping[str, str]) -> None:
        """Record for each old job the new one that replaces it."""
        for few in _portions(list(replays)):
            self.make(calls.note_replays({old: replays[old] for old in few}))

    def fall_back(self, most: int = 500) -> int:
        """Move queued jobs of long-held models to their fallback; return how many.

        At most `most` of each model go, so repeat it until none does.
        """
        return self.make(calls.fall_back(most))

    def steer_gate(
        self, key: str, order: GateOrder, reason: DelayReason = DelayReason.OPERATOR
    ) -> str:
        """Close, open or slowly reopen a key's gate; return its former state."""
        return self.make(calls.steer_gate(key, order, reason))

    def set_budget(self, scope: BudgetScope, limit_rub: Decimal | None) -> None:
        """Set the budget of a tenant or a batch; None removes it.

        Jobs that a lower budget stopped go on by themselves.

        Raises:
            ValueError: the limit is not an amount of rubles, or a batch has no such period.
        """
        self.make(budgets.set_budget(scope, limit_rub, self.options))

    def budgets(self, most: int | None = None) -> tuple[Book, ...]:
        """Return the books of scopes with a budget, in order; at most `most`, tenants first."""
        return self.make(budgets.budgets(self.options, self._now(), most))

    def book(self, scope: BudgetScope) -> Book:
        """Return what a scope has reserved, paid, saved and left."""
        return self.make(budgets.book(scope, self.options, self._now()))

    def settle_unknown(
        self, calls: Sequence[UnknownCall], *, paid: bool, cost_rub: Decimal | None = None
    ) -> list[Settled]:
        """Record whether calls of unknown billing were paid; return the result for each.

        A paid one cost `cost_rub`, or if that is None the most that it can have. Jobs parked for
        calls that were not paid go on. If a call comes back after all, its real cost replaces
        what was recorded.
        """
        today = day_of(self._now(), self.options.time_zone)
        return [
            one
            for few in _portions(calls)
            for one in self.make(spending.settle(few, cost_rub, today, paid=paid))
        ]

    def set_limits(self, who: str, limits: Mapping[str, Limits | None]) -> None:
        """Set the limits of models (`*`: all others); None removes them."""
        self.make(set_limits(who, limits))

    def _now(self) -> float:
        return self._redis_clock.now(self.redis) if self._clock is None else self._clock()

    def make(self, call: Call[T]) -> T:
        """Run a call of a script."""
        moment = "" if self._clock is None else round(self._clock() * 1000)
        with mapping_transient_errors():
            reply = self._scripts[call.script](args=(moment, *call.arguments))
        if call.otherwise is not None and reply == OTHER:
            return self.make(call.otherwise())
        return call.read(reply)


class AsyncLedger:
    """The transitions that producers and jobs at work make, for asyncio."""

    def __init__(self, redis: AsyncRedis, options: LedgerOptions | None = None) -> None:
        self.redis = redis
        self.options = options or LedgerOptions()
        self._redis_clock = RedisClock()
        self._scripts = {name: redis.register_script(script_text(name)) for name in SCRIPTS}

    async def submit(self, jobs: Sequence[NewJob]) -> list[Submission]:
        """Submit jobs, in order; idempotent by job id and by idempotency key."""
        replies: list[Submission] = []
        for few in _portions(jobs):
            replies += await self._make(calls.submit(few, self.options))
        return replies

    async def claim(
        self, job_id: str, token: str, registration: Registration
    ) -> Claim | ClaimRefusal:
        """Take the job that a hint named, under a random token."""
        return await self._make(calls.claim(job_id, token, registration, self.options))

    async def admit(
        self,
        claim: Claim,
        *,
        cache_key: str = "",
        reserve: int | None = 0,
        tokens: int = 0,
        place: BatchPlace | None = None,
        near: str = "",
    ) -> Admission:
        """Request a call, reserving nano-rubles and `tokens` of the rate limit.

        With `place`, the job's line is in that batch from then on, and out of the worker's hands.
        `near` is the cache key of a picture that looks alike, whose answer would do.
        `reserve` is None where the model has no price.
        """
        wanted = calls.admit(
            claim,
            self.options,
            await self._now(),
            cache_key=cache_key,
            reserve=reserve,
            tokens=tokens,
            place=place,
            near=near,
        )
        return await self._make(wanted)

    async def gather(self, key: str, leader: str, most: int) -> tuple[str, ...]:
        """Take at most `most` jobs that may share a call, to be claimed."""
        return await self._make(calls.gather(key, leader, most))

    async def lead_together(self, key: str, job_id: str, seconds: int) -> bool:
        """Return whether the job takes up the others of its key; else list it."""
        lead = TOGETHER_LEADER + key
        if await self.redis.set(lead, job_id, nx=True, ex=seconds):
            return True
        leader: Any = await self.redis.get(lead)
        if leader is not None and leader.decode() == job_id:
            return True
        await self.list_together(key, [job_id])
        return False

    async def release_together(self, key: str, job_id: str) -> None:
        """Let another job take up those of the key."""
        leader: Any = await self.redis.get(TOGETHER_LEADER + key)
        if leader is not None and leader.decode() == job_id:
            await self.redis.delete(TOGETHER_LEADER + key)

    async def list_together(self, key: str, job_ids: Sequence[str]) -> None:
        """Let jobs be found by others that may share a call with them."""
        await self.redis.rpush(TOGETHER + key, *job_ids)
        await self.redis.expire(TOGETHER + key, 86_400)

    async def cached_answer(self, cache_key: str) -> str | None:
        """Return the cached result document, as JSON, or None."""
        stored = await self.redis.get(ANSWER + cache_key)
        return stored.decode() if isinstance(stored, bytes) else None

    async def finish(self, claim: Claim, ending: Ending) -> Written:
        """Write the end of an attempt; return what was written."""
        return await self._make(endings.finish(claim, ending, self.options, await self._now()))

    async def block(self, claim: Claim) -> None:
        """Block further calls of a job: Redis refuses the outcome of this claim.

        The job is parked as of unknown billing when it is taken up next. The block ends when the
        end of the same claim can be written after all, or by `resume` or `settle_unknown`.
        """
        await self._make(calls.block(claim))

    async def cancel(self, job_ids: Sequence[str]) -> list[str]:
        """Cancel jobs in any state; return each former state, or `missing`."""
        states: list[str] = []
        for few in _portions(job_ids):
            states += await self._make(endings.cancel(few, self.options, await self._now()))
        return states

    async def set_budget(self, scope: BudgetScope, limit_rub: Decimal | None) -> None:
        """Set the budget of a tenant or a batch; None removes it.

        Raises:
            ValueError: the limit is not an amount of rubles, or a batch has no such period.
        """
        await self._make(budgets.set_budget(scope, limit_rub, self.options))

    async def budgets(self) -> tuple[Book, ...]:
        """Return the books of all scopes with a budget, in order."""
        return await self._make(budgets.budgets(self.options, await self._now()))

    async def book(self, scope: BudgetScope) -> Book:
        """Return what a scope has reserved, paid, saved and left."""
        return await self._make(budgets.book(scope, self.options, await self._now()))

    async def announce(
        self, pipeline: Pipeline, tenant: str, event: str, subject: str, seed: str
    ) -> None:
        """Queue an event for the tenant's webhook, if it has one, on `pipeline`.

        The same `seed` makes the same event, which is queued once.
        """
        call = deliveries.announce(tenant, event, subject, seed)
        await self._scripts[call.script](args=("", *call.arguments), client=pipeline)

    async def _now(self) -> float:
        return await self._redis_clock.now_async(self.redis)

    async def _make(self, call: Call[T]) -> T:
        with mapping_transient_errors():
            reply: Any = await self._scripts[call.script](args=("", *call.arguments))
        if call.otherwise is not None and reply == OTHER:
            return await self._make(call.otherwise())
        return call.read(reply)


def _portions(items: Sequence[T]) -> Iterable[Sequence[T]]:
    return (
        items[start : start + MOST_PER_SCRIPT] for start in range(0, len(items), MOST_PER_SCRIPT)
    )
