"""The ledger in Redis and its model: every move is made on both, and the answers compared."""

from __future__ import annotations

import hashlib
import itertools
from typing import TYPE_CHECKING, Any

from tests.support.ledger import SHA, Clock, moment, new_job, newer, outcome_of
from tests.support.ledger_model.books import Ending as ModelEnding
from tests.support.ledger_model.books import Job, closed_with
from tests.support.ledger_model.budgets import ENOUGH_SAMPLES
from tests.support.ledger_model.model import Model
from tests.support.ledger_model.snapshot import read_snapshot
from tests.support.ledger_model.soundness import assert_sound
from tests.support.worker_ledger import WorkerLedger
from visionq.contract import TRANSITIONS, Reuse, State
from visionq.ledger import (
    Billing,
    BlobsMissing,
    BudgetScope,
    Claim,
    Completed,
    Conflict,
    Ending,
    Failed,
    GateOrder,
    Held,
    LedgerOptions,
    Parked,
    Period,
    RateLimitFeedback,
    Registration,
    Submitted,
    Waiting,
)
from visionq.ledger.rate_limits import OPERATOR, feedback_fields
from visionq.ledger.tenant_waste import clear_max_waste, release_waste, set_max_waste
from visionq.ledger.views import job_views
from visionq.names import GATE, JOB, QUEUE_WEBHOOKS, RESERVES, TENANT_WASTE
from visionq.pricing.money import rubles

if TYPE_CHECKING:
    from redis import Redis

    from visionq.contract import JobDocument
    from visionq.contract.limits import Limits
    from visionq.ledger import DeliveryClaim, NewJob, Outcome
    from visionq.ledger.spending import UnknownCall

#: Ids of the provider's keys that workers hold.
KEYS = (b"k1", b"k2")
#: Outcomes that the ledger calls otherwise, and those that may wait for the end of an outage.
KINDS = dict.fromkeys(("retrying", "unclear", "mending"), "waiting")
KINDS |= dict.fromkeys(("unavailable", "missing"), "failed")
KINDS["unsure"] = "moved"
MAY_BE_PUT_OFF = ("retrying", "unclear", "unavailable", "parked")
STATUSES = {"completed": "SUCCESS", "failed": "FAILURE", "cancelled": "REVOKED"}


