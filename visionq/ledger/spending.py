"""Spending: by day and month, calls of unknown billing, and the balance."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from visionq.ledger.scripts import Call
from visionq.ledger.search import find_jobs
from visionq.names import BALANCE_REFERENCE, MONEY, MONEY_OF_DAY, UNKNOWN_CALLS
from visionq.pricing.money import nano_rubles, rubles

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redis import Redis

    from visionq.ledger.search import JobFilter

#: Calls of unknown billing that are looked at, the latest first.
MOST_UNKNOWN: Final = 1000


@dataclass(frozen=True, slots=True)
class UnknownCall:
    """A call that may have been billed, and brought no answer."""

    job_id: str
    tenant: str
    batch_id: str | None
    at: datetime
    #: The most that it may have cost.
    worst_case_rub: Decimal
    #: As the ledger lists it.
    entry: str


@dataclass(frozen=True, slots=True)
class FailureCost:
    """Jobs that failed for one reason, and what their calls cost."""

    jobs: int
    cost_rub: Decimal


class Settled(StrEnum):
    """The result of settling a call of unknown billing."""

    SETTLED = "settled"
    #: Its job is still worked on, and may be asking once more: say it when it rests.
    AT_WORK = "at_work"
    #: Its billing is not unknown, or not any more.
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Comparison:
    """The balance's decrease since a time, and the part that the books explain."""

    since: datetime
    balance_rub: Decimal
    #: What the balance has gone down by since then; less than 0 where it was topped up.
    gone_rub: Decimal
    #: What the books say was paid since then.
    settled_rub: Decimal

    @property
    def unexplained_rub(self) -> Decimal:
        """Return the spending outside the books: unknown calls, other users of the account."""
        return self.gone_rub - self.settled_rub


def unknown_calls(
    redis: Redis, scope: str | None = None, most: int | None = MOST_UNKNOWN
) -> list[UnknownCall]:
    """Return the calls of unknown billing, of a scope (`tenant:…`, `batch:…`) or of all.

    Only the latest `most` of all are looked at; None: as many as the ledger lists.
    """
    found = []
    last = -1 if most is None else most - 1
    entries: Any = redis.zrevrange(UNKNOWN_CALLS, 0, last, withscores=True)
    for entry, moment in entries:
        call = _call(entry.decode(), moment)
        if scope is None or scope in (f"tenant:{call.tenant}", f"batch:{call.batch_id}"):
            found.append(call)
    return found


def _call(entry: str, moment: float) -> UnknownCall:
    job_id, _, amount, *scopes = entry.split(" ")
    names = {kind: name for kind, _, name in (one.partition(":") for one in scopes)}
    return UnknownCall(
        job_id,
        names["tenant"],
        names.get("batch"),
        datetime.fromtimestamp(moment / 1000, UTC),
        rubles(int(amount)),
        entry,
    )


def settle(
    calls: Sequence[UnknownCall], cost_rub: Decimal | None, today: str, *, paid: bool
) -> Call[list[Settled]]:
    """Record whether calls of unknown billing were paid; at most `MOST_PER_SCRIPT`.

    `cost_rub` is what each of them cost; None: the most that it can have cost.
    """
    price = "" if cost_rub is None else nano_rubles(cost_rub)
    said = "paid" if paid else "unpaid"
    arguments = (today, said, price, *(call.entry for call in calls))
    return Call("settle", arguments, lambda reply: [Settled(one.decode()) for one in reply])


def settled_in_month(redis: Redis, today: str) -> Decimal:
    """Return the cost of all jobs from the first of the month to this date."""
    month, day = today[:7], int(today[8:])
    with redis.pipeline(transaction=False) as pipeline:
        for number in range(1, day + 1):
            pipeline.hget(f"{MONEY_OF_DAY}{month}-{number:02}", "settled")
        return rubles(sum(int(amount or 0) for amount in pipeline.execute()))


def compare(redis: Redis, balance: Decimal, account: str, now: datetime) -> Comparison:
    """Compare the balance with the books since the first comparison for this account.

    `account` is a name for the key and the address, and reveals neither: another one starts a new
    comparison.
    """
    settled = rubles(int(redis.hget(MONEY, "settled") or 0))
    stored: dict[Any, Any] = redis.hgetall(BALANCE_REFERENCE)
    reference = {name.decode(): value.decode() for name, value in stored.items()}
    if reference.get("account") != account:
        reference = {
            "account": account,
            "balance": str(balance),
            "settled": str(settled),
            "at": now.isoformat(),
        }
        redis.hset(BALANCE_REFERENCE, mapping=reference)
    return Comparison(
        datetime.fromisoformat(reference["at"]),
        balance,
        Decimal(reference["balance"]) - balance,
        settled - Decimal(reference["settled"]),
    )


def failure_costs(redis: Redis, wanted: JobFilter) -> dict[str, FailureCost]:
    """Return code → cost of the failed jobs that are kept, dearest first."""
    found: dict[str, FailureCost] = {}
    for view in find_jobs(redis, wanted):
        code = view.error.code if view.error else view.reason or "?"
        known = found.get(code, FailureCost(0, Decimal(0)))
        found[code] = FailureCost(known.jobs + 1, known.cost_rub + view.cost_rub)
    return dict(sorted(found.items(), key=lambda one: -one[1].cost_rub))


def compare_anew(redis: Redis) -> None:
    """Restart the comparison of balance and books."""
    redis.delete(BALANCE_REFERENCE)
