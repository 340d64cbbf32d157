"""The ledger as plain Python: what the seven scripts must do, said a second time and simply.

Times are milliseconds, amounts nano-rubles. Every move takes the time as its first argument.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.integration.ledger_books import BULK, INTERACTIVE, Books, Ending, Job, Worker, add, turn
from tests.integration.ledger_snapshot import TERMINAL

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Ending", "Job", "Model"]


@dataclass
class Model(Books):
    """Same moves as `Ledger`, same answers, and its whole state as a `Snapshot`."""

    lease: int = 0
    gap: int = 0
    first_wait: int = 0
    longest_wait: int = 0
    slots_per_hint_ahead: int = 0
    #: How many messages wait in the broker's queue; None where that can't be seen.
    broker: Callable[[str], int] | None = None

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
            add(self.batches.setdefault(job.batch, {}), "total")
        self.enter_lane(job, at_head=False)
        return ("created",)

    def cancel(self, job_id: str, to: str = "cancelled", only: str = "") -> str:
        job = self.jobs.get(job_id)
        if job is None:
            return "missing"
        before = job.state
        if not job.has_ended and only in ("", before):
            self.end(job, to, {"failed": "deadline_exceeded"}.get(to, to))
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
                    self.requeue(job)
            return job.ended_by == token
        job.token, job.ended_by, job.interrupted = "", token, ""
        job.attempts += ending.counted
        if ending.kind in TERMINAL:
            self.end(job, ending.kind, ending.reason)
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
                self.requeue(job)
            elif job.state == "queued":
                expired.append(job_id)
                self.due[job_id] = now + self.lease
            elif job.state == "hinted":
                self._hint_again(now, job, hints)
            else:
                self.requeue(job)
        return hints, expired

    def _hint_again(self, now: int, job: Job, hints: list[str]) -> None:
        out = self.hinted()[job.queue]
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
            order = [INTERACTIVE, BULK] if self.turns % 10 < 9 else [BULK, INTERACTIVE]
            queue = next((q for q in order if self._room(q) > 0 and self.tenants.get(q)), None)
            if queue is None:
                return
            tenant = turn(self.tenants[queue])
            lane = turn(self.lane_rings[f"{queue}:{tenant}"])
            job = self.jobs.get(self.lanes[lane].pop(0))
            if job and job.state == "queued" and job.lane == lane:
                self.leave_lane(lane)
                job.state = "hinted"
                self.turns += 1
                self._hint(now, job, hints)

    def _room(self, queue: str) -> int:
        room, rivals = 0, set()
        for pool, slots in self.slots().items():
            if queue in pool.split(","):
                ahead = slots // self.slots_per_hint_ahead if self.slots_per_hint_ahead else 0
                room += max(0, slots + ahead - self.busy().get(pool, 0))
                rivals |= set(pool.split(","))
        return room - sum(self.hinted().get(rival, 0) for rival in rivals)
