"""What the ledger keeps, as plain Python: jobs, lanes, workers, gates, and their counts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.support.ledger_model.events import Events
from tests.support.ledger_model.snapshot import TERMINAL, Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable

_ACCOUNTS = ("reserved", "settled", "unknown", "unknown_calls", "saved")
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
    #: Token → what someone said that the call cost.
    said: dict[str, int] = field(default_factory=dict)
    interrupted: str = ""
    ended_by: str = ""
    #: Tokens of the calls that were paid for.
    settled: set[str] = field(default_factory=set)
    late_answer: str = ""
    attempts: int = 0
    waits: int = 0
    unknown_calls: int = 0
    was_unclear: bool = False
    lapses: int = 0
    cost: int = 0
    hints: int = 0
    reuse: str = "use"
    version: int = 1
    gate: str = ""
    epoch: int = 0
    lead: str = ""
    waits_for: str = ""
    #: Scope and nano-rubles.
    promise: tuple[str, int] | None = None
    #: Token → the day in whose books its call is.
    days: dict[str, str] = field(default_factory=dict)
    faulty: str = ""
    #: When it was taken from its lane, until it is sent; when its call may be.
    taken: int | None = None
    permit: float | None = None
    sent_at: int = 0
    forecast: int = 0
    tokens: int = 0
    #: Gate → calls that it had let pass when it last refused the job.
    refused: dict[str, int] = field(default_factory=dict)
    #: Token of a call that is out, or of unknown billing → content key.
    asks: dict[str, str] = field(default_factory=dict)
    blocked_by: str = ""
    #: Gate → calls that it had let pass when the job last called in vain.
    silent: dict[str, int] = field(default_factory=dict)
    #: Models to ask when its own is away; those asked before, with reason, cost and attempts.
    fallback: list[str] = field(default_factory=list)
    steps: list[tuple[str, str, int, int]] = field(default_factory=list)

    @property
    def queue(self) -> str:
        return self.lane.split(":")[0]

    @property
    def scopes(self) -> list[str]:
        tenant = f"tenant:{self.lane.split(':')[1]}"
        return [f"batch:{self.batch}", tenant] if self.batch else [tenant]

    @property
    def kind(self) -> str:
        return f"batch:{self.batch}" if self.batch else self.lane

    @property
    def model(self) -> str:
        return self.lane.split(":")[2]

    @property
    def has_ended(self) -> bool:
        return self.state in TERMINAL


@dataclass
class Worker:
    slots: int
    pool: str
    until: int


@dataclass
class Gate:
    state: str = "open"
    reason: str = ""
    epoch: int = 0
    step: int = 0
    successes: int = 0
    passes: int = 0
    pause: int = 0
    retry_at: int | None = None
    needed: int = 0
    silence: int = 0


@dataclass
class Ending:
    kind: str
    reason: str = ""
    delay: int | None = None
    counted: bool = False
    billing: str = "released"
    cost: int = 0
    answer: str = ""
    cache_key: str = ""
    saved: int = 0
    scope: str = ""
    faulty: str = ""
    may_be_put_off: bool = False
    #: The model that it comes from, and those that may be next.
    model: str = ""
    models: tuple[str, ...] = ()
    was_sent: bool = False
    #: What it tells of the rate limit, as it is reported to the script.
    news: dict[str, Any] = field(default_factory=dict)


@dataclass
class Books(Events):
    """All that there is, and the moves of which every other is made."""

    #: Milliseconds.
    clock: Callable[[], int] = lambda: 0
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
    gates: dict[str, Gate] = field(default_factory=dict)
    #: Scope → why it is held, until when, and which of its lanes are aside since when.
    held: dict[str, str] = field(default_factory=dict)
    hold_ends: dict[str, int] = field(default_factory=dict)
    aside: dict[str, dict[str, int]] = field(default_factory=dict)
    leads: dict[str, str] = field(default_factory=dict)
    #: Tenant → percent of its paid answers that may fail, and the last of them.
    waste_limits: dict[str, int] = field(default_factory=dict)
    waste: dict[str, list[str]] = field(default_factory=dict)
    #: Content key → calls of unknown billing.
    unclear: dict[str, int] = field(default_factory=dict)
    followers: dict[str, list[str]] = field(default_factory=dict)
    waking: dict[str, int] = field(default_factory=dict)
    #: Token of a call whose job is gone → since when its money is done with.
    closed: dict[str, int] = field(default_factory=dict)
    money: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_ACCOUNTS, 0))
    #: Book (a scope, perhaps with a day or a month) → account → nano-rubles.
    accounts: dict[str, dict[str, int]] = field(default_factory=dict)
    #: `waiting:SCOPE` or `parked:SCOPE` → job → nano-rubles.
    waiters: dict[str, dict[str, int]] = field(default_factory=dict)
    #: Scope → since when its waiters have to be looked at.
    looks: dict[str, int] = field(default_factory=dict)
    #: Kind of jobs → the least that they reserve, and of how many that is known.
    kinds: dict[str, dict[str, int]] = field(default_factory=dict)
    unknown_calls: set[str] = field(default_factory=set)
    #: Job → since when it is queued.
    queued_since: dict[str, int] = field(default_factory=dict)
    seen: int | None = None
    grace_until: int = 0
    turns: int = 0
    last_tenant: str = ""
    shared_until: int = 0

    # Lanes and ends -------------------------------------------------------------------------------

    def holds(self, job_id: str, token: str) -> bool:
        job = self.jobs.get(job_id)
        return job is not None and job.state == "in_progress" and job.token == token

    def requeue(self, job: Job, *, at_head: bool = True) -> None:
        if job.pool:
            self.forget_promise(job)
        job.state, job.token, job.pool, job.reason = "queued", "", "", ""
        job.taken = job.permit = None
        self.enter_lane(job, at_head=at_head)

    def enter_lane(self, job: Job, *, at_head: bool) -> None:
        lane = self.lanes.setdefault(job.lane, [])
        lane.insert(0 if at_head else len(lane), job.id)
        self.queued_since[job.id] = self.clock()
        self.due.pop(job.id, None)
        if job.deadline is not None:
            self.due[job.id] = job.deadline
        add(self.sizes, job.lane)
        if self.sizes[job.lane] == 1:
            self.join_rings(job.lane)

    def join_rings(self, lane: str) -> None:
        queue, tenant, _ = lane.split(":")
        ring = self.lane_rings.setdefault(f"{queue}:{tenant}", [])
        if lane not in ring:
            ring.append(lane)
        tenants = self.tenants.setdefault(queue, [])
        if tenant not in tenants:
            tenants.append(tenant)

    def leave_lane(self, lane: str) -> None:
        self.sizes[lane] -= 1
        if self.sizes[lane]:
            return
        del self.sizes[lane], self.lanes[lane]
        self.leave_rings(lane)

    def leave_rings(self, lane: str) -> None:
        queue, tenant, _ = lane.split(":")
        ring = self.lane_rings.get(f"{queue}:{tenant}", [])
        if lane in ring:
            ring.remove(lane)
            if not ring:
                del self.lane_rings[f"{queue}:{tenant}"]
                self.tenants[queue].remove(tenant)

    def forget_promise(self, job: Job) -> None:
        raise NotImplementedError

    def leave_waiters(self, job: Job) -> bool:
        raise NotImplementedError

    def end(self, now: int, job: Job, to: str, reason: str) -> None:
        self.leave_waiters(job)
        self.forget_promise(job)
        if not job.sent:
            self.end_lead(now, job)
        if job.state == "queued":
            self.leave_lane(job.lane)
        job.state, job.reason, job.token, job.pool = to, reason, "", ""
        job.taken = job.permit = None
        if not job.sent:
            self.due.pop(job.id, None)
        add(self.ended, to)
        statuses = {"completed": "SUCCESS", "failed": "FAILURE", "cancelled": "REVOKED"}
        self.results[job.id] = statuses[to]
        if job.batch:
            add(self.batches[job.batch], to)
        else:
            self.tell_webhook(now, job.lane.split(":")[1], f"response.{to}", job.id)

    def end_lead(self, now: int, job: Job) -> None:
        key, job.lead = job.lead, ""
        if key:
            del self.leads[key]
            if self.followers.get(key):
                self.waking.setdefault(key, now)

    def close_call(self, now: int, token: str) -> bool:
        """The money of a call whose job is gone is done with; says whether that is news."""
        for known in [known for known, at in self.closed.items() if at <= now - 3_600_000]:
            del self.closed[known]
        is_news = token not in self.closed
        self.closed.setdefault(token, now)
        return is_news

    def forget(self, job_id: str) -> None:
        """Expire what a finished job keeps."""
        job = self.jobs.pop(job_id)
        self.results.pop(job_id)
        if self.keys.get(job.key) == job_id:
            del self.keys[job.key]

    # What there is --------------------------------------------------------------------------------

    def slots(self) -> dict[str, int]:
        slots: dict[str, int] = {}
        for worker in self.workers.values():
            add(slots, worker.pool, worker.slots)
        return slots

    def busy(self) -> dict[str, int]:
        busy: dict[str, int] = {}
        for job in self.jobs.values():
            if job.pool:
                add(busy, job.pool)
        return busy

    def hinted(self) -> dict[str, int]:
        hinted: dict[str, int] = {}
        for job in self.jobs.values():
            if job.state == "hinted":
                add(hinted, job.queue)
        return hinted

    def snapshot(self) -> Snapshot:
        counts: dict[str, int] = dict(self.ended)
        references: dict[str, int] = {}
        for job in self.jobs.values():
            if not job.has_ended:
                add(counts, job.state)
                for blob in job.blobs:
                    add(references, blob)
        return Snapshot(
            jobs={job.id: _fields(job) for job in self.jobs.values()},
            due=self.due,
            parked={job.id for job in self.jobs.values() if job.state == "parked"},
            lanes=self.lanes,
            lane_sizes=self.sizes,
            tenant_rings={queue: ring for queue, ring in self.tenants.items() if ring},
            lane_rings=self.lane_rings,
            counts=counts,
            hinted=self.hinted(),
            slots=self.slots(),
            busy=self.busy(),
            workers={name: worker.until for name, worker in self.workers.items()},
            money=_some(self.money),
            references=references,
            blobs={blob: blob not in references for blob in self.blobs},
            keys={key: (id_, self.jobs[id_].has_ended) for key, id_ in self.keys.items()},
            batches={name: (counts, _is_over(counts)) for name, counts in self.batches.items()},
            results=self.results,
            answers=self.answers,
            gates={key: fields for key in self.gates if (fields := self._gate_fields(key))},
            holds=self.held,
            hold_ends=self.hold_ends,
            waste_limits=self.waste_limits,
            waste={tenant: ends for tenant, ends in self.waste.items() if ends},
            held_lanes={scope: lanes for scope, lanes in self.aside.items() if lanes},
            leads=self.leads,
            unclear=self.unclear,
            followers={key: ids for key, ids in self.followers.items() if ids},
            waking=self.waking,
            books={name: found for name, book in self.accounts.items() if (found := _some(book))},
            waiters={name: jobs for name, jobs in self.waiters.items() if jobs},
            looks=self.looks,
            kinds={name: _some(known) for name, known in self.kinds.items()},
            unknown_calls=self.unknown_calls,
            paces=self.pace_fields(),
            closed=self.closed,
            fallback_jobs=self._fallback_jobs(),
            too_new={job.id: job.version for job in self.jobs.values() if _is_too_new(job)},
            **self.event_fields(),
        )

    def _fallback_jobs(self) -> dict[str, dict[str, int]]:
        found: dict[str, dict[str, int]] = {}
        for job in self.jobs.values():
            if job.fallback and job.state == "queued":
                found.setdefault(job.model, {})[job.id] = self.queued_since[job.id]
        return found

    def pace_fields(self) -> dict[str, dict[str, float]]:
        """Send the feedback that is known."""
        return {}

    def _gate_fields(self, key: str) -> dict[str, Any]:
        gate = self.gates[key]
        out, before = self.calls_of(key)
        fields = vars(gate) | {"calls_out": out, "calls_before": before}
        fields["state"] = "" if gate.state == "open" else gate.state
        return {name: value for name, value in fields.items() if value}

    def calls_of(self, key: str) -> tuple[int, int]:
        """Return how many calls are out behind a gate, and how many of these since before."""
        epochs = [job.epoch for job in self.jobs.values() if job.gate == key]
        return len(epochs), sum(epoch != self.gates[key].epoch for epoch in epochs)


def closed_with(job: Job) -> list[str]:
    """Return the tokens of the calls whose money is done with when the job goes."""
    return sorted({*job.settled, *job.said, job.ended_by} - {""})


def forgotten(job: Job, token: str, ending: Ending) -> bool:
    """Say whether a call was paid whose mark Redis has lost."""
    marks = {job.sent, job.ended_by, *job.unknown, *job.said, *job.settled}
    return ending.billing == "settled" and token not in marks


def _fields(job: Job) -> dict[str, Any]:
    names = (
        "state", "lane", "token", "sent", "pool", "interrupted", "ended_by", "reason", "reserved",
        "attempts", "waits", "unknown_calls", "lapses", "cost", "late_answer", "gate", "epoch",
        "lead", "faulty", "waits_for", "taken", "permit",
    )  # fmt: skip
    fields = {name: getattr(job, name) for name in names if getattr(job, name)}
    expires = job.has_ended and not job.sent
    return fields | {
        "unknown": job.unknown,
        "said": job.said,
        "refused": job.refused,
        "promise": job.promise,
        "days": job.days,
        "expires": expires,
        "blobs": list(job.blobs),
        "fallback": job.fallback,
        "steps": job.steps,
    }


def _some(amounts: dict[str, int]) -> dict[str, int]:
    return {name: amount for name, amount in amounts.items() if amount}


def _is_too_new(job: Job) -> bool:
    return (job.state, job.reason) == ("parked", "newer_worker_needed")


def _is_over(counts: dict[str, int]) -> bool:
    return sum(counts.get(end, 0) for end in TERMINAL) >= counts["total"]


def turn(ring: list[str]) -> str:
    ring.append(ring.pop(0))
    return ring[-1]


def add(counts: dict[str, int], name: str, amount: int = 1) -> None:
    counts[name] = counts.get(name, 0) + amount
