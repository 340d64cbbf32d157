"""Counters that outlive workers: of jobs, by the ledger, and of attempts, each second.

A counter is a field `name|label|…` of one hash in Redis, a whole number that only grows. The
scripts fill in `{tenant}` and `{model}` of a field, and bound how many have labels.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from visionq.names import METRIC_LABELS, METRICS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from redis import Redis

#: Placeholders for the job's own tenant and model, if those have labels.
TENANT: Final = "{tenant}"
MODEL: Final = "{model}"
#: All tenants and models without a label.
OTHER: Final = "other"

#: Counts jobs whose calls, if any were out, nobody remembers.
FORGOTTEN: Final = "jobs_forgotten"
#: Counts calls, by model, whose reported usage was impossibly high.
USAGE_DISBELIEVED: Final = "usage_disbelieved"

#: Counts the times that the event loop of a worker was blocked.
LOOP_BLOCKED: Final = "loop_blocked"

#: Counts tokens, by tenant, model and kind. Kinds add up: reasoning is no part of `output` here.
TOKENS: Final = "tokens"
TOKEN_KINDS: Final = ("input", "cached_input", "cache_write", "output", "reasoning")

#: The lanes in which calls are made. The fields of the online one bear no label of it.
LANES: Final = ("online", "batch")
#: Counts lines of batches, by model and what became of them.
BATCH_LINES: Final = "batch_lines"
#: An answer; a refusal, which cost nothing; not asked in time; nobody knows.
LINE_OUTCOMES: Final = ("answered", "refused", "expired", "unknown")
#: Counts answers, by tenant, model and where they come from.
ANSWERS: Final = "answers"
#: From a near-duplicate.
NEAR: Final = "near"
#: Counts nano-rubles by tenant: what cascades saved, and what they cost more than the last model.
CASCADE: Final = "cascade"
CASCADE_SAVED: Final = "saved"
CASCADE_EXTRA: Final = "extra"
#: Counts nano-rubles that were paid, by tenant and model.
SPENT: Final = "spent"

_SEPARATOR: Final = "|"
_SUM: Final = "sum"
_MICRO: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Histogram:
    """A histogram of durations; `bounds` are upper bounds in seconds."""

    name: str
    bounds: tuple[float, ...]

    def observe(self, counted: dict[str, int], seconds: float, *labels: str) -> None:
        """Count one duration."""
        size = str(bisect_left(self.bounds, seconds))
        add(counted, 1, self.name, *labels, size)
        add(counted, round(seconds * _MICRO), self.name, *labels, _SUM)


#: From sending a request to the end of its answer, by model.
CALL_SECONDS: Final = Histogram(
    "call_seconds", (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 90, 120)
)
#: The same of calls at the flex tier, which are slow by design: they tell nothing of other calls.
FLEX_CALL_SECONDS: Final = Histogram(
    "flex_call_seconds", (1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600, 900)
)
#: What is done with the pictures of one job, by step.
STAGE_SECONDS: Final = Histogram(
    "stage_seconds", (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
)
#: From submission to the answer, by priority.
JOB_SECONDS: Final = Histogram(
    "job_seconds", (0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 14400, 86400)
)


def add(counted: dict[str, int], amount: int, name: str, *labels: str) -> None:
    """Add to a counter of an attempt."""
    field = _SEPARATOR.join((name, *labels))
    counted[field] = counted.get(field, 0) + amount


@dataclass(frozen=True, slots=True)
class Counters:
    """All counters: (name, labels) → whole number."""

    values: Mapping[tuple[str, ...], int]
    #: Those that have labels.
    tenants: frozenset[str] = frozenset()
    models: frozenset[str] = frozenset()

    def of(self, name: str, labels: int) -> dict[tuple[str, ...], int]:
        """Return labels → value of a counter with this number of labels."""
        return {
            key[1:]: value
            for key, value in self.values.items()
            if key[0] == name and len(key) == labels + 1
        }

    def by_lane(self, name: str, labels: int) -> dict[tuple[str, ...], int]:
        """Return labels → value of a counter whose last label is the lane."""
        online, *others = LANES
        found = {(*of, online): value for of, value in self.of(name, labels - 1).items()}
        known = self.of(name, labels).items()
        return found | {of: value for of, value in known if of[-1] in others}

    def sizes(self, histogram: Histogram) -> dict[tuple[str, ...], tuple[list[int], float]]:
        """Return labels → bucket counts, and the sum of durations in seconds."""
        found: dict[tuple[str, ...], tuple[list[int], float]] = {}
        for (name, *labels), value in self.values.items():
            if name != histogram.name:
                continue
            *own, size = labels
            counts, total = found.get(tuple(own), ([0] * (len(histogram.bounds) + 1), 0.0))
            if size == _SUM:
                total = value / _MICRO
            elif int(size) < len(counts):
                counts[int(size)] = value
            found[tuple(own)] = (counts, total)
        return found


def read_tokens(redis: Redis, tenant: str | None = None) -> dict[str, int]:
    """Return kind of token → count since the beginning, of all tenants or of one.

    The kinds add up to all tokens. Of a tenant without a label nothing is known: empty.
    """
    counters = read_counters(redis)
    if tenant is not None and tenant not in counters.tenants:
        return {}
    found = dict.fromkeys(TOKEN_KINDS, 0)
    for (of, _, kind), amount in counters.of(TOKENS, 3).items():
        if kind in found and tenant in (None, of):
            found[kind] += amount
    return found


def read_near_answers(redis: Redis, tenant: str | None = None) -> int:
    """Return how many answers were those of near-duplicates, of all tenants or of one."""
    counters = read_counters(redis)
    found = {**counters.of(ANSWERS, 3), **counters.of(ANSWERS, 4)}
    return sum(
        count
        for (of, _, source, *_), count in found.items()
        if source == NEAR and tenant in (None, of)
    )


def read_cascade_saved(redis: Redis, tenant: str | None = None) -> int | None:
    """Return the nano-rubles that cascades saved, of all tenants or of one; None: no cascade."""
    signs = {CASCADE_SAVED: 1, CASCADE_EXTRA: -1}
    found = [
        signs[kind] * amount
        for (of, kind), amount in read_counters(redis).of(CASCADE, 2).items()
        if tenant in (None, of)
    ]
    return sum(found) if found else None


def note_forgotten(redis: Redis, jobs: int) -> None:
    """Count jobs that Redis lost and their owner resubmitted."""
    redis.hincrby(METRICS, FORGOTTEN, jobs)


def note_loop_blocked(redis: Redis, times: int) -> None:
    """Count times that a worker's event loop was blocked."""
    redis.hincrby(METRICS, LOOP_BLOCKED, times)


