"""A hypothesis state machine: the ledger in Redis and its model, side by side, step by step."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import hypothesis.strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.support.ledger import BOTH, BULK, SHA, moment, new_job
from tests.support.ledger_model.books import closed_with
from tests.support.ledger_model.webhooks import WebhookRules
from visionq.contract.limits import Limits
from visionq.ledger import (
    Billing,
    BudgetScope,
    GateOrder,
    Period,
    RateLimitFeedback,
    Registration,
)
from visionq.ledger.spending import unknown_calls
from visionq.names import BLOB, CELERY_RESULT, CLOSED_CALLS, IDEMPOTENCY, JOB, QUEUE_WEBHOOKS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis import Redis


OUTCOMES = (
    "completed", "completed", "failed", "waiting 0", "waiting 3", "retrying 20",
    "parked billing_unknown", "parked key_rejected 60", "parked key_rejected",
    "held gate", "held gate", "held model:m1", "mending", "unclear 3", "unavailable", "missing",
    "moved m3", "moved m3 m4", "unsure m2", "unsure m4",
)  # fmt: skip

SCOPES = (
    BudgetScope.tenant("a"), BudgetScope.tenant("a", Period.DAY), BudgetScope.tenant("b"),
    BudgetScope.tenant("default"), BudgetScope.tenant("default", Period.DAY),
    BudgetScope.tenant("default", Period.MONTH), BudgetScope.batch("b1"),
)  # fmt: skip
LIMITS = (None, 0, 850, 900, 1800, 2000, 5000)
KINDS = ("batch:b1", "visionq.bulk:default:m1", "visionq.bulk:a:m1", "visionq.interactive:a:m1")

some = st.integers(0, 1_000)
likely = st.sampled_from([True, True, False])
jobs = st.fixed_dictionaries(
    {
        "tenant": st.sampled_from(["a", "a", "b"]),
        "model": st.sampled_from(["m1", "m1", "m2"]),
        "priority": st.sampled_from(["interactive", "bulk"]),
        "idempotency_key": st.sampled_from([None, None, "k1", "k2"]),
        "batch_id": st.sampled_from([None, None, "b1"]),
        "deadline": st.sampled_from([None, None, None, 2, 30]),
        "blobs": st.sampled_from(["", "", "a", "b", "ab"]),
        "reuse": st.sampled_from(["use", "use", "use", "refresh", "off"]),
        "newer": st.sampled_from([False, False, False, True]),
        "fallback": st.sampled_from([[], [], ["m3"], ["m3", "m4"]]),
    }
)
limits = st.builds(
    Limits,
    requests_per_minute=st.sampled_from([None, 6, 60, 3000]),
    tokens_per_minute=st.sampled_from([None, None, 600, 100_000]),
    concurrency=st.sampled_from([None, None, 1, 2]),
)
news = st.builds(
    RateLimitFeedback,
    tokens=st.sampled_from([None, 0, 200, 500]),
    requests_limit=st.sampled_from([None, None, None, 120, 600]),
    tokens_limit=st.sampled_from([None, None, None, None, 10_000]),
    refused=st.sampled_from([False, False, True]),
    pause=st.sampled_from([None, 0.01, 3, 40, 900]),
)
endings = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(OUTCOMES),
        "billing": st.sampled_from(list(Billing)),
        "cost": st.sampled_from([0, 5, 700]),
        "cache_key": st.sampled_from(["", "c1"]),
        "saved": st.sampled_from([0, 0, 40]),
        "news": news,
        "put_off": likely,
    }
)


class LedgerMachine(WebhookRules, RuleBasedStateMachine):
    """Every rule is something that happens; the invariants compare all that there is."""

    def __init__(self, redis: Redis, *, broker_is_here: bool) -> None:
        RuleBasedStateMachine.__init__(self)
        WebhookRules.__init__(self, redis, broker_is_here=broker_is_here)

    @invariant()
    def is_sound_and_as_modelled(self) -> None:
        self.check_all()

    @invariant()
    def moves_by_the_contract(self) -> None:
        self.check_moves()

    # Producers ------------------------------------------------------------------------------------

    @rule(digit=st.sampled_from("ab"))
    def put_blob(self, digit: str) -> None:
        self.redis.set(BLOB + SHA[digit], b"picture", ex=3600, nx=True)
        self.model.blobs.add(SHA[digit])

    @rule(fields=jobs)
    def submit(self, fields: dict[str, Any]) -> None:
        self.submit_to_both(self.document(f"j{next(self.numbers)}", fields))

    @rule(which=some, fields=jobs, same=st.booleans())
    def submit_again(self, which: int, fields: dict[str, Any], *, same: bool) -> None:
        if self.entered:
            old = self.entered[which % len(self.entered)]
            self.submit_to_both(old if same else self.document(old.id, fields))

    @rule(which=some, fields=jobs)
    def use_id_again(self, which: int, fields: dict[str, Any]) -> None:
        """An id of which nothing is left but perhaps an entry in a lane comes back."""
        forgotten = [job.id for job in self.entered if job.id not in self.model.jobs]
        if forgotten:
            self.submit_to_both(self.document(forgotten[which % len(forgotten)], fields))

    @rule(which=some, times=st.integers(1, 2))
    def cancel(self, which: int, times: int) -> None:
        if self.entered:
            job_id = self.entered[which % len(self.entered)].id
            for _ in range(times):
                assert self.ledger.cancel([job_id]) == [self.model.cancel(self.now, job_id)]

    # Workers --------------------------------------------------------------------------------------

    @rule(
        which=some,
        slots=st.integers(1, 3),
        queues=st.sampled_from([BOTH, BOTH, BULK]),
        key=st.sampled_from(["k1", "k2"]),
        version=st.sampled_from([1, 2]),
    )
    def renew(
        self, which: int, slots: int, queues: tuple[str, ...], key: str, version: int
    ) -> None:
        """A worker comes, goes on, or comes back; one that is never drawn again is dead."""
        name = f"w{which % 3}"
        self.renew_both(Registration(name, slots, queues, key=key, schema_version=version))

    @rule(which=some)
    def leave(self, which: int) -> None:
        if self.workers:
            name = sorted(self.workers)[which % len(self.workers)]
            self.renew_both(replace(self.workers.pop(name), slots=0))

    @rule(which=some, worker=some)
    def deliver_hint(self, which: int, worker: int) -> None:
        """Any hint ever sent: in time, late, for the second time."""
        if self.hints and self.workers:
            job_id = self.hints[which % len(self.hints)]
            self.claim_both(job_id, self.workers[sorted(self.workers)[worker % len(self.workers)]])

    @rule()
    def lose_message(self) -> None:
        for queue in (*BOTH, QUEUE_WEBHOOKS):
            self.redis.rpop(queue)

    @rule(which=some)
    def claim_again(self, which: int) -> None:
        """The reply to a claim was lost, and it is made again."""
        if self.claims and self.workers:
            claim = self.claims[which % len(self.claims)]
            worker = self.workers.get(claim.token[:2])
            if worker and self.model.jobs.get(claim.id):
                if self.model.jobs[claim.id].state == "hinted":
                    return  # nobody repeats a call for so long
                self.claim_both(claim.id, worker, claim.token)

    @rule(key=st.sampled_from(["k1", "k2"]), order=st.sampled_from(list(GateOrder)))
    def steer_gate(self, key: str, order: GateOrder) -> None:
        self.steer_both(key, order)

    @rule(scope=st.sampled_from(SCOPES), limit=st.sampled_from(LIMITS))
    def set_budget(self, scope: BudgetScope, limit: int | None) -> None:
        self.set_budget_on_both(scope, limit)

    @rule(
        which=some,
        paid=st.booleans(),
        cost=st.sampled_from([None, None, 5, 1500]),
        times=st.integers(1, 2),
    )
    def settle_unknown(self, which: int, cost: int | None, times: int, *, paid: bool) -> None:
        """An operator has looked up whether a call was paid, and perhaps enters it twice."""
        calls = sorted(unknown_calls(self.redis), key=lambda call: call.entry)
        for _ in range(times if calls else 0):
            self.settle_unknown_on_both(calls[which % len(calls)], cost, paid=paid)

    @rule(kind=st.sampled_from(KINDS), least=st.sampled_from([500, 900]))
    def learn(self, kind: str, least: int) -> None:
        self.learn_on_both(kind, least)

    @rule(
        which=some,
        percent=st.sampled_from([30, 90, 90, None]),
        failed=st.sampled_from([18, 19, 19, 50]),
        kind=st.sampled_from(["failed", "failed", "completed"]),
    )
    def waste(self, which: int, percent: int | None, failed: int, kind: str) -> None:
        """A paid answer ends after most have failed, for a tenant with a share or without."""
        self.set_max_waste_on_both("default", percent)
        if percent is not None:
            self.waste_on_both("default", failed)
        name = f"w{which % 3}"
        key = "k1" if name == "w0" else "k2"
        self.renew_both(self.workers.get(name, Registration(name, 2, BOTH, key=key)))
        for _ in range(2):
            self.submit_to_both(new_job(f"j{next(self.numbers)}"))
        self.dispatch_both()
        hinted = [job.id for job in self.model.jobs.values() if job.state == "hinted"]
        claim = self.claim_both(hinted[-1], self.workers[name]) if hinted else None
        if claim and self.admit_both(claim) == "GO":
            self.finish_both(claim, kind, Billing.SETTLED, 700)

    @rule()
    def release_waste(self) -> None:
        self.release_waste_on_both("default")

    @rule(model=st.sampled_from(["m1", "m1", "m2", "*"]), limits=st.one_of(st.none(), limits))
    def set_limits(self, model: str, limits: Limits | None) -> None:
        self.say_limits_both(model, limits if limits != Limits() else None)

    @rule(
        which=some,
        held=likely,
        cache_key=st.sampled_from(["", "c1", "c1", "c2"]),
        reserve=st.sampled_from([0, 900, 900, 300, None]),
    )
    def admit(self, which: int, cache_key: str, reserve: int | None, *, held: bool) -> None:
        for claim in self.pick(which, held=held):
            self.admit_both(claim, cache_key, reserve, which % 3 * 400)

    @rule(
        which=some,
        calls=st.sampled_from([2, 6, 11]),
        kind=st.sampled_from(["unclear 0", "unclear 0", "parked billing_unknown", "unavailable"]),
        model=st.sampled_from(["m1", "m1", "m2"]),
    )
    def fall_silent(self, which: int, calls: int, kind: str, model: str) -> None:
        """Calls end without a word of the provider's, one after the other."""
        billing = Billing.RELEASED if kind == "unavailable" else Billing.UNKNOWN
        name = f"w{which % 3}"
        key = "k1" if name == "w0" else "k2"
        self.renew_both(self.workers.get(name, Registration(name, 2, BOTH, key=key)))
        for _ in range(calls):
            if len(self.model.jobs) < 2:
                self.submit_to_both(new_job(f"j{next(self.numbers)}", model=model))
            self.dispatch_both()
            hinted = [job.id for job in self.model.jobs.values() if job.state == "hinted"]
            claim = self.claim_both(hinted[0], self.workers[name]) if hinted else None
            if claim and self.admit_both(claim) == "GO":
                self.finish_both(claim, kind, billing, put_off=True)
            self.clock.now += which % 4

    @rule(which=some, held=likely, fields=endings, times=st.integers(1, 2))
    def finish(self, which: int, fields: dict[str, Any], times: int, *, held: bool) -> None:
        """Any token ever given, in time or late, and once more when the reply was lost."""
        for claim in self.pick(which, held=held):
            for _ in range(times):
                self.finish_both(claim, **fields)

    @rule(
        which=some,
        kind=st.sampled_from(["completed", "completed", "failed", "mending", "retrying 20"]),
        billing=st.sampled_from([Billing.SETTLED, Billing.SETTLED, Billing.RELEASED]),
    )
    def answer_late(self, which: int, kind: str, billing: Billing) -> None:
        """The call of a worker that lost its job comes back after all."""
        for claim in self.pick(which, held=False):
            self.finish_both(claim, kind, billing, 700 if billing is Billing.SETTLED else 0)

    @rule(model=st.sampled_from(["m1", "m2", "m3"]), seconds=st.sampled_from([9, 60]), most=likely)
    def hold_model(self, model: str, seconds: int, *, most: bool) -> None:
        """A model turns out to be forbidden, or was to be; its jobs go where they say."""
        job = new_job(f"j{next(self.numbers)}", model=model)
        self.renew_both(Registration("w1", 3, BOTH, key="k2"))
        self.submit_to_both(job)
        self.dispatch_both()
        if self.model.jobs[job.id].state == "hinted":
            claim = self.claim_both(job.id, self.workers["w1"])
            if claim:
                self.finish_both(claim, f"held model:{model} {seconds}", Billing.RELEASED)
        self.fall_back_both(500 if most else 1)

    # Time -----------------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([0.001, 0.5, 1, 3, 3.999, 4.001, 6, 11, 70, 86_400]))
    def pass_time(self, seconds: float) -> None:
        """Also longer than the gap without a look: Redis hung, or no dispatcher lived."""
        self.clock.now += seconds

    @rule(limit=st.sampled_from([1, 500, 500]), lost=st.booleans())
    def dispatch(self, limit: int, *, lost: bool) -> None:
        self.dispatch_both(limit, lost=lost)

    @rule(looks=st.sampled_from([1, 2, 4]), keep=st.booleans())
    def live(self, looks: int, *, keep: bool) -> None:
        """Time passes as it does while someone looks; workers renew, or their leases lapse."""
        for _ in range(looks):
            self.clock.now += 3
            if keep:
                for worker in self.workers.values():
                    self.renew_both(worker)
            self.dispatch_both()

    @rule(which=some, cache_key=st.sampled_from(["c1", "c2"]), refused=st.booleans())
    def ask_the_same(self, which: int, cache_key: str, *, refused: bool) -> None:
        """Several workers' jobs ask the same at once; perhaps the key of one fails."""
        for number in range(4):
            name = f"w{(which + number) % 3}"
            key = "k1" if name == "w0" else "k2"
            self.renew_both(self.workers.get(name, Registration(name, 2, BOTH, key=key)))
            self.submit_to_both(new_job(f"j{next(self.numbers)}"))
            self.dispatch_both()
            hinted = [job.id for job in self.model.jobs.values() if job.state == "hinted"]
            claim = self.claim_both(hinted[-1], self.workers[name]) if hinted else None
            if claim and self.admit_both(claim, cache_key) == "GO" and refused:
                self.finish_both(claim, "held gate", Billing.RELEASED)

    @rule(
        which=some,
        scope=st.sampled_from([BudgetScope.batch("b1"), BudgetScope.tenant("default")]),
        limit=st.sampled_from([850, 1000, 1900]),
        deadline=st.sampled_from([None, None, 30]),
        known=st.booleans(),
    )
    def run_short(
        self, which: int, scope: BudgetScope, limit: int, deadline: int | None, *, known: bool
    ) -> None:
        """More jobs come than a budget allows calls at once."""
        self.set_budget_on_both(scope, limit)
        name = f"w{which % 3}"
        key = "k1" if name == "w0" else "k2"
        self.renew_both(Registration(name, 3, BOTH, key=key, schema_version=2))
        if known:
            self.learn_on_both("batch:b1", 900)
        for _ in range(4):
            fields: dict[str, Any] = {"batch_id": "b1"}
            if deadline:
                fields["deadline"] = moment(self.clock.now + deadline)
            self.submit_to_both(new_job(f"j{next(self.numbers)}", **fields))
        for _ in range(2):
            self.dispatch_both()
            hinted = [job.id for job in self.model.jobs.values() if job.state == "hinted"]
            for job_id in hinted:
                claim = self.claim_both(job_id, self.workers[name])
                if claim:
                    self.admit_both(claim)

    @rule(billing=st.sampled_from(list(Billing)), cost=st.sampled_from([0, 5, 700, 1500]))
    def end_all(self, billing: Billing, cost: int) -> None:
        """Every call that is out comes back, and what waits for that goes on."""
        for claim in self.claims:
            job = self.model.jobs.get(claim.id)
            if job and job.sent == claim.token:
                kind = "parked billing_unknown" if billing is Billing.UNKNOWN else "completed"
                self.finish_both(claim, kind, billing, cost)
        self.dispatch_both()

    @rule(which=some, send=likely, jobs=st.integers(1, 3))
    def work(self, which: int, jobs: int, *, send: bool) -> None:
        """Do the commonest: jobs come, a dispatcher looks, a hint is followed, a call is sent."""
        for number in range(jobs if len(self.model.jobs) < jobs else 0):
            self.submit_to_both(
                new_job(f"j{next(self.numbers)}", batch_id="b1" if number else None)
            )
        name = f"w{which % 3}"
        key = "k1" if name == "w0" else "k2"
        self.renew_both(self.workers.get(name, Registration(name, 2, BOTH, key=key)))
        self.dispatch_both()
        hinted = [job for job in self.model.jobs.values() if job.state == "hinted"]
        if hinted:
            claim = self.claim_both(hinted[which % len(hinted)].id, self.workers[name])
            if claim and send:
                self.admit_both(claim)

    @rule(requests=st.sampled_from([None, 60, 600]), concurrency=st.sampled_from([None, 1]))
    def work_at_a_limit(self, requests: int | None, concurrency: int | None) -> None:
        """More jobs come than may be asked about; workers ask again at the given time."""
        self.say_limits_both(
            "m1", Limits(requests_per_minute=requests, concurrency=concurrency or 2)
        )
        self.renew_both(Registration("w1", 3, BOTH, key="k2"))
        for _ in range(4):
            self.submit_to_both(new_job(f"j{next(self.numbers)}"))
        for _ in range(3):
            self.clock.now += 0.3
            self.dispatch_both()
            for job_id in [job.id for job in self.model.jobs.values() if job.state == "hinted"]:
                self.claim_both(job_id, self.workers["w1"])
            for claim in self.claims[-4:]:
                if self.model.holds(claim.id, claim.token):
                    self.admit_both(claim)

    @rule(which=some)
    def interrupt(self, which: int) -> None:
        """A call is sent and its worker dies; another comes and takes the job."""
        self.work(which, 1, send=True)
        self.live(4, keep=False)
        self.work(which + 1, 1, send=False)

    @rule(which=some)
    def forget(self, which: int) -> None:
        """Expire what a finished job keeps."""
        over = [job.id for job in self.model.jobs.values() if job.has_ended and not job.sent]
        if over:
            job_id = over[which % len(over)]
            key = self.model.jobs[job_id].key
            doomed = [JOB + job_id, CELERY_RESULT + job_id]
            if self.model.keys.get(key) == job_id:
                doomed.append(IDEMPOTENCY + key)
            assert all(self.redis.ttl(name) > 0 for name in doomed)
            self.redis.delete(*doomed)
            # That was so long ago that nobody tells the ends of its calls again.
            job = self.model.jobs[job_id]
            for token in {*closed_with(job), *job.unknown}:
                self.redis.zadd(CLOSED_CALLS, {token: self.now})
                self.model.closed[token] = self.now
            self.model.forget(job_id)
            self.states.pop(job_id, None)

    @rule(which=some)
    def forget_in_time(self, which: int) -> None:
        """The owner of any job has written down its end, or says so too early."""
        if self.model.jobs:
            self.forget_both(sorted(self.model.jobs)[which % len(self.model.jobs)])

    # What must always hold ------------------------------------------------------------------------

    def teardown(self) -> None:
        """With one worker that ends what it claims, every job ends that nobody has to wake."""
        worker = Registration("w9", 4, BOTH, key="k1", schema_version=2)
        self.steer_both("k1", GateOrder.OPEN)
        for scope in SCOPES:
            self.set_budget_on_both(scope, None)
        self.set_max_waste_on_both("default", None)
        for model in ("m1", "m2", "*"):
            self.say_limits_both(model, None)
        for _ in range(80 + len(self.model.events)):  # a tenant has a few out at a time
            self.clock.now += 3
            self.renew_both(worker)
            self.dispatch_both()
            for queue in BOTH:
                for message in self._messages(queue):
                    claim = self.claim_both(message, worker)
                    if claim:
                        self.admit_both(claim)
                        self.finish_both(claim, "completed", Billing.SETTLED, 1)
            left = [job for job in self.model.jobs.values() if not job.has_ended or job.sent]
            if self.tell_all() and all(
                job.state == "parked" and job.id not in self.model.due for job in left
            ):
                break
        else:
            raise AssertionError(f"never ended: {left}")
        self.check_all()

    def _messages(self, queue: str) -> Iterator[str]:
        while message := self.redis.rpop(queue):
            assert isinstance(message, bytes)
            yield message.decode()
