"""The ledger's whole state as plain values, and what must hold of it whatever happened."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from visionq import names

if TYPE_CHECKING:
    from redis import Redis

TERMINAL = {"completed", "failed", "cancelled"}
_TEXTS = ("state", "lane", "token", "sent", "pool", "interrupted", "ended_by", "reason")
_COUNTS = (
    "reserved", "attempts", "waits", "unknown_calls", "lapses", "cost",
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


def read_snapshot(redis: Redis) -> Snapshot:
    """Read the whole database; it has to be small and still."""
    found: list[Any] = redis.keys("*")
    keys = sorted(key.decode() for key in found)
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
    names.POOL_BUSY: "busy",
    names.MONEY: "money",
    names.BLOB_REFERENCES: "references",
}
_SORTED = {names.DUE: "due", names.WORKERS: "workers"}
_LISTS = {names.LANE: "lanes", names.TENANT_RING: "tenant_rings", names.LANE_RING: "lane_rings"}
_TEXT_KEYS = (names.CELERY_RESULT, names.IDEMPOTENCY, names.ANSWER, names.BLOB)


def _ask(pipeline: Any, key: str) -> None:
    if key in (*_SORTED, names.PARKED, names.FINISHED, names.BLOB_GARBAGE):
        pipeline.zrange(key, 0, -1, withscores=True)
    elif key in (names.WAKE, *names.HINT_QUEUES) or key.startswith(tuple(_LISTS)):
        pipeline.lrange(key, 0, -1)
    elif key.startswith((*_TEXT_KEYS, names.BLOB_BYTES)):
        pipeline.get(key)
    elif key == names.EVENTS:
        pipeline.xlen(key)
    else:
        pipeline.hgetall(key)


def _take(snapshot: Snapshot, key: str, value: Any, *, expires: bool) -> None:
    prefix, rest = _split(key)
    if key in _WHOLE:
        setattr(snapshot, _WHOLE[key], _counts(value))
    elif key in _SORTED:
        setattr(snapshot, _SORTED[key], {id_.decode(): int(score) for id_, score in value})
    elif key == names.PARKED:
        snapshot.parked = {id_.decode() for id_, _ in value}
    elif key == names.BLOB_GARBAGE:
        snapshot.garbage = {entry.decode() for entry, _ in value}
    elif key == names.BLOB_BYTES:
        snapshot.blob_bytes = int(value)
    elif prefix in _LISTS:
        getattr(snapshot, _LISTS[prefix])[rest] = [item.decode() for item in value]
    elif prefix == names.JOB:
        snapshot.jobs[rest] = _job(value, expires=expires)
    elif prefix == names.BATCH:
        snapshot.batches[rest] = (_counts(value), expires)
    elif prefix in _TEXT_KEYS:
        _take_text(snapshot, prefix, rest, value, expires=expires)


def _take_text(snapshot: Snapshot, prefix: str, rest: str, value: bytes, *, expires: bool) -> None:
    if prefix == names.BLOB:
        snapshot.blobs[rest] = expires
    elif prefix == names.IDEMPOTENCY:
        snapshot.keys[rest] = (value.decode(), expires)
    else:
        assert expires
        stored = json.loads(value)
        if prefix == names.ANSWER:
            snapshot.answers[rest] = stored["text"]
        else:
            snapshot.results[rest] = stored["status"]


def _split(key: str) -> tuple[str, str]:
    prefixes = (*_LISTS, *_TEXT_KEYS, names.JOB, names.BATCH)
    prefix = next((prefix for prefix in prefixes if key.startswith(prefix)), "")
    return prefix, key.removeprefix(prefix)


def _counts(value: dict[bytes, bytes]) -> dict[str, int]:
    return {name.decode(): int(count) for name, count in value.items() if int(count)}


def _job(value: dict[bytes, bytes], *, expires: bool) -> dict[str, Any]:
    stored = {name.decode(): text.decode() for name, text in value.items()}
    job: dict[str, Any] = {name: stored[name] for name in _TEXTS if stored.get(name)}
    job |= {name: int(stored[name]) for name in _COUNTS if int(stored.get(name, 0))}
    if job["state"] != "in_progress":
        job.pop("token", None)
    if "late_answer" in stored:
        job["late_answer"] = json.loads(stored["late_answer"])["text"]
    unknown = {
        name.removeprefix("unknown:"): int(amount)
        for name, amount in stored.items()
        if name.startswith("unknown:")
    }
    return job | {"unknown": unknown, "expires": expires, "blobs": stored.get("blobs", "").split()}


def assert_sound(snapshot: Snapshot) -> None:
    """No job is lost or in two places, and every count is the count of what it counts."""
    jobs = snapshot.jobs
    for job_id, job in jobs.items():
        _assert_placed(snapshot, job_id, job)
    states = Counter(job["state"] for job in jobs.values())
    for state in ("queued", "hinted", "in_progress", "waiting", "parked"):
        assert snapshot.counts.get(state, 0) == states[state], state
    queued = Counter(job["lane"] for job in jobs.values() if job["state"] == "queued")
    assert snapshot.lane_sizes == queued
    assert snapshot.lanes.keys() == queued.keys()
    assert snapshot.hinted == Counter(
        job["lane"].split(":")[0] for job in jobs.values() if job["state"] == "hinted"
    )
    assert snapshot.busy == Counter(job["pool"] for job in jobs.values() if "pool" in job)
    assert snapshot.references == Counter(
        sha for job in jobs.values() if job["state"] not in TERMINAL for sha in job["blobs"]
    )
    going = {entry.split()[0]: int(entry.split()[1]) for entry in snapshot.garbage}
    assert not going.keys() & snapshot.references.keys()
    needed = len(snapshot.references) * len(b"picture")
    assert snapshot.blob_bytes == sum(going.values()) + needed
    assert snapshot.money.get("reserved", 0) == sum(job.get("reserved", 0) for job in jobs.values())
    _assert_rings(snapshot)


def _assert_placed(snapshot: Snapshot, job_id: str, job: dict[str, Any]) -> None:
    state = job["state"]
    in_lane = snapshot.lanes.get(job["lane"], []).count(job_id)
    if state == "queued":
        assert in_lane >= 1, f"{job_id} is lost"
    elif state in ("hinted", "in_progress", "waiting"):
        assert job_id in snapshot.due, f"{job_id} is lost"
    assert (job_id in snapshot.parked) == (state == "parked")
    assert ("token" in job) == ("pool" in job) == (state == "in_progress")
    if state in TERMINAL:
        # What is still to be accounted for may not expire, and somebody will look at it.
        assert ("sent" in job) == (job_id in snapshot.due) == (not job["expires"])
    else:
        assert not job["expires"]
        assert "sent" not in job or state == "in_progress"


def _assert_rings(snapshot: Snapshot) -> None:
    for owner, ring in (snapshot.tenant_rings | snapshot.lane_rings).items():
        assert len(ring) == len(set(ring)) > 0, owner
    standing = {lane for ring in snapshot.lane_rings.values() for lane in ring}
    assert standing == snapshot.lane_sizes.keys()
    owners = {
        f"{queue}:{tenant}" for queue, ring in snapshot.tenant_rings.items() for tenant in ring
    }
    assert owners == snapshot.lane_rings.keys()