def read_spent_by_lane(redis: Redis, tenant: str | None = None) -> dict[str, int]:
    """Return lane → nano-rubles paid since the beginning, of all tenants or of one.

    A tenant without a label of its own has no lanes.
    """
    counters = read_counters(redis)
    if tenant is not None and tenant not in counters.tenants:
        return {}
    found = dict.fromkeys(LANES, 0)
    for (of, _, lane), amount in counters.by_lane(SPENT, 3).items():
        if tenant in (None, of):
            found[lane] += amount
    return found


def read_forgotten(redis: Redis) -> int:
    """Return how many jobs were resubmitted after Redis had lost them."""
    return int(redis.hget(METRICS, FORGOTTEN) or 0)


def read_counters(redis: Redis) -> Counters:
    """Read all counters, in one round trip of bounded size."""
    with redis.pipeline(transaction=False) as pipeline:
        ask_counters(pipeline)
        return counters_of(*pipeline.execute())


def ask_counters(pipeline: Any) -> None:  # noqa: ANN401  # redis-py's pipeline of either kind
    """Queue the reads whose replies `counters_of` takes."""
    pipeline.hgetall(METRICS)
    pipeline.zrange(f"{METRIC_LABELS}tenant", 0, -1)
    pipeline.zrange(f"{METRIC_LABELS}model", 0, -1)


def counters_of(
    stored: Mapping[bytes, bytes], tenants: Iterable[bytes], models: Iterable[bytes]
) -> Counters:
    """Return the counters from the hash and the names of the labels."""
    return Counters(
        {tuple(field.decode().split(_SEPARATOR)): int(value) for field, value in stored.items()},
        frozenset(name.decode() for name in tenants),
        frozenset(name.decode() for name in models),
    )