class Pair:
    """Moves on both sides; after each of them `check_all` must hold."""

    def __init__(self, redis: Redis, *, broker_is_here: bool) -> None:
        redis.flushall()
        self.redis = redis
        self.clock = Clock()
        options = LedgerOptions(slots_per_hint_ahead=2, broker_is_here=broker_is_here)
        self.ledger = WorkerLedger(redis, options, self.clock)
        self.model = Model(
            lease=int(options.lease * 1000),
            gap=int(options.gap * 1000),
            first_wait=int(options.first_wait_for_claim * 1000),
            longest_wait=int(options.longest_wait_for_claim * 1000),
            slots_per_hint_ahead=options.slots_per_hint_ahead,
            broker=redis.llen if broker_is_here else None,
            clock=lambda: self.now,
        )
        self.numbers = itertools.count(1)
        self.entered: list[NewJob] = []
        self.hints: list[str] = []
        self.claims: list[Claim] = []
        self.workers: dict[str, Registration] = {}
        self.states: dict[str, State] = {}
        #: Of those who took events to webhooks.
        self.tellers: list[DeliveryClaim] = []

    @property
    def now(self) -> int:
        return round(self.clock.now * 1000)

    def submit_to_both(self, job: NewJob) -> None:
        document = job.document
        lane = f"visionq.{document.priority}:{document.tenant}:{document.model}"
        key = _key_of(job)
        expected = self.model.submit(
            Job(
                id=job.id,
                lane=lane,
                document=document.to_compact_json(),
                deadline=round(document.deadline.timestamp() * 1000) if document.deadline else None,
                batch=document.batch_id or "",
                key=key,
                blobs=document.blobs,
                reuse=document.reuse.value,
                version=document.schema_version,
                fallback=list(document.fallback),
            )
        )
        (reply,) = self.ledger.submit([job])
        match reply:
            case Submitted(known, created):
                assert expected == (("created",) if created else ("known", known))
                self.entered += [job] * created
            case Conflict(_, known):
                assert expected == ("conflict", known)
            case BlobsMissing(_, blobs):
                assert expected == ("missing", *blobs)
            case _:
                raise AssertionError(reply)

    def document(self, job_id: str, fields: dict[str, Any]) -> NewJob:
        wanted = {k: value for k, value in fields.items() if value and k not in ("blobs", "newer")}
        if fields["deadline"]:
            wanted["deadline"] = moment(self.clock.now + fields["deadline"])
        if fields["blobs"]:
            wanted["images"] = [{"blob": SHA[digit]} for digit in fields["blobs"]]
        job = new_job(job_id, **wanted)
        return newer(job) if fields["newer"] else job

    def fall_back_both(self, most: int) -> None:
        assert self.ledger.fall_back(most) == self.model.fall_back(self.now, most)

    def renew_both(self, worker: Registration) -> None:
        if worker.slots:
            self.workers[worker.worker] = worker
        leases = [
            (claim.id, claim.token) for claim in self.claims if claim.token[:2] == worker.worker
        ]
        lost = self.ledger.renew(worker, leases)
        expected = self.model.renew(self.now, worker, leases)
        assert lost == expected

    def claim_both(
        self, job_id: str, worker: Registration, token: str | None = None
    ) -> Claim | None:
        token = token or f"{worker.worker}-{next(self.numbers)}"
        expected = self.model.claim(self.now, job_id, token, worker)
        claim = self.ledger.claim(job_id, token, worker)
        if not isinstance(claim, Claim):
            assert (claim.reason or claim.state or "missing") == expected
            return None
        assert isinstance(expected, Job)
        for name in ("attempts", "waits", "unknown_calls", "lapses", "cost"):
            assert getattr(claim, name) == getattr(expected, name), name
        assert claim.interrupted == bool(expected.interrupted)
        assert (claim.faulty.text if claim.faulty else "") == expected.faulty
        assert claim.document.model == expected.model
        assert len(claim.steps) == len(expected.steps)
        self.check_moves()
        self.claims.append(claim)
        return claim

    def pick(self, which: int, *, held: bool) -> list[Claim]:
        """Take one claim that holds, or one that does not any more."""
        claims = [claim for claim in self.claims if self.model.holds(claim.id, claim.token) == held]
        return claims and [claims[-1 - which % len(claims)]]

    def steer_both(self, key: str, order: GateOrder) -> None:
        before = self.model.steer_gate(self.now, key, order.value, "operator")
        assert self.ledger.steer_gate(key, order) == before

    def set_budget_on_both(self, scope: BudgetScope, limit: int | None) -> None:
        self.ledger.set_budget(scope, None if limit is None else rubles(limit))
        self.model.set_budget(scope.key, scope.period.value, limit)

    def settle_unknown_on_both(self, call: UnknownCall, cost: int | None, *, paid: bool) -> None:
        expected = self.model.settle_unknown(call.entry, cost, paid=paid)
        price = None if cost is None else rubles(cost)
        assert self.ledger.settle_unknown([call], paid=paid, cost_rub=price) == [expected]

    def learn_on_both(self, kind: str, least: int) -> None:
        """This many of a kind have come by that it is known what they need."""
        self.redis.hset(RESERVES + kind, mapping={"least": least, "samples": ENOUGH_SAMPLES})
        self.model.kinds[kind] = {"least": least, "samples": ENOUGH_SAMPLES}

    def say_limits_both(self, model: str, limits: Limits | None) -> None:
        self.ledger.set_limits(OPERATOR, {model: limits})
        self.model.set_limits(self.now, model, limits.model_dump() if limits else {})

    def set_max_waste_on_both(self, tenant: str, percent: int | None) -> None:
        if percent is None:
            self.model.waste_limits.pop(tenant, None)
            was_stopped = self.model.release_waste(tenant)
            assert self.ledger.make(clear_max_waste(tenant)) == was_stopped
        else:
            self.ledger.make(set_max_waste(tenant, percent))
            self.model.waste_limits[tenant] = percent

    def release_waste_on_both(self, tenant: str) -> None:
        assert self.ledger.make(release_waste(tenant)) == self.model.release_waste(tenant)

    def waste_on_both(self, tenant: str, failed: int) -> None:
        """This many of a tenant's paid answers have failed before."""
        entries = [f"earlier{number} 5 invalid_answer" for number in range(failed)]
        self.redis.delete(TENANT_WASTE + tenant)
        self.redis.rpush(TENANT_WASTE + tenant, *entries)
        self.model.waste[tenant] = entries

    def admit_both(
        self, claim: Claim, cache_key: str = "", reserve: int | None = 900, tokens: int = 300
    ) -> str:
        if claim.document.reuse is Reuse.OFF:
            cache_key = ""
        fields: list[Any] = self.redis.hmget(JOB + claim.id, "sent", "pool")
        sent, pool = fields
        said = self.ledger.admit(claim, cache_key=cache_key, reserve=reserve, tokens=tokens)
        verdict, more = self.model.admit(
            self.now, claim.id, claim.token, cache_key, reserve, tokens
        )
        assert said.verdict == verdict
        assert verdict != "WAIT" or said.wait == int(more) / 1000
        if verdict == "ANSWER":
            assert f'"text":"{more}"' in (said.answer or "")
        elif verdict == "PARK":
            assert said.reason == more
        elif verdict == "REFUSED":
            assert (said.state or "missing") == more
        if verdict == "GO" and not sent:
            gate = GATE + pool.decode().partition("@")[2]
            assert self.redis.hget(gate, "state") != b"closed", "a closed gate let a call go"
            for scope in self.model.jobs[claim.id].scopes:
                for period in Period:
                    self._assert_covered(scope, period)
        return verdict

    def _assert_covered(self, scope: str, period: Period) -> None:
        kind, _, name = scope.partition(":")
        book = self.ledger.book(
            BudgetScope("tenant" if kind == "tenant" else "batch", name, period)
        )
        assert book.left_rub is None or book.left_rub >= 0, f"{book} is overrun"

    def finish_both(
        self,
        claim: Claim,
        kind: str,
        billing: Billing,
        cost: int = 0,
        *,
        cache_key: str = "",
        saved: int = 0,
        news: RateLimitFeedback | None = None,
        put_off: bool = False,
    ) -> None:
        news = news or RateLimitFeedback()
        may_be_put_off = put_off and kind.split(maxsplit=1)[0] in MAY_BE_PUT_OFF
        if billing is Billing.UNKNOWN:
            cost = 0  # only a sent call can have a cost: the ledger knows
        outcome = outcome_of(kind, claim.id, f"by {claim.token}", cache_key, saved)
        has_answer = isinstance(outcome, Completed) or bool(getattr(outcome, "result", None))
        name = kind.split(maxsplit=1)[0]
        expected = self.model.finish(
            self.now,
            claim.id,
            claim.token,
            ModelEnding(
                kind=KINDS.get(name, name),
                reason=outcome.error.code
                if isinstance(outcome, Failed)
                else getattr(outcome, "reason", ""),
                delay=_delay(outcome),
                counted=name in ("retrying", "unclear", "mending", "moved", "unsure"),
                billing=billing.value,
                cost=cost,
                answer=f"by {claim.token}" if has_answer else "",
                cache_key=cache_key if has_answer else "",
                saved=saved if has_answer else 0,
                scope=_scope(outcome),
                faulty=f"by {claim.token}" if name == "mending" else "",
                news=feedback_fields(news) or {},
                may_be_put_off=may_be_put_off,
                model=claim.document.model or "",
                models=getattr(outcome, "models", ()),
            ),
            _scopes(claim.document),
        )
        before, gates, call = self.views(), self._gates(), self._call_of(claim)
        ending = Ending(outcome, billing, cost, rate_limit=news, may_be_put_off=may_be_put_off)
        assert self.ledger.finish(claim, ending) == expected
        if not expected:
            changed = {id_ for id_, state in self.views().items() if before[id_] is not state}
            stopped = (State.PARKED, State.WAITING)  # of unknown billing, or by a budget
            assert all(before[id_] in stopped for id_ in changed)
        if isinstance(outcome, Held):
            assert int(self._call_of(claim)[0] or 0) == int(call[0] or 0), "it burned an attempt"
            if call[1] and int(call[2]) < int(gates[call[1]].get(b"epoch", 0)):
                assert self._gates()[call[1]].get(b"state") == gates[call[1]].get(b"state")

    def _gates(self) -> dict[bytes, Any]:
        return {GATE.encode() + key: self.redis.hgetall(GATE + key.decode()) for key in KEYS}

    def _call_of(self, claim: Claim) -> list[Any]:
        return self.redis.hmget(JOB + claim.id, "attempts", "gate", "epoch")

    def dispatch_both(self, limit: int = 500, *, lost: bool = False) -> None:
        expected = self.model.dispatch(self.now, limit)
        found = self.ledger.dispatch(limit)
        told = [hint.id for hint in found.deliveries]
        assert ([hint.id for hint in found.hints], list(found.expired), told) == expected
        self.hints += [hint.id for hint in found.hints]
        self.check_moves()
        if not lost:
            for hint in found.hints:
                self.redis.lpush(hint.queue, hint.id)
            for event in told:
                self.redis.lpush(QUEUE_WEBHOOKS, event)
            self.expire_both(list(found.expired))

    def expire_both(self, job_ids: list[str]) -> None:
        states = [self.model.cancel(self.now, job_id, "failed", "queued") for job_id in job_ids]
        assert self.ledger.expire(job_ids) == states

    def forget_both(self, job_id: str) -> None:
        job = self.model.jobs[job_id]
        is_over = job.has_ended and not job.sent and not job.unknown_calls
        assert self.ledger.forget([job_id]) == int(is_over)
        if is_over:
            for token in closed_with(job):
                self.model.close_call(self.now, token)
            self.model.forget(job_id)
            self.states.pop(job_id, None)

    def views(self) -> dict[str, State]:
        ids = sorted(self.model.jobs)
        views = job_views(self.redis, ids) if ids else []
        return {view.id: view.state for view in views if view}

    def check_all(self) -> None:
        snapshot = read_snapshot(self.redis)
        assert_sound(snapshot)
        assert snapshot == self.model.snapshot()

    def check_moves(self) -> None:
        for job_id, state in self.views().items():
            before = self.states.get(job_id, state)
            assert state is before or state in TRANSITIONS[before], f"{job_id}: {before} → {state}"
            # A queued job is shown as parked while something keeps its lane back.
            stored = self.model.jobs[job_id].state
            self.states[job_id] = State.QUEUED if stored in ("queued", "hinted") else state
            if state.is_terminal:
                assert self.model.results[job_id] == STATUSES[state.value]


def _scopes(document: JobDocument) -> list[str]:
    tenant = f"tenant:{document.tenant}"
    return [f"batch:{document.batch_id}", tenant] if document.batch_id else [tenant]


def _scope(outcome: Outcome) -> str:
    if not isinstance(outcome, Held):
        return ""
    return f"model:{outcome.model}" if outcome.model else "gate"


def _delay(outcome: Outcome) -> int | None:
    match outcome:
        case Waiting(_, seconds) | Parked(_, float(seconds)) | Held(_, _, seconds):
            return round(seconds * 1000)
    return None


def _key_of(job: NewJob) -> str:
    key, tenant = job.document.idempotency_key, job.document.tenant
    return f"{tenant}:{hashlib.sha256(key.encode()).hexdigest()}" if key else ""
