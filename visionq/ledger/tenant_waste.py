"""The waste breaker of a tenant: stop it where too many of its paid answers fail."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from visionq.contract import DelayReason
from visionq.contract.base import Document
from visionq.ledger.scripts import Call
from visionq.names import HOLDS, TENANT_WASTE, TENANT_WASTE_LIMITS
from visionq.pricing.money import rubles

if TYPE_CHECKING:
    from redis import Redis

#: Failures that are named, the newest.
_EXAMPLES: Final = 3


class WastedAnswer(Document):
    """A job that failed although it was paid for."""

    id: str
    code: str
    cost_rub: Decimal


class TenantWaste(Document):
    """The waste breaker of a tenant, and its last paid answers."""

    tenant: str
    #: Share of failures above which it stops.
    max_waste_percent: float
    stopped: bool
    #: Paid answers that are looked at, and the failures among them: how many, for what, by code.
    answers: int
    failed: int
    wasted_rub: Decimal
    codes: dict[str, int]
    #: The newest failures.
    examples: tuple[WastedAnswer, ...]


def set_max_waste(tenant: str, percent: float) -> Call[None]:
    """Stop a tenant above this share of failures among its paid answers.

    Raises:
        ValueError: the share is not from 0 to 100 percent.
    """
    if not 0 <= percent <= 100:  # noqa: PLR2004  # percent
        raise ValueError(f"{tenant}: a share is from 0 to 100 percent, not {percent}")
    return Call("waste", ("set", tenant, f"{percent:.10g}"), lambda _: None)


def clear_max_waste(tenant: str) -> Call[bool]:
    """Stop a tenant for waste no more; return whether it was stopped."""
    return Call("waste", ("clear", tenant), bool)


def release_waste(tenant: str) -> Call[bool]:
    """Let a stopped tenant go on, and count from zero; return whether it was stopped."""
    return Call("waste", ("release", tenant), bool)


def read_waste(redis: Redis) -> tuple[TenantWaste, ...]:
    """Return the breakers of all tenants that have one, in two round trips."""
    with redis.pipeline(transaction=False) as pipeline:
        pipeline.hgetall(TENANT_WASTE_LIMITS)
        pipeline.hgetall(HOLDS)
        limits, holds = pipeline.execute()
    tenants = sorted(tenant.decode() for tenant in limits)
    if not tenants:
        return ()
    with redis.pipeline(transaction=False) as pipeline:
        for tenant in tenants:
            pipeline.lrange(TENANT_WASTE + tenant, 0, -1)
        endings = pipeline.execute()
    return tuple(
        _waste(
            tenant,
            float(limits[tenant.encode()]),
            entries,
            stopped=holds.get(f"tenant:{tenant}".encode()) == DelayReason.WASTE.encode(),
        )
        for tenant, entries in zip(tenants, endings, strict=True)
    )


def _waste(tenant: str, percent: float, entries: list[Any], *, stopped: bool) -> TenantWaste:
    failed = [_failure(entry.decode()) for entry in entries if entry]
    return TenantWaste(
        tenant=tenant,
        max_waste_percent=percent,
        stopped=stopped,
        answers=len(entries),
        failed=len(failed),
        wasted_rub=sum((one.cost_rub for one in failed), Decimal(0)),
        codes=dict(Counter(one.code for one in failed).most_common()),
        examples=tuple(failed[:_EXAMPLES]),
    )


def _failure(entry: str) -> WastedAnswer:
    job_id, cost, code = entry.split(" ", 2)
    return WastedAnswer(id=job_id, code=code, cost_rub=rubles(int(cost)))
