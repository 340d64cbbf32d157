"""Budgets, as plain Python: the books, and the jobs that wait until there is room."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from tests.support.ledger_model.books import Books, Job, add
from visionq.pricing.money import day_of

PERIODS = ("total", "day", "month")
REASONS = {"waiting": "budget", "parked": "budget_exhausted"}
MOST_AT_ONCE = 100
ENOUGH_SAMPLES = 16
FORGETTING = 8


@dataclass
class Budgets(Books):
    """The books, and who may pay."""

    today: str = ""
    budget_limits: dict[tuple[str, str], int | None] = field(default_factory=dict)

    @property
    def day(self) -> str:
        return day_of(self.clock() / 1000, "Europe/Moscow")

    # Books ----------------------------------------------------------------------------------------

    def post(self, job: Job, day: str, **amounts: int) -> None:
        self.post_to(job.scopes, day, **amounts)

    def post_to(self, scopes: list[str], day: str, **amounts: int) -> None:
        for account, amount in amounts.items():
            self.money[account] += amount
        for scope in scopes:
            for book in books_of(scope, day):
                for account, amount in amounts.items():
                    add(self.accounts.setdefault(book, {}), account, amount)
            self.look_again(scope)

    def set_budget(self, scope: str, period: str, limit: int | None) -> None:
        self.budget_limits[scope, period] = limit
        self.accounts.setdefault(scope, {})[f"limit:{period}"] = limit or 0
        self.look_again(scope)

    def left_in(self, scope: str, day: str) -> tuple[float, float]:
        """Return what may be taken now, and what once all calls that are out came back unpaid."""
        room = headroom = math.inf
        for period, book in zip(PERIODS, books_of(scope, day), strict=False):
            limit = self.budget_limits.get((scope, period))
            if limit is not None:
                amounts = self.accounts.get(book, {})
                left = limit - amounts.get("settled", 0) - amounts.get("unknown", 0)
                headroom = min(headroom, left)
                room = min(room, left - amounts.get("reserved", 0))
        return room, headroom

    def free_in(self, scope: str, day: str) -> tuple[float, float]:
        room, headroom = self.left_in(scope, day)
        return room - self.accounts.get(scope, {}).get("promised", 0), headroom

    # Waiters --------------------------------------------------------------------------------------

    def look_again(self, scope: str) -> None:
        if any(self.waiters.get(f"{state}:{scope}") for state in REASONS):
            self.looks.setdefault(scope, self.clock())

    def give_promise(self, job: Job, scope: str, amount: int) -> None:
        job.promise = scope, amount
        add(self.accounts.setdefault(scope, {}), "promised", amount)

    def forget_promise(self, job: Job) -> None:
        if job.promise:
            scope, amount = job.promise
            job.promise = None
            self.accounts[scope]["promised"] -= amount
            self.look_again(scope)

    def excuse(self, job: Job) -> None:
        self.give_promise(job, job.scopes[-1], 0)

    def wait_for_budget(self, job: Job, scope: str, amount: int, state: str) -> None:
        job.state, job.token, job.pool = state, "", ""
        job.taken = job.permit = None
        job.reason, job.waits_for = REASONS[state], scope
        self.waiters.setdefault(f"{state}:{scope}", {})[job.id] = amount
        self.due.pop(job.id, None)
        if job.deadline is not None:
            self.due[job.id] = job.deadline

    def leave_waiters(self, job: Job) -> bool:
        if not job.waits_for:
            return False
        del self.waiters[f"{job.state}:{job.waits_for}"][job.id]
        job.waits_for = ""
        return True

    def judge(self, job: Job, reserve: int | None) -> tuple[str, str]:
        """Return the verdict on a call and its reason; both empty where it may go."""
        left = {scope: self.left_in(scope, self.day) for scope in job.scopes}
        if all(headroom == math.inf for _, headroom in left.values()):
            return "", ""
        if reserve is None:
            return "UNPRICED", ""
        hopeless = [scope for scope, (_, headroom) in left.items() if reserve > headroom]
        full = [scope for scope, (room, _) in left.items() if reserve > room]
        if not job.faulty:
            self._take_sample(job.kind, reserve, fits=not full)
        if not full:
            return "", ""
        state = "parked" if hopeless else "waiting"
        self.forget_promise(job)
        self.end_lead(self.clock(), job)
        self.wait_for_budget(job, (hopeless or full)[0], reserve, state)
        self.results[job.id] = "RETRY"
        return "PARK", REASONS[state]

    def _take_sample(self, kind: str, needed: int, *, fits: bool) -> None:
        known = self.kinds.setdefault(kind, {"least": needed, "samples": 0})
        if needed < known["least"]:
            known["least"] = needed
        elif not fits:
            known["least"] += math.ceil((needed - known["least"]) / FORGETTING)
        known["samples"] += 1

    def keep_back(self, job: Job) -> bool:
        """Let a job wait whose kind is known to need more than there is."""
        known = self.kinds.get(job.kind, {"samples": 0})
        if job.promise or job.faulty or known["samples"] < ENOUGH_SAMPLES:
            return False
        for scope in job.scopes:
            room, headroom = self.free_in(scope, self.day)
            others = any(self.waiters.get(f"{state}:{scope}") for state in REASONS)
            if others and known["least"] > room:
                state = "parked" if known["least"] > headroom else "waiting"
                self.wait_for_budget(job, scope, known["least"], state)
                return True
        return False

    # Looks ----------------------------------------------------------------------------------------

    def look_at_budgets(self) -> None:
        if self.today != self.day:
            self.today = self.day
            for name, jobs in self.waiters.items():
                if jobs:
                    self.looks.setdefault(name.partition(":")[2], self.clock())
        left = MOST_AT_ONCE
        for _, scope in sorted((since, scope) for scope, since in self.looks.items()):
            if left <= 0:
                break
            done = self._look_at_waiters(scope, left)
            if done < left:
                del self.looks[scope]
            left -= max(done, 1)

    def _look_at_waiters(self, scope: str, most: int) -> int:
        room, headroom = self.free_in(scope, self.day)
        hopeless = [job for job in self._cheapest(scope, "waiting") if job[0] > headroom][:most]
        for amount, job_id in hopeless:
            job = self.jobs[job_id]
            self.leave_waiters(job)
            self.wait_for_budget(job, scope, amount, "parked")
        done = len(hopeless)
        for state in REASONS:
            for amount, job_id in self._cheapest(scope, state)[: most - done]:
                if amount > room:
                    break
                room -= amount
                done += 1
                job = self.jobs[job_id]
                self.leave_waiters(job)
                self.give_promise(job, scope, amount)
                self.requeue(job)
        return done

    def _cheapest(self, scope: str, state: str) -> list[tuple[int, str]]:
        waiters = self.waiters.get(f"{state}:{scope}", {})
        return sorted((amount, job_id) for job_id, amount in waiters.items())


def books_of(scope: str, day: str) -> list[str]:
    if scope.startswith("batch:"):
        return [scope]
    return [scope, f"{scope}:{day}", f"{scope}:{day[:7]}"]
