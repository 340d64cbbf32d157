"""Why jobs are parked: by reason, in a bounded number of commands."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from visionq import names
from visionq.contract import DelayReason, State
from visionq.ledger.metrics import OTHER

if TYPE_CHECKING:
    from collections.abc import Mapping

    from redis import Redis

    from visionq.ledger.gates import Gate

#: Jobs whose reason is looked at, the latest first.
MOST_LOOKED_AT: Final = 500
#: Scopes whose parked jobs are counted one by one.
MOST_SCOPES: Final = 500
#: Reasons that are always exported, so that the first job shows as a rise.
AT_FIRST: Final = (
    DelayReason.INSUFFICIENT_BALANCE,
    DelayReason.BUDGET_EXHAUSTED,
    DelayReason.BILLING_UNKNOWN,
)
_COUNTED_APART: Final = (DelayReason.BUDGET_EXHAUSTED, DelayReason.NEWER_WORKER_NEEDED)
_KNOWN: Final = frozenset(DelayReason)


def parked_by_reason(
    redis: Redis, parked: int, lanes: Mapping[str, int], gate: Gate
) -> dict[str, int]:
    """Return the number of parked and waiting jobs by reason, a closed gate included.

    `parked` is how many the ledger itself has parked, `lanes` are the queued ones. Exact for gates,
    held models and tenants, budgets and jobs that need a newer worker; of all others the latest
    `MOST_LOOKED_AT` parked ones are looked at, and those beyond are `other`.
    """
    found: Counter[str] = Counter(dict.fromkeys(AT_FIRST, 0))
    for lane, queued in lanes.items():
        if (reason := _reason_of(lane, gate)) is not None:
            found[label_of(reason)] += queued
    of_budgets, too_new = _counted(redis)
    found[DelayReason.BUDGET_EXHAUSTED] += of_budgets
    found[DelayReason.NEWER_WORKER_NEEDED] += too_new
    left = max(0, parked - of_budgets - too_new)
    if left:
        for reason in _looked_up(redis)[:left]:
            found[label_of(reason)] += 1
            left -= 1
    found[OTHER] += left
    return dict(found)


def label_of(reason: str | None) -> str:
    """Return a reason as a label; `other` for one that this release does not know."""
    return reason if reason in _KNOWN else OTHER


def _reason_of(lane: str, gate: Gate) -> str | None:
    """Return why a lane is held, as its jobs show it; None: it is not."""
    if gate.state == "closed":
        return gate.reason
    _, tenant, model = lane.split(":", 2)
    scopes = (f"model:{model}", f"tenant:{tenant}")
    return next((gate.held[scope] for scope in scopes if scope in gate.held), None)


def _counted(redis: Redis) -> tuple[int, int]:
    """Return the numbers of jobs parked for a budget, and for a newer worker."""
    reply: Any = redis.hscan(names.BUDGET_WAITER_COUNTS, 0, count=MOST_SCOPES)
    with redis.pipeline(transaction=False) as pipeline:
        pipeline.zcard(names.TOO_NEW)
        for scope in list(reply[1])[:MOST_SCOPES]:
            pipeline.zcard(f"{names.BUDGET_WAITERS}{State.PARKED.value}:{scope.decode()}")
        too_new, *budgets = pipeline.execute()
    return sum(budgets), too_new


def _looked_up(redis: Redis) -> list[str]:
    """Return the reasons of the latest parked jobs that are not counted otherwise."""
    ids: Any = redis.zrevrange(names.PARKED, 0, MOST_LOOKED_AT - 1)
    with redis.pipeline(transaction=False) as pipeline:
        for job_id in ids:
            pipeline.hget(names.JOB + job_id.decode(), "reason")
        reasons = [(reason or b"").decode() for reason in pipeline.execute()]
    return [reason for reason in reasons if reason not in _COUNTED_APART]
