"""A scrape's reads from Redis: a bounded number of commands at any backlog and history."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from visionq import names
from visionq.contract import DelayReason, State
from visionq.ledger.gates import read_gate
from visionq.ledger.metrics import OTHER, ask_counters, counters_of
from visionq.ledger.overview_page import oldest_of
from visionq.ledger.provider_batches import open_views
from visionq.ledger.rate_limits import read_rate_limits
from visionq.ledger.usage import models_in_use
from visionq.pricing.model_list import read_model_list
from visionq.pricing.models import end_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from redis import Redis

    from visionq.contract.result import ProviderBatchView
    from visionq.ledger import Book, Ledger
    from visionq.ledger.gates import Gate
    from visionq.ledger.metrics import Counters
    from visionq.ledger.rate_limits import RateLimitStatus

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
    """Return why a lane is held, as shown for its jobs; None if it isn't."""
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


#: Lanes that are read (about), and those whose oldest jobs are looked at, the largest first.
MOST_LANES: Final = 5000
MOST_LANES_LOOKED_AT: Final = 100
#: Scopes whose budgets are read, tenants first: batches come and go.
MOST_BUDGETS: Final = 50
_PAGE: Final = 1000
_LENGTHS: Final = (names.FAILED, names.FINISHED, names.DEAD_LETTERS, names.PROVIDER_FILES_LEFT)
#: Batches at the provider that are looked at, the oldest first.
MOST_BATCHES: Final = 100
QUEUES: Final = (*names.HINT_QUEUES, names.QUEUE_INTAKE, names.QUEUE_WEBHOOKS)


@dataclass(frozen=True, slots=True)
class Fleet:
    """The state of everything, by the clock of Redis."""

    now: float
    counts: Mapping[str, int]
    slots: int
    busy: int
    workers: int
    #: (queue, tenant, model), as far as they are kept apart → queued jobs.
    backlog: Mapping[tuple[str, ...], int]
    #: Queue → age of its oldest job in seconds.
    oldest: Mapping[str, float]
    #: Reason → parked and waiting jobs.
    parked: Mapping[str, int]
    gate: Gate
    paces: Sequence[RateLimitStatus]
    #: Model → calls in flight, and jobs claimed but not sent.
    at_work: Mapping[str, tuple[int, int]]
    money: Mapping[str, int]
    #: Id of a key → nano-rubles, and when they were read in seconds.
    balances: Mapping[str, tuple[int, float]]
    budgets: Sequence[Book]
    #: Failed and ended jobs that are listed, and dead letters.
    lengths: tuple[int, int, int]
    messages: Mapping[str, int]
    blob_bytes: int
    memory: int
    memory_limit: int
    #: Model in use → when it ends, in seconds; those without an announced end are left out.
    model_ends: Mapping[str, float]
    #: Batches at the provider that are not done, the oldest first, and their lines.
    batches: Sequence[ProviderBatchView]
    batch_lines: int
    packers: int
    files_left: int
    counters: Counters


def read_fleet(ledger: Ledger) -> Fleet:
    """Read it all, in about a dozen round trips."""
    redis = ledger.redis
    with redis.pipeline(transaction=False) as pipeline:
        _ask(pipeline)
        (seconds, micros), *replies = pipeline.execute()
    now = seconds + micros / 1e6
    counts, slots, busy, workers, *counted, money, balances, blob_bytes, memory = replies[:11]
    rest, counters = replies[11:], counters_of(*counted)
    lanes, gate = _lanes(redis), read_gate(redis)
    batches, batch_lines = open_views(redis, MOST_BATCHES)
    jobs = _numbers(counts)
    return Fleet(
        now=now,
        counts=jobs,
        slots=sum(_numbers(slots).values()),
        busy=sum(_numbers(busy).values()),
        workers=sum(lapses > now * 1000 for _, lapses in workers),
        backlog=_backlog(lanes, counters),
        oldest=_oldest(redis, lanes, now),
        parked=parked_by_reason(redis, jobs.get(State.PARKED, 0), lanes, gate),
        gate=gate,
        paces=read_rate_limits(redis, counters.models),
        at_work=_at_work(redis, sorted(counters.models)),
        money={name.decode(): int(amount) for name, amount in money.items()},
        balances={key.decode(): _balance(value) for key, value in balances.items()},
        budgets=ledger.budgets(MOST_BUDGETS),
        lengths=(rest[0], rest[1], rest[2]),
        messages=dict(zip(QUEUES, rest[4:], strict=True)),
        blob_bytes=int(blob_bytes or 0),
        memory=memory["used_memory"],
        memory_limit=memory["maxmemory"],
        model_ends=_model_ends(redis, now, counters),
        batches=batches,
        batch_lines=batch_lines,
        packers=_packers(redis),
        files_left=rest[3],
        counters=counters,
    )


