"""Gates, holds, leads and money, as plain Python: what keeps calls back, and what they cost."""

from __future__ import annotations

from dataclasses import dataclass

from tests.support.ledger_model.books import Ending, Gate, Job, forgotten
from tests.support.ledger_model.budgets import Budgets

FIRST_TRIAL, LONGEST_PAUSE = 5_000, 60_000
POSTPONED = 10_000
ENOUGH_SUCCESSES = 20
MOST_WOKEN = 100
WASTE_WINDOW, WASTE_LEAST = 50, 20


@dataclass
class Gates(Budgets):
    """The books and budgets, and who may call now."""

    # Gates ----------------------------------------------------------------------------------------

    def gate(self, key: str) -> Gate:
        return self.gates.setdefault(key, Gate())

    def steer_gate(self, now: int, key: str, order: str, reason: str) -> str:
        gate = self.gate(key)
        before = gate.state
        if order == "close":
            self.close(now, gate, reason, 0)
            gate.retry_at = None
        elif order == "refuse":
            if before != "closed":
                self.close(now, gate, reason, 0)
        elif order == "advance":
            _pass(gate)
        elif order == "open":
            gate.epoch += 1
            _open(gate)
        elif order == "postpone":
            if before == "closed" and gate.reason == "provider_unavailable" and gate.retry_at:
                gate.retry_at = max(gate.retry_at, now + POSTPONED)
        elif before == "closed":
            _reopen(gate)
        return before

    def begin_trials(self, now: int) -> None:
        """Let each gate reopen whose pause is over, if workers with its key live."""
        for pool, slots in self.slots().items():
            gate = self.gate(key_of(pool))
            if slots and gate.state == "closed" and gate.retry_at and gate.retry_at <= now:
                _reopen(gate)

    def jobs_left(self, key: str) -> float:
        gate = self.gate(key)
        if gate.state != "reopening":
            return 0 if gate.state == "closed" else float("inf")
        busy = sum(jobs for pool, jobs in self.busy().items() if key_of(pool) == key)
        return max(0, gate.step - max(0, busy - self.calls_of(key)[1]))

    def calls_left(self, key: str) -> float:
        gate = self.gate(key)
        out, before = self.calls_of(key)
        return self.jobs_left(key) if gate.state != "reopening" else gate.step - (out - before)

    def passed(self, job: Job) -> None:
        gate = self.gate(job.gate)
        if gate.epoch == job.epoch:
            _pass(gate)

    def is_refused_alone(
        self, now: int, job: Job, call: tuple[str, int | None, int], why: str
    ) -> bool:
        key, epoch, reserved = call
        gate = self.gate(key)
        if epoch is not None and epoch != gate.epoch:
            return False
        then = job.refused.get(key)
        job.refused[key] = gate.passes
        if then is not None and then < gate.passes:
            return True
        if gate.state != "closed":
            self.close(now, gate, why, reserved)
        return False

    def close(self, now: int, gate: Gate, reason: str, needed: int) -> None:
        gate.pause = min(gate.pause * 2, LONGEST_PAUSE) if gate.pause else FIRST_TRIAL
        gate.state, gate.reason, gate.retry_at = "closed", reason, now + gate.pause
        gate.step, gate.successes, gate.needed = 0, 0, needed

    # Holds ----------------------------------------------------------------------------------------

    def hold(self, scope: str, reason: str, until: int) -> None:
        if scope in self.held and scope not in self.hold_ends:
            return
        self.held[scope], self.hold_ends[scope] = reason, until

    def count_paid_end(self, job: Job) -> None:
        """Stop a tenant of whose paid answers too many fail."""
        tenant = job.lane.split(":")[1]
        if tenant not in self.waste_limits or not job.cost:
            return
        is_failure = job.state == "failed"
        entry = f"{job.id} {job.cost} {job.reason}" if is_failure else ""
        ends = self.waste[tenant] = [entry, *self.waste.get(tenant, [])][:WASTE_WINDOW]
        share = self.waste_limits[tenant] * len(ends)
        if len(ends) >= WASTE_LEAST and 100 * sum(map(bool, ends)) > share:
            scope = f"tenant:{tenant}"
            if scope not in self.held:
                self.held[scope] = "waste"
                self.hold_ends.pop(scope, None)

    def release_waste(self, tenant: str) -> bool:
        self.waste.pop(tenant, None)
        scope = f"tenant:{tenant}"
        if self.held.get(scope) != "waste":
            return False
        self.reopen(scope)
        return True

    def held_by(self, lane: str) -> str:
        _, tenant, model = lane.split(":")
        scopes = (f"model:{model}", f"tenant:{tenant}")
        return next((scope for scope in scopes if scope in self.held), "")

    def set_aside(self, now: int, lane: str, scope: str) -> None:
        self.leave_rings(lane)
        self.aside.setdefault(scope, {}).setdefault(lane, now)

    def end_holds(self, now: int) -> None:
        over = sorted((until, scope) for scope, until in self.hold_ends.items() if until <= now)
        for _, scope in over:
            self.reopen(scope)

    def reopen(self, scope: str) -> None:
        del self.held[scope]
        self.hold_ends.pop(scope, None)
        lanes = self.aside.pop(scope, {})
        for _, lane in sorted((since, lane) for lane, since in lanes.items()):
            if lane in self.sizes:
                self.join_rings(lane)

    # Leads ----------------------------------------------------------------------------------------

    def follow(self, job: Job, key: str) -> None:
        self.forget_promise(job)
        job.state, job.token, job.pool, job.reason = "waiting", "", "", "follows"
        job.taken = job.permit = None
        self.followers.setdefault(key, []).append(job.id)
        self.due.pop(job.id, None)
        if job.deadline is not None:
            self.due[job.id] = job.deadline
        self.results[job.id] = "RETRY"

    def call_ended(self, now: int, job: Job, *, stays_lead: bool = False) -> None:
        job.gate, job.epoch = "", 0
        if not stays_lead:
            self.end_lead(now, job)

    def block(self, job: Job, key: str) -> None:
        """Park a job whose question was asked too often without a known end."""
        self.forget_promise(job)
        self.end_lead(self.clock(), job)
        job.state, job.token, job.pool, job.reason = "parked", "", "", "billing_unknown"
        job.taken = job.permit = None
        job.blocked_by = key
        self.followers.setdefault(key, []).append(job.id)
        self.due.pop(job.id, None)
        if job.deadline is not None:
            self.due[job.id] = job.deadline
        self.results[job.id] = "RETRY"

    def count_unclear(self, job: Job, token: str, by: int) -> None:
        key = job.asks.get(token)
        if not key:
            return
        self.unclear[key] = self.unclear.get(key, 0) + by
        if self.unclear[key] <= 0:
            del self.unclear[key]
        if by < 0:
            del job.asks[token]
            if self.followers.get(key):
                self.waking.setdefault(key, self.clock())

    def wake_some(self) -> None:
        left = MOST_WOKEN
        for _, key in sorted((since, key) for key, since in self.waking.items()):
            if left <= 0:
                return
            if key in self.leads:
                left -= 1
                del self.waking[key]
                continue
            ids, self.followers[key] = self.followers[key][:left], self.followers[key][left:]
            left -= len(ids)
            for job_id in reversed(ids):
                job = self.jobs.get(job_id)
                is_blocked = job and job.state == "parked" and job.blocked_by == key
                if job and (is_blocked or (job.state, job.reason) == ("waiting", "follows")):
                    job.blocked_by = ""
                    self.excuse(job)
                    self.requeue(job)
            if not self.followers[key]:
                del self.waking[key]

    # Money ----------------------------------------------------------------------------------------

    def reserve_money(self, job: Job, amount: int) -> None:
        job.sent, job.reserved, job.days[job.token] = job.token, amount, self.day
        self.post(job, self.day, reserved=amount)

    def settle(self, job: Job, token: str, ending: Ending) -> None:
        cost = ending.cost if ending.billing == "settled" else 0
        if job.sent == token:
            if ending.billing == "unknown":
                self.lose_sight(job)
                return
            self.post(job, job.days.pop(token), reserved=-job.reserved, settled=cost)
            job.asks.pop(token, None)
            job.sent, job.reserved = "", 0
            if job.has_ended:
                self.due.pop(job.id, None)
            if ending.billing == "settled":
                self.passed(job)
        elif token in job.unknown and ending.billing != "unknown":
            amount = job.unknown[token]
            day = self.close_unknown(job, token)
            self.post(job, day, unknown=-amount, unknown_calls=-1, settled=cost)
            if job.interrupted == token:
                job.interrupted = ""
        elif token in job.said and ending.billing != "unknown":
            cost -= job.said.pop(token)
            self.post(job, job.days.pop(token), settled=cost)
            job.settled.add(token)
            job.cost += cost
            return
        elif forgotten(job, token, ending):
            self.post(job, self.day, settled=cost)
        else:
            return
        if ending.billing == "settled" or not self.holds(job.id, token):
            job.settled.add(token)  # a call is closed once, despite a second report
        job.cost += cost

    def book_without_job(self, now: int, token: str, scopes: list[str], ending: Ending) -> None:
        """Nobody knows the job any more, and its call was paid."""
        if ending.billing == "settled" and ending.cost and self.close_call(now, token):
            self.post_to(scopes, self.day, settled=ending.cost)

    def close_unknown(self, job: Job, token: str) -> str:
        """Forget that the billing of a call is unknown; returns in whose books it is."""
        day = job.days.pop(token)
        self.unknown_calls.remove(_unknown_entry(job, token, job.unknown.pop(token), day))
        job.unknown_calls -= 1
        self.count_unclear(job, token, -1)
        return day

    def settle_unknown(self, entry: str, cost: int | None, *, paid: bool) -> str:
        """An operator enters what a call cost; None: the most that it can have."""
        job_id, token, amount, *scopes, day = entry.split(" ")
        job, worst = self.jobs.get(job_id), int(amount)
        price = (worst if cost is None else cost) if paid else 0
        amounts = {"unknown": -worst, "unknown_calls": -1, "settled": price}
        if job is None or token not in job.unknown:
            if entry not in self.unknown_calls:
                return "gone"
            self.unknown_calls.remove(entry)
            self.post_to(scopes, day.removeprefix("day:"), **amounts)
            return "settled"
        is_unclear = (job.state, job.reason) == ("parked", "billing_unknown")
        if paid and not (job.has_ended or is_unclear):
            return "at_work"
        job.days[token] = self.close_unknown(job, token)
        self.post(job, job.days[token], **amounts)
        job.said[token] = price
        job.cost += price
        if job.interrupted == token:
            job.interrupted = ""
        if not paid and is_unclear and not job.unknown_calls:
            self.requeue(job)
        return "settled"

    def lose_sight(self, job: Job) -> None:
        if job.sent:
            token, amount = job.sent, job.reserved
            job.unknown[token] = amount
            self.unknown_calls.add(_unknown_entry(job, token, amount, job.days[token]))
            job.unknown_calls += 1
            self.count_unclear(job, token, 1)
            job.was_unclear = True
            job.sent, job.reserved = "", 0
            self.post(job, job.days[token], reserved=-amount, unknown=amount, unknown_calls=1)
        if job.has_ended:
            self.due.pop(job.id, None)


def _unknown_entry(job: Job, token: str, amount: int, day: str) -> str:
    return " ".join([job.id, token, str(amount), *job.scopes, f"day:{day}"])


def key_of(pool: str) -> str:
    return pool.partition("@")[2]


def _reopen(gate: Gate) -> None:
    gate.epoch += 1
    gate.state, gate.step, gate.successes = "reopening", 1, 0


def _pass(gate: Gate) -> None:
    if gate.state == "closed":
        return
    gate.passes += 1
    if gate.state == "reopening":
        gate.step = min(gate.step * 2, 1_000_000)
        gate.successes += 1
        if gate.successes >= ENOUGH_SUCCESSES:
            _open(gate)


def _open(gate: Gate) -> None:
    gate.state, gate.reason = "open", ""
    gate.step, gate.successes, gate.pause, gate.retry_at, gate.silence = 0, 0, 0, None, 0
