"""Compares what became of every job with what was submitted, and with the provider's own bill."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from visionq import names
from visionq.pricing.money import nano_rubles

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redis import Redis

#: Two of unknown billing, which any job may make, and one more where those that were silent in a
#: row have closed the gate (docs/adr/0010).
MOST_CALLS_UNDER_RETRY: Final = 3


@dataclass(frozen=True)
class Verdict:
    """What became of the jobs, of the calls and of the money."""

    submitted: int
    states: Counter[str]
    #: Jobs that neither ended nor are parked because nobody knows whether their call was billed.
    lost: int
    calls: int
    billed: int
    #: Distinct questions that reached the provider, and those of them that were billed.
    questions: int
    questions_billed: int
    #: Times that a question was billed beyond the first.
    billed_again: int
    #: Most calls of one question.
    most_calls: int
    #: Deaths of workers that had not sent the job's call → jobs.
    deaths: Counter[int]
    unknown_calls: int
    #: Nano-rubles: the provider's bill, and the ledger's books.
    bill: int
    settled: int
    unknown: int
    #: What does not add up in the books of a ledger whose work is done.
    open_books: tuple[str, ...]

    @property
    def completed(self) -> int:
        return self.states["completed"]

    @property
    def of_unknown_billing(self) -> int:
        return self.states["parked billing_unknown"]


def judge(redis: Redis, submitted: Sequence[str], bill: dict[str, Any]) -> Verdict:
    states = Counter(_states(redis, submitted))
    money = _numbers(redis, names.MONEY)
    tallies = bill["digests"].values()
    ended = sum(states[state] for state in ("completed", "failed", "cancelled"))
    return Verdict(
        submitted=len(submitted),
        states=states,
        lost=len(submitted) - ended - states["parked billing_unknown"],
        calls=bill["calls"],
        billed=bill["billed"],
        questions=len(tallies),
        questions_billed=sum(tally["billed"] > 0 for tally in tallies),
        billed_again=sum(max(0, tally["billed"] - 1) for tally in tallies),
        most_calls=max((tally["calls"] for tally in tallies), default=0),
        deaths=Counter(_deaths(redis, submitted)),
        unknown_calls=money.get("unknown_calls", 0),
        bill=nano_rubles(Decimal(bill["rub"])),
        settled=money.get("settled", 0),
        unknown=money.get("unknown", 0),
        open_books=tuple(_open_books(redis, money)),
    )


def _states(redis: Redis, submitted: Sequence[str]) -> list[str]:
    with redis.pipeline(transaction=False) as pipeline:
        for job_id in submitted:
            pipeline.hmget(names.JOB + job_id, "state", "reason")
        found = pipeline.execute()
    return [_state(*fields) for fields in found]


def _deaths(redis: Redis, submitted: Sequence[str]) -> list[int]:
    with redis.pipeline(transaction=False) as pipeline:
        for job_id in submitted:
            pipeline.hget(names.JOB + job_id, "lapses")
        return [int(lapses or 0) for lapses in pipeline.execute()]


def _state(state: bytes | None, reason: bytes | None) -> str:
    if state is None:
        return "missing"
    name = state.decode()
    return f"{name} {(reason or b'').decode()}" if name in {"parked", "failed"} else name


def _open_books(redis: Redis, money: dict[str, int]) -> list[str]:
    """Name what should be nothing once no job is queued, out or waiting."""
    amounts = {
        "jobs going on": sum(
            count
            for state, count in _numbers(redis, names.COUNTS).items()
            if state in {"queued", "hinted", "in_progress", "waiting"}
        ),
        "hints out": _total(redis, names.HINTED),
        "slots taken": _total(redis, names.POOL_BUSY),
        "lanes": _total(redis, names.LANE_SIZES),
        "due": int(redis.zcard(names.DUE)),
        "reserved": money.get("reserved", 0),
        "calls out": sum(
            _numbers(redis, gate.decode()).get("calls_out", 0)
            for gate in redis.scan_iter(names.GATE + "*")
        ),
    }
    return [f"{name}: {amount}" for name, amount in amounts.items() if amount]


def _total(redis: Redis, key: str) -> int:
    return sum(abs(number) for number in _numbers(redis, key).values())


def _numbers(redis: Redis, key: str) -> dict[str, int]:
    found: dict[Any, Any] = redis.hgetall(key)
    return {
        name.decode(): int(value) for name, value in found.items() if value.lstrip(b"-").isdigit()
    }