def _packers(redis: Redis) -> int:
    """Return for how many of the provider's keys a worker is elected to pack."""
    keys: Any = redis.smembers(names.PROVIDER_KEYS)
    leases = [names.PACKER_LEASE + key.decode() for key in keys]
    return int(redis.exists(*leases)) if leases else 0


def _model_ends(redis: Redis, now: float, counters: Counters) -> dict[str, float]:
    listed = read_model_list(redis)
    dates = listed.ends if listed is not None else {}
    ends = {
        model: end_of(model, dates) for model in models_in_use(redis, now, among=counters.models)
    }
    return {
        model: datetime.combine(end.on, datetime.min.time(), UTC).timestamp()
        for model, end in ends.items()
        if end is not None
    }


def _ask(pipeline: Any) -> None:  # noqa: ANN401  # redis-py's pipeline of either kind
    pipeline.time()
    for key in (names.COUNTS, names.POOL_SLOTS, names.POOL_BUSY):
        pipeline.hgetall(key)
    pipeline.zrange(names.WORKERS, 0, _PAGE - 1, desc=True, withscores=True)
    ask_counters(pipeline)
    pipeline.hgetall(names.MONEY)
    pipeline.hgetall(names.BALANCES)
    pipeline.get(names.BLOB_BYTES)
    pipeline.info("memory")
    for key in _LENGTHS:
        pipeline.zcard(key)
    for queue in QUEUES:
        pipeline.llen(queue)


def _lanes(redis: Redis) -> dict[str, int]:
    """Return lane → queued jobs; of very many lanes some thousands."""
    lanes: dict[str, int] = {}
    cursor: Any = 0
    while True:
        reply: Any = redis.hscan(names.LANE_SIZES, cursor, count=_PAGE)
        cursor, page = reply
        lanes |= _numbers(page)
        if cursor == 0 or len(lanes) >= MOST_LANES:
            return lanes


def _backlog(lanes: Mapping[str, int], counters: Counters) -> dict[tuple[str, ...], int]:
    backlog: Counter[tuple[str, ...]] = Counter()
    for lane, size in lanes.items():
        queue, tenant, model = lane.split(":", 2)
        owner = tenant if tenant in counters.tenants else OTHER
        backlog[queue, owner, model if model in counters.models else OTHER] += size
    return dict(backlog)


def _oldest(redis: Redis, lanes: Mapping[str, int], now: float) -> dict[str, float]:
    """Return 0 for a queue without a backlog."""
    ages = dict.fromkeys(names.HINT_QUEUES, 0.0)
    largest = sorted(lanes, key=lambda lane: -lanes[lane])[:MOST_LANES_LOOKED_AT]
    for lane, submitted in zip(largest, oldest_of(redis, largest), strict=True):
        queue = lane.partition(":")[0]
        if submitted is not None:
            ages[queue] = max(ages.get(queue, 0.0), now - submitted)
    return ages


def _at_work(redis: Redis, models: Sequence[str]) -> dict[str, tuple[int, int]]:
    with redis.pipeline(transaction=False) as pipeline:
        for model in models:
            pipeline.hmget(names.RATE_LIMIT + model, "calls_out", "at_hand")
        replies = pipeline.execute()
    return {
        model: (max(0, int(out or 0)), max(0, int(at_hand or 0)))
        for model, (out, at_hand) in zip(models, replies, strict=True)
    }


def _balance(value: bytes) -> tuple[int, float]:
    amount, moment = value.decode().split()
    return int(amount), int(moment) / 1000


def _numbers(reply: Mapping[bytes, bytes]) -> dict[str, int]:
    return {name.decode(): max(0, int(number)) for name, number in reply.items()}
