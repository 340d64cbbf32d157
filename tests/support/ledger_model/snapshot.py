"""The ledger's whole state as plain values."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from visionq import names

if TYPE_CHECKING:
    from redis import Redis

TERMINAL = {"completed", "failed", "cancelled"}
_TEXTS = (
    "state", "lane", "token", "sent", "pool", "interrupted", "ended_by", "reason", "lead",
    "waits_for",
)  # fmt: skip
_COUNTS = (
    "reserved", "attempts", "waits", "unknown_calls", "lapses", "cost", "epoch",
)  # fmt: skip
_GATE_TEXTS = ("state", "reason")
_GATE_COUNTS = (
    b"epoch", b"step", b"successes", b"passes", b"pause", b"retry_at", b"needed", b"calls_out",
    b"calls_before", b"silence",
)  # fmt: skip


@dataclass
class Snapshot:
    """Everything that the ledger keeps but events and documents; zeros are left out."""

    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    due: dict[str, int] = field(default_factory=dict)
    parked: set[str] = field(default_factory=set)
    lanes: dict[str, list[str]] = field(default_factory=dict)
    lane_sizes: dict[str, int] = field(default_factory=dict)
    tenant_rings: dict[str, list[str]] = field(default_factory=dict)
    lane_rings: dict[str, list[str]] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    hinted: dict[str, int] = field(default_factory=dict)
    slots: dict[str, int] = field(default_factory=dict)
    #: Tenant → its jobs that were taken and not sent.
    tenant_at_hand: dict[str, int] = field(default_factory=dict, compare=False)
    #: Tenant → its parked jobs, its lanes, bytes of its pictures, its jobs that have not ended.
    tenant_parked: dict[str, int] = field(default_factory=dict, compare=False)
    tenant_lanes: dict[str, int] = field(default_factory=dict, compare=False)
    tenant_bytes: dict[str, int] = field(default_factory=dict, compare=False)
    tenant_garbage: dict[str, int] = field(default_factory=dict, compare=False)
    tenant_blobs: dict[str, dict[str, int]] = field(default_factory=dict, compare=False)
    tenant_jobs: dict[str, set[str]] = field(default_factory=dict, compare=False)
    tenant_finished: dict[str, set[str]] = field(default_factory=dict, compare=False)
    busy: dict[str, int] = field(default_factory=dict)
    workers: dict[str, int] = field(default_factory=dict)
    money: dict[str, int] = field(default_factory=dict)
    references: dict[str, int] = field(default_factory=dict)
    #: Blob, idempotency key, batch or result: what it says, and whether it expires.
    blobs: dict[str, bool] = field(default_factory=dict)
    #: What is kept of blobs besides: those that go by themselves, and the bytes of all.
    garbage: set[str] = field(default_factory=set, compare=False)
    blob_bytes: int = field(default=0, compare=False)
    keys: dict[str, tuple[str, bool]] = field(default_factory=dict)
    batches: dict[str, tuple[dict[str, int], bool]] = field(default_factory=dict)
    results: dict[str, str] = field(default_factory=dict)
    answers: dict[str, str] = field(default_factory=dict)
    gates: dict[str, dict[str, Any]] = field(default_factory=dict)
    holds: dict[str, str] = field(default_factory=dict)
    hold_ends: dict[str, int] = field(default_factory=dict)
    held_lanes: dict[str, dict[str, int]] = field(default_factory=dict)
    waste_limits: dict[str, int] = field(default_factory=dict)
    waste: dict[str, list[str]] = field(default_factory=dict)
    leads: dict[str, str] = field(default_factory=dict)
    unclear: dict[str, int] = field(default_factory=dict)
    followers: dict[str, list[str]] = field(default_factory=dict)
    waking: dict[str, int] = field(default_factory=dict)
    too_new: dict[str, int] = field(default_factory=dict)
    #: Model → its queued jobs with a fallback, and since when they are queued.
    fallback_jobs: dict[str, dict[str, int]] = field(default_factory=dict)
    closed: dict[str, int] = field(default_factory=dict)
    books: dict[str, dict[str, int]] = field(default_factory=dict)
    waiters: dict[str, dict[str, int]] = field(default_factory=dict)
    waiter_counts: dict[str, int] = field(default_factory=dict, compare=False)
    looks: dict[str, int] = field(default_factory=dict)
    kinds: dict[str, dict[str, int]] = field(default_factory=dict)
    unknown_calls: set[str] = field(default_factory=set)
    paces: dict[str, dict[str, float]] = field(default_factory=dict)
    #: Events for webhooks: of what, how far, and whether that expires.
    events: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    events_due: dict[str, dict[str, int]] = field(default_factory=dict)
    events_out: dict[str, int] = field(default_factory=dict)
    events_out_of: dict[str, int] = field(default_factory=dict)
    tenants_due: dict[str, int] = field(default_factory=dict)


def read_snapshot(redis: Redis) -> Snapshot:
    """Read the whole database; it has to be small and still."""
    found: list[Any] = redis.keys("*")
    counters = (names.METRIC_LABELS, names.METRIC_FIELDS)
    keys = sorted(name for key in found if not (name := key.decode()).startswith(counters))
    with redis.pipeline(transaction=False) as pipeline:
        for key in keys:
            _ask(pipeline, key)
            pipeline.ttl(key)
        replies = pipeline.execute()
    snapshot = Snapshot()
    for key, value, ttl in zip(keys, replies[::2], replies[1::2], strict=True):
        _take(snapshot, key, value, expires=ttl > 0)
    return snapshot


_WHOLE = {
    names.LANE_SIZES: "lane_sizes",
    names.COUNTS: "counts",
    names.HINTED: "hinted",
    names.POOL_SLOTS: "slots",
    names.TENANT_UNSENT: "tenant_at_hand",
    names.TENANT_PARKED: "tenant_parked",
    names.TENANT_LANES: "tenant_lanes",
    names.TENANT_BLOB_BYTES: "tenant_bytes",
    names.TENANT_WASTE_LIMITS: "waste_limits",
    names.POOL_BUSY: "busy",
    names.MONEY: "money",
    names.BLOB_REFERENCES: "references",
    names.BUDGET_WAITER_COUNTS: "waiter_counts",
    names.DELIVERIES_OUT_OF: "events_out_of",
}
_SORTED = {
    names.DUE: "due",
    names.WORKERS: "workers",
    names.HOLD_ENDS: "hold_ends",
    names.WAKING: "waking",
    names.TOO_NEW: "too_new",
    names.CLOSED_CALLS: "closed",
    names.BUDGET_LOOKS: "looks",
    names.TENANT_BLOB_GARBAGE: "tenant_garbage",
    names.DELIVERIES_OUT: "events_out",
    names.DELIVERY_TENANTS: "tenants_due",
}
_LISTS = {
    names.LANE: "lanes",
    names.TENANT_RING: "tenant_rings",
    names.LANE_RING: "lane_rings",
    names.FOLLOWERS: "followers",
    names.TENANT_WASTE: "waste",
}
_OF_TENANT = (names.TENANT_BLOBS, names.TENANT_JOBS, names.TENANT_FINISHED)
_SORTED_PREFIXES = (
    *(names.HELD_LANES, names.BUDGET_WAITERS, names.DELIVERIES_DUE),
    *(names.TENANT_JOBS, names.TENANT_FINISHED, names.FALLBACK_JOBS),
)
_TEXT_KEYS = (
    names.CELERY_RESULT, names.IDEMPOTENCY, names.ANSWER, names.LEADER, names.UNCLEAR, names.BLOB,
)  # fmt: skip


def _ask(pipeline: Any, key: str) -> None:
    sets = (*_SORTED, names.PARKED, names.FINISHED, names.FAILED, names.DELIVERIES)
    sets += (names.BLOB_GARBAGE, names.UNKNOWN_CALLS)
    if key in sets or key.startswith(_SORTED_PREFIXES):
        pipeline.zrange(key, 0, -1, withscores=True)
    elif key in (names.WAKE, names.QUEUE_WEBHOOKS, *names.HINT_QUEUES) or key.startswith(
        tuple(_LISTS)
    ):
        pipeline.lrange(key, 0, -1)
    elif key.startswith((*_TEXT_KEYS, names.BLOB_BYTES)):
        pipeline.get(key)
    elif key in (names.EVENTS, names.NOTICES):
        pipeline.xlen(key)
    elif key in (names.PROVIDER_KEYS, names.BUDGETS, names.FALLBACK_MODELS):
        pipeline.smembers(key)
    else:
        pipeline.hgetall(key)


def _take(snapshot: Snapshot, key: str, value: Any, *, expires: bool) -> None:
    prefix, rest = _split(key)
    if key in _WHOLE:
        setattr(snapshot, _WHOLE[key], _counts(value))
    elif key in _SORTED:
        setattr(snapshot, _SORTED[key], _scores(value))
    elif prefix in _LISTS:
        getattr(snapshot, _LISTS[prefix])[rest] = [item.decode() for item in value]
    elif prefix in _TEXT_KEYS:
        _take_text(snapshot, prefix, rest, value, expires=expires)
    elif prefix:
        _take_one_of_many(snapshot, prefix, rest, value, expires=expires)
    else:
        _take_single(snapshot, key, value)


def _take_single(snapshot: Snapshot, key: str, value: Any) -> None:
    if key == names.PARKED:
        snapshot.parked = set(_scores(value))
    elif key == names.BLOB_GARBAGE:
        snapshot.garbage = set(_scores(value))
    elif key == names.UNKNOWN_CALLS:
        snapshot.unknown_calls = set(_scores(value))
    elif key == names.BLOB_BYTES:
        snapshot.blob_bytes = int(value)
    elif key == names.HOLDS:
        snapshot.holds = {scope.decode(): reason.decode() for scope, reason in value.items()}


def _take_one_of_many(
    snapshot: Snapshot, prefix: str, rest: str, value: Any, *, expires: bool
) -> None:
    if prefix in (names.BUDGET_WAITERS, names.RESERVES, names.BOOK):
        _take_budget(snapshot, prefix, rest, value)
    elif prefix in _OF_TENANT:
        _take_of_tenant(snapshot, prefix, rest, value)
    elif prefix == names.HELD_LANES:
        snapshot.held_lanes[rest] = _scores(value)
    elif prefix == names.JOB:
        snapshot.jobs[rest] = _job(value, expires=expires)
    elif prefix == names.FALLBACK_JOBS:
        snapshot.fallback_jobs[rest] = _scores(value)
    elif prefix == names.DELIVERIES_DUE:
        snapshot.events_due[rest] = _scores(value)
    elif prefix == names.DELIVERY:
        snapshot.events[rest] = _event(value, expires=expires)
    elif prefix == names.BATCH:
        snapshot.batches[rest] = (_counts(value), expires)
    else:
        found = _pace(value) if prefix == names.RATE_LIMIT else _gate(value)
        if found:
            (snapshot.paces if prefix == names.RATE_LIMIT else snapshot.gates)[rest] = found


def _take_of_tenant(snapshot: Snapshot, prefix: str, rest: str, value: Any) -> None:
    if prefix == names.TENANT_BLOBS:
        snapshot.tenant_blobs[rest] = _counts(value)
    else:
        is_open = prefix == names.TENANT_JOBS
        (snapshot.tenant_jobs if is_open else snapshot.tenant_finished)[rest] = set(_scores(value))


def _take_budget(snapshot: Snapshot, prefix: str, rest: str, value: Any) -> None:
    if prefix == names.BUDGET_WAITERS:
        snapshot.waiters[rest] = _scores(value)
    elif prefix == names.RESERVES:
        snapshot.kinds[rest] = _counts(value)
    else:
        told = (b"low:", b"exhausted:")
        amounts = {name: value for name, value in value.items() if not name.startswith(told)}
        if book := _counts(amounts):
            snapshot.books[rest] = book


def _take_text(snapshot: Snapshot, prefix: str, rest: str, value: bytes, *, expires: bool) -> None:
    if prefix == names.BLOB:
        snapshot.blobs[rest] = expires
    elif prefix == names.IDEMPOTENCY:
        snapshot.keys[rest] = (value.decode(), expires)
    elif prefix == names.LEADER:
        snapshot.leads[rest] = value.decode()
    elif prefix == names.UNCLEAR:
        snapshot.unclear[rest] = int(value)
    else:
        stored = json.loads(value)
        assert expires or stored["status"] == "RETRY"
        if prefix == names.ANSWER:
            snapshot.answers[rest] = stored["text"]
        else:
            snapshot.results[rest] = stored["status"]


def _split(key: str) -> tuple[str, str]:
    hashes = (
        names.JOB,
        names.BATCH,
        names.GATE,
        names.RATE_LIMIT,
        names.BOOK,
        names.RESERVES,
        names.DELIVERY,
        names.TENANT_BLOBS,
    )
    prefixes = (*_LISTS, *_TEXT_KEYS, *hashes, *_SORTED_PREFIXES)
    prefix = next((prefix for prefix in prefixes if key.startswith(prefix)), "")
    return prefix, key.removeprefix(prefix)


def _event(value: dict[bytes, bytes], *, expires: bool) -> tuple[Any, ...]:
    texts = [
        value.get(name, b"").decode()
        for name in (b"tenant", b"event", b"subject", b"state", b"token")
    ]
    return (*texts, int(value.get(b"hints", 0)), int(value.get(b"attempts", 0)), expires)


def _counts(value: dict[bytes, bytes]) -> dict[str, int]:
    return {name.decode(): int(count) for name, count in value.items() if int(count)}


def _scores(value: list[tuple[bytes, float]]) -> dict[str, int]:
    return {name.decode(): int(score) for name, score in value}


def _gate(value: dict[bytes, bytes]) -> dict[str, Any]:
    texts = {name: value[name.encode()].decode() for name in _GATE_TEXTS if name.encode() in value}
    counts = _counts({name: count for name, count in value.items() if name in _GATE_COUNTS})
    return counts | {name: text for name, text in texts.items() if text not in ("", "open")}


def _pace(value: dict[bytes, bytes]) -> dict[str, float]:
    if b"ceiling" not in value:
        value = {name: one for name, one in value.items() if name not in (b"start", b"span")}
    return {name.decode(): float(one) for name, one in value.items() if float(one)}


def _job(value: dict[bytes, bytes], *, expires: bool) -> dict[str, Any]:
    stored = {name.decode(): text.decode() for name, text in value.items()}
    job: dict[str, Any] = {name: stored[name] for name in _TEXTS if stored.get(name)}
    job |= {name: int(stored[name]) for name in _COUNTS if int(stored.get(name, 0))}
    if "taken" in stored:
        job["taken"] = int(stored["taken"])
    if "permit" in stored:
        job["permit"] = float(stored["permit"])
    if job["state"] != "in_progress":
        job.pop("token", None)
    if "late_answer" in stored:
        job["late_answer"] = json.loads(stored["late_answer"])["text"]
    if "faulty" in stored:
        job["faulty"] = json.loads(stored["faulty"])["text"]
    unknown, said = (
        {
            name.removeprefix(prefix): int(amount)
            for name, amount in stored.items()
            if name.startswith(prefix)
        }
        for prefix in ("unknown:", "said:")
    )
    if "gate" in stored:
        job["gate"] = stored["gate"].removeprefix(names.GATE)
    refused = {
        name.removeprefix(f"refused:{names.GATE}"): int(passes)
        for name, passes in stored.items()
        if name.startswith("refused:")
    }
    amount, _, scope = stored.get("promise", "").partition(" ")
    return job | {
        "promise": (scope, int(amount)) if scope else None,
        "days": {
            name.removeprefix("day:"): day
            for name, day in stored.items()
            if name.startswith("day:")
        },
        "unknown": unknown,
        "said": said,
        "refused": refused,
        "expires": expires,
        "blobs": stored.get("blobs", "").split(),
        "fallback": stored.get("fallback", "").split(),
        "steps": [
            (step["model"], step["reason"], step["cost"], step["attempts"])
            for step in json.loads(f"[{stored.get('steps', '')}]")
        ],
    }
