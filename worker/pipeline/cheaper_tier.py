"""Choose the calls that use the cheaper tier, and learn from their replies."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from visionq.errors import RateLimited, RequestRejected
from visionq.ledger.provider_batches import BatchSupport, parse_support, support_entry
from visionq.names import BATCH_SUPPORT
from visionq.pricing.flex import FLEX, seconds_of_flex
from visionq.redis_connection import TRANSIENT_ERRORS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from redis.asyncio import Redis

    from worker.pipeline.context import Attempt
    from worker.provider.answer import ProviderAnswer

#: What a refusal says that is about the tier.
_NAMES_THE_TIER: Final = re.compile(r"service.?tier|\bflex\b", re.IGNORECASE)


class FlexVerdicts:
    """The observed state of the tier for one provider key."""

    def __init__(self, redis: Redis, key: str, clock: Callable[[], float]) -> None:
        self._redis = redis
        self._key = key
        self._clock = clock

    async def is_refused(self, model: str) -> bool:
        """Return whether the provider lately refused the tier for a model."""
        name, _ = support_entry(self._key, model, FLEX, BatchSupport())
        stored: Any = await self._redis.hget(BATCH_SUPPORT, name)
        return parse_support(stored).refuses(self._clock())

    async def note(self, model: str, *, works: bool, reason: str = "") -> None:
        """Record the tier of a call; ignore Redis errors, because it is paid."""
        news = BatchSupport(works=works, reason="" if works else reason, since=self._clock())
        name, text = support_entry(self._key, model, FLEX, news)
        with suppress(*TRANSIENT_ERRORS):
            await self._redis.hset(BATCH_SUPPORT, name, text)


async def choose_tier(attempt: Attempt) -> str | None:
    """Return the cheaper tier at which the attempt is made; None: the job's own."""
    verdicts, job = attempt.dependencies.flex, attempt.job
    if attempt.claim.tier != FLEX or attempt.in_batch or attempt.claim.faulty or verdicts is None:
        return None
    dependencies = attempt.dependencies
    needs = seconds_of_flex(dependencies.prices, dependencies.profile, attempt.model)
    moments = [one.timestamp() for one in (job.by, job.deadline) if one is not None]
    if needs is None or min(moments, default=float("inf")) < attempt.claim.now + needs:
        return None
    return None if await verdicts.is_refused(attempt.model) else FLEX


async def judged(attempt: Attempt, call: Awaitable[ProviderAnswer]) -> ProviderAnswer:
    """Return the answer of a call, and record its tier.

    Raises:
        RateLimited: the tier was refused; the next attempt is made at the ordinary one.
    """
    verdicts = attempt.dependencies.flex
    if attempt.cheaper_tier is None or verdicts is None:
        return await call
    try:
        answer = await call
    except RequestRejected as error:
        if _NAMES_THE_TIER.search(error.message) is None:
            raise
        await verdicts.note(attempt.model, works=False, reason=error.message)
        raise RateLimited(f"the tier was refused: {error.message}") from error
    served = attempt.served_tier
    reason = f"calls are served at {served}" if served else "answers name no tier"
    await verdicts.note(attempt.model, works=served == FLEX, reason=reason)
    return answer
