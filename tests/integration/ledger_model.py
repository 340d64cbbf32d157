"""The ledger as plain Python: what the seven scripts must do, said a second time and simply.

Times are milliseconds, amounts nano-rubles. Every move takes the time as its first argument.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.integration.ledger_snapshot import TERMINAL, Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable

BULK, INTERACTIVE = "visionq.bulk", "visionq.interactive"


@dataclass
class Job:
    id: str
    lane: str
    document: str
    deadline: int | None = None
    batch: str = ""
    key: str = ""
    blobs: tuple[str, ...] = ()
    state: str = "queued"
    token: str = ""
    pool: str = ""
    reason: str = ""
    sent: str = ""
    reserved: int = 0
    unknown: dict[str, int] = field(default_factory=dict)
    interrupted: str = ""
    ended_by: str = ""
    late_answer: str = ""
    attempts: int = 0
    waits: int = 0
    unknown_calls: int = 0
    lapses: int = 0
    cost: int = 0
    hints: int = 0

    @property
    def queue(self) -> str:
        return self.lane.split(":")[0]

    @property
    def has_ended(self) -> bool:
        return self.state in TERMINAL


@dataclass
class Worker:
    slots: int
    pool: str
    until: int


@dataclass
class Ending:
    kind: str
    reason: str = ""
    delay: int | None = None
    counted: bool = False
    billing: str = "released"
    cost: int = 0
    answer: str = ""
    content_key: str = ""


@dataclass
class Model:
    """Same moves as `Ledger`, same answers, and its whole state as a `Snapshot`."""

    lease: int
    gap: int
    first_wait: int
    longest_wait: int
    slots_per_hint_ahead: int
    #: How many messages wait in the broker's queue; None where that can't be seen.
    broker: Callable[[str], int] | None = None
    jobs: dict[str, Job] = field(default_factory=dict)
    due: dict[str, int] = field(default_factory=dict)
    lanes: dict[str, list[str]] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    tenants: dict[str, list[str]] = field(default_factory=dict)
    lane_rings: dict[str, list[str]] = field(default_factory=dict)
    workers: dict[str, Worker] = field(default_factory=dict)
    blobs: set[str] = field(default_factory=set)
    keys: dict[str, str] = field(default_factory=dict)
    batches: dict[str, dict[str, int]] = field(default_factory=dict)
    results: dict[str, str] = field(default_factory=dict)
    answers: dict[str, str] = field(default_factory=dict)
    ended: dict[str, int] = field(default_factory=dict)
    money: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_ACCOUNTS, 0))
    seen: int | None = None
    grace_until: int = 0
    turn: int = 0

    # Producers ------------------------------------------------------------------------------------

    def submit(self, job: Job) -> tuple[str, ...]:
        known = self.jobs.get(job.id) or self.jobs.get(self.keys.get(job.key, ""))
        if known:
            return ("known" if known.document == job.document else "conflict", known.id)
        missing = [blob for blob in job.blobs if blob not in self.blobs]
        if missing:
            return ("missing", *missing)
        self.jobs[job.id] = job
        if job.key:
            self.keys[job.key] = job.id
        if job.batch:
            _add(self.batches.setdefault(job.batch, {}), "total")
        self._enter_lane(job, at_head=False)
        return ("created",)

    def cancel(self, job_id: str, to: str = "cancelled", only: str = "") -> str:
        job = self.jobs.get(job_id)
        if job is None:
            return "missing"
        before = job.state
        if not job.has_ended and only in ("", before):
            self._end(job, to, {"failed": "deadline_exceeded"}.get(to, to))
        return before

    # Workers --------------------------------------------------------------------------------------

    def renew(
        self, now: int, name: str, slots: int, pool: str, leases: list[tuple[str, str]]
    ) -> set[str]:
        self.workers.pop(name, None)
        if slots:
            self.workers[name] = Worker(slots, pool, now + self.lease)
        lost = set()
        for job_id, token in leases:
            if self.holds(job_id, token):
                self.due[job_id] = now + self.lease
            else:
                lost.add(job_id)
        return lost

    def claim(self, now: int, job_id: str, token: str, pool: str) -> Job | str:
        job = self.jobs.get(job_id)
        if job is None:
            return "missing"
        if job.state == "hinted":
            job.state, job.token, job.pool, job.hints = "in_progress", token, pool, 0
            self.due[job_id] = now + self.lease
        elif not self.holds(job_id, token):
            return job.state
        return job

    def admit(
        self, now: int, job_id: str, token: str, content_key: str, reserve: int
    ) -> tuple[str, str]:
        job = self.jobs.get(job_id)
        if job is None or not self.holds(job_id, token):
            return "REFUSED", job.state if job else "missing"
        answer = job.late_answer or self.answers.get(content_key, "")
        if answer:
            return "ANSWER", answer
        if job.deadline is not None and job.deadline <= now:
            return "EXPIRED", ""
        if not job.sent:
            job.sent, job.reserved = token, reserve
        return "GO", ""

    def finish(self, now: int, job_id: str, token: str, ending: Ending) -> bool:
        if ending.answer and ending.content_key:
            self.answers[ending.content_key] = ending.answer
        job = self.jobs.get(job_id)
        if job is None:
            return False
        was_open = job.sent == token or token in job.unknown
        self._settle(job, token, ending)
        if not self.holds(job_id, token):
            if ending.answer and was_open:
                job.late_answer = ending.answer
                if job.state == "parked" and job.reason == "billing_unknown":
                    self._requeue(job)
            return job.ended_by == token
        job.token, job.ended_by, job.interrupted = "", token, ""
        job.attempts += ending.counted
        if ending.kind in TERMINAL:
            self._end(job, ending.kind, ending.reason)
            return True
        job.state, job.reason, job.pool = ending.kind, ending.reason, ""
        job.waits = job.waits + 1 if ending.kind == "waiting" and not ending.counted else 0
        self.results[job_id] = "RETRY"
        delay = ending.delay
        if ending.kind == "parked" and ending.reason == "billing_unknown" and job.late_answer:
            delay = 0
        self.due.pop(job_id, None)
        if delay is not None:
            self.due[job_id] = now + delay
        return True

    def _settle(self, job: Job, token: str, ending: Ending) -> None:
        if job.sent == token:
            if ending.billing == "unknown":
                self._lose_sight(job)
                return
            job.sent, job.reserved = "", 0
            if job.has_ended:
                self.due.pop(job.id, None)
        elif token in job.unknown and ending.billing != "unknown":
            amount = job.unknown.pop(token)
            self._count_unknown(job, -1, -amount)
            if job.interrupted == token:
                job.interrupted = ""
        else:
            return
        if ending.billing == "settled":
            job.cost += ending.cost
            self.money["settled"] += ending.cost

    def _lose_sight(self, job: Job) -> None:
        if job.sent:
            job.unknown[job.sent] = job.reserved
            self._count_unknown(job, 1, job.reserved)
            job.sent, job.reserved = "", 0
        if job.has_ended:
            self.due.pop(job.id, None)

    def _count_unknown(self, job: Job, calls: int, amount: int) -> None:
        job.unknown_calls += calls
        self.money["unknown_calls"] += calls
        self.money["unknown"] += amount

    # The dispatcher -------------------------------------------------------------------------------

    def dispatch(self, now: int, limit: int) -> tuple[list[str], list[str]]:
        if self.seen is not None and now - self.seen > self.gap:
            self.grace_until = now + self.lease
        self.seen = now
        if now >= self.grace_until:
            late = sorted((worker.until, name) for name, worker in self.workers.items())
            for until, name in late[:limit]:
                if until <= now:
                    del self.workers[name]
        hints, expired = self._look_at_due(now, limit)
        self._take_next(now, limit, hints)
        return hints, expired

    def _look_at_due(self, now: int, limit: int) -> tuple[list[str], list[str]]:
        hints: list[str] = []
        expired: list[str] = []
        due = sorted((moment, id_) for id_, moment in self.due.items() if moment <= now)
        for _, job_id in due[:limit]:
            job = self.jobs[job_id]
            if job.has_ended:
                self._lose_sight(job)
            elif job.state == "in_progress" and now < self.grace_until:
                self.due[job_id] = self.grace_until
            elif job.state == "in_progress":
                job.interrupted = job.sent or job.interrupted
                self._lose_sight(job)
                job.lapses += 1
                self._requeue(job)
            elif job.state == "queued":
                expired.append(job_id)
                self.due[job_id] = now + self.lease
            elif job.state == "hinted":
                self._hint_again(now, job, hints)
            else:
                self._requeue(job)
        return hints, expired

    def _hint_again(self, now: int, job: Job, hints: list[str]) -> None:
        out = self._hinted()[job.queue]
        if not self.workers or (self.broker and self.broker(job.queue) >= out):
            self.due[job.id] = now + self.first_wait
        else:
            self._hint(now, job, hints)

    def _hint(self, now: int, job: Job, hints: list[str]) -> None:
        job.hints += 1
        hints.append(job.id)
        self.due[job.id] = now + min(self.longest_wait, self.first_wait * 2 ** (job.hints - 1))

    def _take_next(self, now: int, limit: int, hints: list[str]) -> None:
        looks = 0
        while len(hints) < limit and looks < limit:
            looks += 1
            order = [INTERACTIVE, BULK] if self.turn % 10 < 9 else [BULK, INTERACTIVE]
            queue = next((q for q in order if self._room(q) > 0 and self.tenants.get(q)), None)
            if queue is None:
                return
            tenant = _turn(self.tenants[queue])
            lane = _turn(self.lane_rings[f"{queue}:{tenant}"])
            job = self.jobs.get(self.lanes[lane].pop(0))
            if job and job.state == "queued" and job.lane == lane:
                self._leave_lane(lane)
                job.state = "hinted"
                self.turn += 1
                self._hint(now, job, hints)

    def _room(self, queue: str) -> int:
        room, rivals = 0, set()
        for pool, slots in self._slots().items():
            if queue in pool.split(","):
                ahead = slots // self.slots_per_hint_ahead if self.slots_per_hint_ahead else 0
                room += slots + ahead - self._busy().get(pool, 0)
                rivals |= set(pool.split(","))
        return room - sum(self._hinted().get(rival, 0) for rival in rivals)

    # Lanes and ends -------------------------------------------------------------------------------

    def holds(self, job_id: str, token: str) -> bool:
        job = self.jobs.get(job_id)
        return job is not None and job.state == "in_progress" and job.token == token

    def _requeue(self, job: Job) -> None:
        job.state, job.token, job.pool, job.reason = "queued", "", "", ""
        self._enter_lane(job, at_head=True)

    def _enter_lane(self, job: Job, *, at_head: bool) -> None:
        lane = self.lanes.setdefault(job.lane, [])
        lane.insert(0 if at_head else len(lane), job.id)
        self.due.pop(job.id, None)
        if job.deadline is not None:
            self.due[job.id] = job.deadline
        _add(self.sizes, job.lane)
        queue, tenant, _ = job.lane.split(":")
        ring = self.lane_rings.setdefault(f"{queue}:{tenant}", [])
        if job.lane not in ring:
            ring.append(job.lane)
        tenants = self.tenants.setdefault(queue, [])
        if tenant not in tenants:
            tenants.append(tenant)

    def _leave_lane(self, lane: str) -> None:
        self.sizes[lane] -= 1
        if self.sizes[lane]:
            return
        queue, tenant, _ = lane.split(":")
        del self.sizes[lane], self.lanes[lane]
        self.lane_rings[f"{queue}:{tenant}"].remove(lane)
        if not self.lane_rings[f"{queue}:{tenant}"]:
            del self.lane_rings[f"{queue}:{tenant}"]
            self.tenants[queue].remove(tenant)

    def _end(self, job: Job, to: str, reason: str) -> None:
        if job.state == "queued":
            self._leave_lane(job.lane)
        job.state, job.reason, job.token, job.pool = to, reason, "", ""
        if not job.sent:
            self.due.pop(job.id, None)
        _add(self.ended, to)
        statuses = {"completed": "SUCCESS", "failed": "FAILURE", "cancelled": "REVOKED"}
        self.results[job.id] = statuses[to]
        if job.batch:
            _add(self.batches[job.batch], to)

    def forget(self, job_id: str) -> None:
        """What a finished job keeps has expired."""
        job = self.jobs.pop(job_id)
        self.results.pop(job_id)
        if self.keys.get(job.key) == job_id:
            del self.keys[job.key]

    # What there is --------------------------------------------------------------------------------

    def _slots(self) -> dict[str, int]:
        slots: dict[str, int] = {}
        for worker in self.workers.values():
            _add(slots, worker.pool, worker.slots)
        return slots

    def _busy(self) -> dict[str, int]:
        busy: dict[str, int] = {}
        for job in self.jobs.values():
            if job.pool:
                _add(busy, job.pool)
        return busy

    def _hinted(self) -> dict[str, int]:
        hinted: dict[str, int] = {}
        for job in self.jobs.values():
            if job.state == "hinted":
                _add(hinted, job.queue)
        return hinted

    def snapshot(self) -> Snapshot:
        counts: dict[str, int] = dict(self.ended)
        references: dict[str, int] = {}
        for job in self.jobs.values():
            if not job.has_ended:
                _add(counts, job.state)
                for blob in job.blobs:
                    _add(references, blob)
        money = self.money | {
            "reserved": sum(job.reserved for job in self.jobs.values()),
        }
        return Snapshot(
            jobs={job.id: _fields(job) for job in self.jobs.values()},
            due=self.due,
            parked={job.id for job in self.jobs.values() if job.state == "parked"},
            lanes=self.lanes,
            lane_sizes=self.sizes,
            tenant_rings={queue: ring for queue, ring in self.tenants.items() if ring},
            lane_rings=self.lane_rings,
            counts=counts,
            hinted=self._hinted(),
            slots=self._slots(),
            busy=self._busy(),
            workers={name: worker.until for name, worker in self.workers.items()},
            money={name: amount for name, amount in money.items() if amount},
            references=references,
            blobs={blob: blob not in references for blob in self.blobs},
            keys={key: (id_, self.jobs[id_].has_ended) for key, id_ in self.keys.items()},
            batches={name: (counts, _is_over(counts)) for name, counts in self.batches.items()},
            results=self.results,
            answers=self.answers,
        )


_ACCOUNTS = ("settled", "unknown", "unknown_calls")


def _fields(job: Job) -> dict[str, Any]:
    names = (
        "state", "lane", "token", "sent", "pool", "interrupted", "ended_by", "reason", "reserved",
        "attempts", "waits", "unknown_calls", "lapses", "cost", "late_answer",
    )  # fmt: skip
    fields = {name: getattr(job, name) for name in names if getattr(job, name)}
    expires = job.has_ended and not job.sent
    return fields | {"unknown": job.unknown, "expires": expires, "blobs": list(job.blobs)}


def _is_over(counts: dict[str, int]) -> bool:
    return sum(counts.get(end, 0) for end in TERMINAL) >= counts["total"]


def _turn(ring: list[str]) -> str:
    ring.append(ring.pop(0))
    return ring[-1]


def _add(counts: dict[str, int], name: str, amount: int = 1) -> None:
    counts[name] = counts.get(name, 0) + amount
