"""What must hold of the ledger at all times."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

from tests.support.ledger_model.snapshot import TERMINAL

if TYPE_CHECKING:
    from tests.support.ledger_model.snapshot import Snapshot


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
    _assert_books(snapshot)
    _assert_tenants(snapshot)
    _assert_rings(snapshot)
    _assert_gates(snapshot)
    _assert_paces(snapshot)
    _assert_followed(snapshot)
    assert snapshot.too_new.keys() == {
        id_ for id_, job in jobs.items() if job.get("reason") == "newer_worker_needed"
    }


def _assert_placed(snapshot: Snapshot, job_id: str, job: dict[str, Any]) -> None:
    state = job["state"]
    in_lane = snapshot.lanes.get(job["lane"], []).count(job_id)
    if state == "queued":
        assert in_lane >= 1, f"{job_id} is lost"
    elif state in ("hinted", "in_progress") or (
        state == "waiting" and job["reason"] not in ("follows", "budget")
    ):
        assert job_id in snapshot.due, f"{job_id} is lost"
    assert (job_id in snapshot.parked) == (state == "parked")
    assert ("token" in job) == ("pool" in job) == (state == "in_progress")
    if state in TERMINAL:
        # What is still to be accounted for may not expire, and someone will look at it.
        assert ("sent" in job) == (job_id in snapshot.due) == (not job["expires"])
    else:
        assert not job["expires"]
        assert "sent" not in job or state == "in_progress"


def _assert_books(snapshot: Snapshot) -> None:
    """Every ruble is in the books of its scopes, and every waiter among those of its budget."""
    for account, amount in snapshot.money.items():
        tenants = [book for name, book in snapshot.books.items() if _is_whole_tenant(name)]
        assert sum(book.get(account, 0) for book in tenants) == amount, account
    promised: Counter[str] = Counter()
    waiting: Counter[str] = Counter()
    for job_id, job in snapshot.jobs.items():
        if job["promise"]:
            scope, amount = job["promise"]
            promised[scope] += amount
            assert job["state"] in ("queued", "hinted", "in_progress")
        if "waits_for" in job:
            waiting[job["waits_for"]] += 1
            assert job_id in snapshot.waiters[f"{job['state']}:{job['waits_for']}"]
        assert (job.get("reason") in ("budget", "budget_exhausted")) == ("waits_for" in job)
    for scope, book in snapshot.books.items():
        assert book.get("promised", 0) == promised[scope]
        assert all(amount >= 0 for amount in book.values()), f"{scope}: {book}"
    assert snapshot.waiter_counts == waiting
    assert sum(map(len, snapshot.waiters.values())) == waiting.total()


def _assert_tenants(snapshot: Snapshot) -> None:
    """Every tenant's jobs, parked jobs, lanes and pictures are counted, and nobody else's."""
    under_way, finished = defaultdict[str, set[str]](set), defaultdict[str, set[str]](set)
    needed: dict[str, Counter[str]] = defaultdict(Counter)
    for job_id, job in snapshot.jobs.items():
        tenant = job["lane"].split(":")[1]
        if job["state"] in TERMINAL:
            finished[tenant].add(job_id)
        else:
            under_way[tenant].add(job_id)
            needed[tenant].update(job["blobs"])
    assert snapshot.tenant_jobs == under_way
    for tenant, ids in finished.items():
        assert ids <= snapshot.tenant_finished[tenant]
    assert snapshot.tenant_blobs == {tenant: found for tenant, found in needed.items() if found}
    assert snapshot.tenant_parked == Counter(
        job["lane"].split(":")[1] for job in snapshot.jobs.values() if job["state"] == "parked"
    )
    assert snapshot.tenant_lanes == Counter(lane.split(":")[1] for lane in snapshot.lane_sizes)
    charged = Counter(entry.split()[0] for entry in snapshot.tenant_garbage)
    charged.update({tenant: len(found) for tenant, found in snapshot.tenant_blobs.items()})
    size = len(b"picture")
    assert snapshot.tenant_bytes == {tenant: size * count for tenant, count in charged.items()}


def _is_whole_tenant(book: str) -> bool:
    return book.startswith("tenant:") and book.count(":") == 1


def _assert_rings(snapshot: Snapshot) -> None:
    for owner, ring in (snapshot.tenant_rings | snapshot.lane_rings).items():
        assert len(ring) == len(set(ring)) > 0, owner
    standing = {lane for ring in snapshot.lane_rings.values() for lane in ring}
    for lane in snapshot.lane_sizes.keys() - standing:
        assert any(lane in snapshot.held_lanes.get(scope, ()) for scope in _holding(lane, snapshot))
    assert standing <= snapshot.lane_sizes.keys()
    owners = {
        f"{queue}:{tenant}" for queue, ring in snapshot.tenant_rings.items() for tenant in ring
    }
    assert owners == snapshot.lane_rings.keys()


def _holding(lane: str, snapshot: Snapshot) -> set[str]:
    """Return what holds the lane, or did and is still putting lanes back."""
    _, tenant, model = lane.split(":")
    return {f"model:{model}", f"tenant:{tenant}", f"pace:{model}"} & (
        snapshot.holds | snapshot.hold_ends
    ).keys()


def _assert_gates(snapshot: Snapshot) -> None:
    """The calls that a gate counts are those that are out, and no more than its step."""
    for job in snapshot.jobs.values():
        assert ("gate" in job) == ("sent" in job)
    keys = snapshot.gates.keys() | {job["gate"] for job in snapshot.jobs.values() if "gate" in job}
    for key in keys:
        gate = snapshot.gates.get(key, {})
        epochs = [job.get("epoch", 0) for job in snapshot.jobs.values() if job.get("gate") == key]
        before = sum(epoch != gate.get("epoch", 0) for epoch in epochs)
        assert gate.get("calls_out", 0) == len(epochs)
        assert gate.get("calls_before", 0) == before
        if gate.get("state") == "reopening":
            assert len(epochs) - before <= gate["step"]


def _assert_paces(snapshot: Snapshot) -> None:
    """A model counts as unsent what was taken and not sent, and as out what was sent."""
    for job in snapshot.jobs.values():
        at_hand = job["state"] in ("hinted", "in_progress") and "sent" not in job
        assert ("taken" in job) == at_hand
        assert "permit" not in job or at_hand
    taken = [job["lane"].split(":")[1] for job in snapshot.jobs.values() if "taken" in job]
    assert snapshot.tenant_at_hand == Counter(taken)
    for name, mark in (("at_hand", "taken"), ("calls_out", "sent")):
        models = [job["lane"].split(":", 2)[2] for job in snapshot.jobs.values() if mark in job]
        counted = {
            model: rate_limit[name]
            for model, rate_limit in snapshot.paces.items()
            if name in rate_limit
        }
        assert counted == Counter(models), name


def _assert_followed(snapshot: Snapshot) -> None:
    """Each follower waits for a call that is out or will be, or it is being woken."""
    for job_id, job in snapshot.jobs.items():
        if job["state"] == "waiting" and job["reason"] == "follows":
            assert any(
                job_id in ids and (key in snapshot.leads or key in snapshot.waking)
                for key, ids in snapshot.followers.items()
            ), f"{job_id} is lost"
    leads = {job["lead"]: job_id for job_id, job in snapshot.jobs.items() if "lead" in job}
    assert snapshot.leads == leads
    assert all(snapshot.jobs[job_id].keys() & {"sent", "faulty"} for job_id in leads.values())
    assert snapshot.waking.keys() <= snapshot.followers.keys()
