"""The ledger as plain Python: what the scripts must do, said a second time and simply.

Times are milliseconds, amounts nano-rubles. Every move takes the time as its first argument.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.support.ledger_model.books import (
    BULK,
    INTERACTIVE,
    Ending,
    Job,
    Worker,
    add,
    forgotten,
    turn,
)
from tests.support.ledger_model.gates import key_of
from tests.support.ledger_model.outages import MOST_RISKY_LANES, Outages
from tests.support.ledger_model.rate_limits import model_of
from tests.support.ledger_model.snapshot import TERMINAL

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from visionq.ledger import Registration

__all__ = ["Ending", "Job", "Model"]

#: Milliseconds that a job with a fallback waits for its model.
PATIENCE = 15_000
#: Calls of unknown billing for one question.
MOST_UNCLEAR = 3


#: Milliseconds since two tenants had jobs taken, in which one leaves slots to others.
SHARED_FOR = 86_400_000


@dataclass
class Model(Outages):
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

    def cancel(self, now: int, job_id: str, to: str = "cancelled", only: str = "") -> str:
        job = self.jobs.get(job_id)
        if job is None:
            return "missing"
        before = job.state
        if not job.has_ended and only in ("", before):
            self.end(now, job, to, {"failed": "deadline_exceeded"}.get(to, to))
        return before

    # Workers --------------------------------------------------------------------------------------

    def renew(self, now: int, worker: Registration, leases: list[tuple[str, str]]) -> set[str]:
        self.workers.pop(worker.worker, None)
        if worker.slots:
            self.workers[worker.worker] = Worker(worker.slots, worker.pool, now + self.lease)
            self._take_up_newer(worker.schema_version)
        lost = set()
        for job_id, token in leases:
            if self.holds(job_id, token):
                self.due[job_id] = now + self.lease
            else:
                lost.add(job_id)
        return lost

    def _take_up_newer(self, version: int) -> None:
        newer = [job for job in self.jobs.values() if job.reason == "newer_worker_needed"]
        for job in sorted(newer, key=lambda job: (job.version, job.id)):
            if job.version <= version:
                self.requeue(job)

    def claim(self, now: int, job_id: str, token: str, worker: Registration) -> Job | str:
        job = self.jobs.get(job_id)
        if job is None:
            return "missing"
        pool = worker.pool
        if job.state == "hinted" and job.version > worker.schema_version:
            self.forget_promise(job)
            job.state, job.reason, job.taken = "parked", "newer_worker_needed", None
            self.due.pop(job_id, None)
            return "too_new"
        if job.state == "hinted" and (kept_back := self._kept_back(now, job, key_of(pool))):
            self.requeue(job)
            return kept_back
        if job.state == "hinted":
            job.state, job.token, job.pool, job.hints = "in_progress", token, pool, 0
            self.due[job_id] = now + self.lease
        elif not self.holds(job_id, token):
            return job.state
        return job

    def _kept_back(self, now: int, job: Job, key: str) -> str:
        if self.jobs_left(key) <= 0:
            return "gate_closed"
        if self.held_by(job.lane):
            return "held"
        return "rate_limited" if self.rests_long(now, job.lane) else ""

    def admit(  # noqa: PLR0917  # as the script takes them
        self, now: int, job_id: str, token: str, cache_key: str, reserve: int | None, tokens: int
    ) -> tuple[str, str]:
        job = self.jobs.get(job_id)
        if job is None or not self.holds(job_id, token):
            return "REFUSED", job.state if job else "missing"
        if job.sent:
            return "GO", ""
        stored = self.answers.get(cache_key, "") if job.reuse == "use" else ""
        answer = job.late_answer or stored
        if answer:
            return "ANSWER", answer
        if job.deadline is not None and job.deadline <= now:
            return "EXPIRED", ""
        return self._admit_call(now, job, cache_key, reserve, tokens)

    def _admit_call(
        self, now: int, job: Job, cache_key: str, reserve: int | None, tokens: int
    ) -> tuple[str, str]:
        if job.reuse == "use" and self.leads.get(cache_key, job.id) != job.id:
            self.follow(job, cache_key)
            return "FOLLOW", ""
        if cache_key and self.unclear.get(cache_key, 0) >= MOST_UNCLEAR:
            self.block(job, cache_key)
            return "PARK", "billing_unknown"
        return self._admit_new(now, job, cache_key, reserve, tokens)

    def _admit_new(
        self, now: int, job: Job, cache_key: str, reserve: int | None, tokens: int
    ) -> tuple[str, str]:
        key, scope = key_of(job.pool), self.held_by(job.lane)
        if self.calls_left(key) <= 0 or scope:
            self.requeue(job)
            return "PARK", self.held[scope] if scope else self.gate(key).reason
        verdict, reason = self.judge(job, reserve)
        if verdict:
            return verdict, reason
        permit = self.permit_for(now, job, tokens)
        if permit is None:
            self.requeue(job)
            return "PARK", "rate_limited"
        if permit > now:
            return "WAIT", str(math.ceil(permit - now))
        self.forget_promise(job)
        self.leave_at_pace(now, job, tokens)
        self.reserve_money(job, reserve or 0)
        job.gate, job.epoch = key, self.gate(key).epoch
        if cache_key:
            job.asks[job.sent] = cache_key
        if cache_key and cache_key not in self.leads:
            self.leads[cache_key], job.lead = job.id, cache_key
        return "GO", ""

    def finish(self, now: int, job_id: str, token: str, ending: Ending, scopes: list[str]) -> str:
        if ending.answer and ending.cache_key:
            self.answers[ending.cache_key] = ending.answer
        job = self.jobs.get(job_id)
        if job is None:
            self.book_without_job(now, token, scopes, ending)
            return ""
        was_open = token in {job.sent, *job.unknown, *job.said} or forgotten(job, token, ending)
        was_out = ending.was_sent = job.sent == token
        call = (job.gate or key_of(job.pool), job.epoch if job.gate else None, job.reserved)
        self.hear_of_pace(now, job, token, ending)
        self.settle(job, token, ending)
        mends = bool(ending.faulty) and self.holds(job_id, token)
        is_out = was_out and self.hear_of_provider(now, job, ending)
        if was_out:
            self.call_ended(now, job, stays_lead=mends)
        if not self.holds(job_id, token):
            if was_open:
                self._hear_late(now, job, ending)
            return "done" if job.ended_by == token else ""
        job.token, job.ended_by, job.interrupted = "", token, ""
        if mends:
            job.faulty, job.deadline = ending.faulty, None
        if ending.saved:
            self.post(job, self.day, saved=ending.saved)
        if is_out and ending.may_be_put_off:
            self.put_off(job)
            return "put_off"
        self._take_outcome(now, job, ending, call)
        return "done"

    def _take_outcome(
        self, now: int, job: Job, ending: Ending, call: tuple[str, int | None, int]
    ) -> None:
        job.attempts += ending.counted
        if ending.kind == "held":
            self._hold_back(now, job, ending, call)
        elif ending.kind == "moved":
            self._move_on(now, job, ending)
        elif ending.kind in TERMINAL:
            self.end(now, job, ending.kind, ending.reason)
            self.count_paid_end(job)
        else:
            self._come_back(now, job, ending)

    def _hear_late(self, now: int, job: Job, ending: Ending) -> None:
        is_same = ending.model == job.model
        brings = is_same and bool(ending.answer or (ending.faulty and not job.has_ended))
        if brings:
            job.late_answer = ending.answer or job.late_answer
            job.faulty = ending.faulty or job.faulty
        is_unclear = job.state == "parked" and job.reason == "billing_unknown"
        if is_unclear and is_same and ending.kind == "moved" and not job.unknown_calls:
            self._move_on(now, job, ending)
        elif is_unclear and is_same and ending.kind == "failed" and ending.billing == "settled":
            self.end(now, job, "failed", ending.reason)
            self.count_paid_end(job)
        elif (
            is_unclear and (brings or (ending.billing != "unknown" and not job.unknown_calls))
        ) or (brings and self.leave_waiters(job)):
            if ending.answer:
                self.excuse(job)
            self.requeue(job)

    def _move_on(self, now: int, job: Job, ending: Ending) -> None:
        to = self._first_served(ending.models)
        self.results[job.id] = "RETRY"
        if to in job.fallback and job.unknown_calls:
            self.forget_promise(job)
            job.state, job.reason, job.pool = "parked", "billing_unknown", ""
            job.taken = job.permit = None
            self.due.pop(job.id, None)
            return
        self.end_lead(now, job)
        self._change_model(job, to, ending.reason)
        if ending.was_sent:
            job.deadline = None
        self.requeue(job)

    def _first_served(self, models: Sequence[str]) -> str:
        return next((one for one in models if f"model:{one}" not in self.held), models[0])

    def _change_model(self, job: Job, to: str, reason: str) -> None:
        queue, tenant, model = job.lane.split(":")
        job.steps.append((model, reason, job.cost, job.attempts))
        job.fallback = [one for one in job.fallback if one != to]
        job.faulty, job.late_answer, job.waits = "", "", 0
        job.lane = f"{queue}:{tenant}:{to}"

    def fall_back(self, now: int, most: int) -> int:
        """Move queued jobs whose model is held for long; returns how many."""
        went = 0
        for model in sorted(self._fallback_jobs()):
            scope = f"model:{model}"
            if scope not in self.held or self.hold_ends.get(scope, math.inf) - now <= PATIENCE:
                continue
            known = self._fallback_jobs()[model]
            for job_id in sorted(known, key=lambda one: (known[one], one))[:most]:
                job = self.jobs[job_id]
                to = self._first_served(job.fallback)
                if f"model:{to}" in self.held or job.unknown_calls:
                    self.queued_since[job_id] = now
                    continue
                self.leave_lane(job.lane)
                self._change_model(job, to, self.held[scope])
                self.enter_lane(job, at_head=False)
                went += 1
        return went

    def _come_back(self, now: int, job: Job, ending: Ending) -> None:
        self.forget_promise(job)
        job.state, job.reason, job.pool = ending.kind, ending.reason, ""
        job.taken = job.permit = None
        job.waits = job.waits + 1 if ending.kind == "waiting" and not ending.counted else 0
        self.results[job.id] = "RETRY"
        delay = ending.delay
        is_clear = ending.kind == "parked" and job.was_unclear and not job.unknown_calls
        if ending.reason == "billing_unknown" and (job.late_answer or is_clear):
            delay = 0
        self.due.pop(job.id, None)
        if delay is not None:
            self.due[job.id] = now + delay

    def _hold_back(
        self, now: int, job: Job, ending: Ending, call: tuple[str, int | None, int]
    ) -> None:
        self.forget_promise(job)
        job.pool = ""
        self.results[job.id] = "RETRY"
        until = now + (ending.delay or 0)
        if ending.scope != "gate":
            model = ending.scope.removeprefix("model:")
            self.rest_model(now, model, ending.reason, ending.delay)
        elif self.is_refused_alone(now, job, call, ending.reason):
            job.state, job.reason, job.taken = "parked", ending.reason, None
            self.due[job.id] = until
            return
        self.requeue(job, at_head=False)

    # The dispatcher -------------------------------------------------------------------------------

    def dispatch(self, now: int, limit: int) -> tuple[list[str], list[str], list[str]]:
        if self.seen is not None and now - self.seen > self.gap:
            self.grace_until = now + self.lease
        self.seen = now
        if now >= self.grace_until:
            late = sorted((worker.until, name) for name, worker in self.workers.items())
            for until, name in late[:limit]:
                if until <= now:
                    del self.workers[name]
        self.end_holds(now)
        hints, expired = self._look_at_due(now, limit)
        self.wake_some()
        self.look_at_budgets()
        self.begin_trials(now)
        self._take_next(now, limit, hints)
        waits = (self.first_wait, self.longest_wait)
        count = now >= self.grace_until
        slots = sum(self.slots().values())
        told = self.look_at_events(now, slots, waits, self.broker, leases_count=count)
        return hints, expired, told

    def _look_at_due(self, now: int, limit: int) -> tuple[list[str], list[str]]:
        hints: list[str] = []
        expired: list[str] = []
        due = sorted((moment, id_) for id_, moment in self.due.items() if moment <= now)
        for _, job_id in due[:limit]:
            job = self.jobs[job_id]
            if job.has_ended:
                self.lose_sight(job)
                self.call_ended(now, job)
            elif job.state == "in_progress" and now < self.grace_until:
                self.due[job_id] = self.grace_until
            elif job.state == "in_progress":
                if job.sent:
                    job.interrupted = job.sent
                    self.lose_sight(job)
                    self.call_ended(now, job)
                else:
                    job.lapses += 1
                self.requeue(job)
            elif job.state == "queued":
                expired.append(job_id)
                self.due[job_id] = now + self.lease
            elif job.state == "hinted":
                self._hint_again(now, job, hints)
            else:
                self.leave_waiters(job)
                is_unclear = (job.state, job.reason) == ("waiting", "billing_unknown")
                self.requeue(job, at_head=not is_unclear)
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
        looks, rooms = 0, dict[str, float]()
        passed_over, served = 0, set[str]()
        risky, bearable = 0, 0
        while len(hints) < limit and looks < limit:
            bulk_first = (self.turns % 10 == 9) != (risky % 2 == 1)
            order = [BULK, INTERACTIVE] if bulk_first else [INTERACTIVE, BULK]
            queue = next((q for q in order if self._can_take(q, served)), None)
            if queue is None:
                return
            tenant = turn(self.tenants[queue])
            lane = turn(self.lane_rings[f"{queue}:{tenant}"])
            if self._leaves_too_little(now, tenant, queue):
                if passed_over >= len(self.tenants[queue]):
                    served.add(queue)
                    passed_over = -1
                passed_over += 1
                continue
            looks, passed_over = looks + 1, 0
            if scope := self.held_by(lane) or self.out_of_pace(now, lane, rooms):
                self.set_aside(now, lane, scope)
                continue
            is_trial = self.is_out() or self.rate_limit(model_of(lane)).step
            if is_trial and self.risk_at_head(lane) > bearable:
                risky += 1
                bearable += risky % MOST_RISKY_LANES == 0
                continue
            job = self.jobs.get(self.lanes[lane].pop(0))
            if job and job.state == "queued" and job.lane == lane:
                self.leave_lane(lane)
                if self.keep_back(job):
                    looks += 2
                    continue
                job.state, job.hints, job.taken = "hinted", 0, now
                rooms[model_of(lane)] -= 1
                self.turns += 1
                self._hint(now, job, hints)

    def _can_take(self, queue: str, served: set[str]) -> bool:
        return queue not in served and self._room(queue) > 0 and bool(self.tenants.get(queue))

    def _leaves_too_little(self, now: int, tenant: str, queue: str) -> bool:
        if tenant != self.last_tenant:
            self.shared_until = now + SHARED_FOR if self.last_tenant else 0
            self.last_tenant = tenant
        if now >= self.shared_until:
            return False
        at_hand = [job for job in self.jobs.values() if job.taken is not None]
        own = sum(job.lane.split(":")[1] == tenant for job in at_hand)
        return bool(own) and own >= 3 * self._free(queue)

    def _free(self, queue: str) -> float:
        serving = {
            pool: slots
            for pool, slots in self.slots().items()
            if queue in pool.partition("@")[0].split(",")
        }
        each = self.slots_per_hint_ahead
        ahead = sum(slots // each for slots in serving.values()) if each else 0
        return max(0, self._room(queue) - ahead - len(self.events_out))

    def _room(self, queue: str) -> float:
        rooms: dict[str, float] = {}
        rivals = set()
        for pool, slots in self.slots().items():
            queues, _, key = pool.partition("@")
            if queue in queues.split(","):
                ahead = slots // self.slots_per_hint_ahead if self.slots_per_hint_ahead else 0
                room = rooms.get(key, 0) + max(0, slots + ahead - self.busy().get(pool, 0))
                rooms[key] = min(self.jobs_left(key), room)
                rivals |= set(queues.split(","))
        return sum(rooms.values()) - sum(self.hinted().get(rival, 0) for rival in rivals)
