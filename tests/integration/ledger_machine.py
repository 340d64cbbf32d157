"""A hypothesis state machine: the ledger in Redis and its model, side by side, step by step."""

from __future__ import annotations

import hashlib
import itertools
from typing import TYPE_CHECKING, Any

import hypothesis.strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.integration import ledger_model
from tests.integration.ledger_kit import BOTH, BULK, SHA, Clock, moment, new_job, outcome_of
from tests.integration.ledger_snapshot import assert_sound, read_snapshot
from visionq.contract import TRANSITIONS, State
from visionq.ledger import (
    Billing,
    BlobsMissing,
    Claim,
    Completed,
    Conflict,
    Ending,
    Ledger,
    LedgerOptions,
    Registration,
    Submitted,
)
from visionq.ledger.views import job_views
from visionq.names import BLOB, CELERY_RESULT, IDEMPOTENCY, JOB

if TYPE_CHECKING:
    from redis import Redis

    from visionq.ledger import NewJob

STATUSES = {"completed": "SUCCESS", "failed": "FAILURE", "cancelled": "REVOKED"}
OUTCOMES = (
    "completed", "completed", "failed", "waiting 0", "waiting 3", "retrying 20",
    "parked billing_unknown", "parked insufficient_balance 60", "parked insufficient_balance",
)  # fmt: skip

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
    }
)
endings = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(OUTCOMES),
        "billing": st.sampled_from(list(Billing)),
        "cost": st.sampled_from([0, 5, 700]),
        "content_key": st.sampled_from(["", "c1"]),
    }
)


class LedgerMachine(RuleBasedStateMachine):
    """Every rule makes one move on both and compares the answers; the invariants compare all."""

    def __init__(self, redis: Redis, *, broker_is_here: bool) -> None:
        super().__init__()
        redis.flushall()
        self.redis = redis
        self.clock = Clock()
        options = LedgerOptions(slots_per_hint_ahead=2, broker_is_here=broker_is_here)
        self.ledger = Ledger(redis, options, self.clock)
        self.model = ledger_model.Model(
            lease=int(options.lease * 1000),
            gap=int(options.gap * 1000),
            first_wait=int(options.first_wait_for_claim * 1000),
            longest_wait=int(options.longest_wait_for_claim * 1000),
            slots_per_hint_ahead=options.slots_per_hint_ahead,
            broker=redis.llen if broker_is_here else None,
        )
        self.numbers = itertools.count(1)
        self.entered: list[NewJob] = []
        self.hints: list[str] = []
        self.claims: list[Claim] = []
        self.workers: dict[str, Registration] = {}
        self.states: dict[str, State] = {}

    @property
    def now(self) -> int:
        return round(self.clock.now * 1000)

    # Producers ------------------------------------------------------------------------------------

    @rule(digit=st.sampled_from("ab"))
    def put_blob(self, digit: str) -> None:
        self.redis.set(BLOB + SHA[digit], b"picture", ex=3600, nx=True)
        self.model.blobs.add(SHA[digit])

    @rule(fields=jobs)
    def submit(self, fields: dict[str, Any]) -> None:
        self._submit(self._document(f"j{next(self.numbers)}", fields))

    @rule(which=some, fields=jobs, same=st.booleans())
    def submit_again(self, which: int, fields: dict[str, Any], *, same: bool) -> None:
        if self.entered:
            old = self.entered[which % len(self.entered)]
            self._submit(old if same else self._document(old.id, fields))

    def _document(self, job_id: str, fields: dict[str, Any]) -> NewJob:
        wanted = {name: value for name, value in fields.items() if value and name != "blobs"}
        if fields["deadline"]:
            wanted["deadline"] = moment(self.clock.now + fields["deadline"])
        if fields["blobs"]:
            wanted["images"] = [{"blob": SHA[digit]} for digit in fields["blobs"]]
        return new_job(job_id, **wanted)

    def _submit(self, job: NewJob) -> None:
        document = job.document
        lane = f"visionq.{document.priority}:{document.tenant}:{document.model}"
        key = _key_of(job)
        expected = self.model.submit(
            ledger_model.Job(
                id=job.id,
                lane=lane,
                document=document.to_compact_json(),
                deadline=round(document.deadline.timestamp() * 1000) if document.deadline else None,
                batch=document.batch_id or "",
                key=key,
                blobs=document.blobs,
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

    @rule(which=some, fields=jobs)
    def use_id_again(self, which: int, fields: dict[str, Any]) -> None:
        """An id of which nothing is left but perhaps an entry in a lane comes back."""
        forgotten = [job.id for job in self.entered if job.id not in self.model.jobs]
        if forgotten:
            self._submit(self._document(forgotten[which % len(forgotten)], fields))

    @rule(which=some, times=st.integers(1, 2))
    def cancel(self, which: int, times: int) -> None:
        if self.entered:
            job_id = self.entered[which % len(self.entered)].id
            for _ in range(times):
                assert self.ledger.cancel([job_id]) == [self.model.cancel(job_id)]

    # Workers --------------------------------------------------------------------------------------

    @rule(which=some, slots=st.integers(1, 3), queues=st.sampled_from([BOTH, BOTH, BULK]))
    def renew(self, which: int, slots: int, queues: tuple[str, ...]) -> None:
        """A worker comes, goes on, or comes back; one that is never drawn again is dead."""
        name = f"w{which % 3}"
        self._renew(Registration(name, slots, queues))

    @rule(which=some)
    def leave(self, which: int) -> None:
        if self.workers:
            name = sorted(self.workers)[which % len(self.workers)]
            self._renew(Registration(name, 0, self.workers.pop(name).queues))

    def _renew(self, worker: Registration) -> None:
        if worker.slots:
            self.workers[worker.worker] = worker
        leases = [
            (claim.id, claim.token) for claim in self.claims if claim.token[:2] == worker.worker
        ]
        lost = self.ledger.renew(worker, leases)
        expected = self.model.renew(self.now, worker.worker, worker.slots, worker.pool, leases)
        assert lost == expected

    @rule(which=some, worker=some)
    def deliver_hint(self, which: int, worker: int) -> None:
        """Any hint ever sent: in time, late, for the second time."""
        if self.hints and self.workers:
            job_id = self.hints[which % len(self.hints)]
            self._claim(job_id, self.workers[sorted(self.workers)[worker % len(self.workers)]])

    @rule()
    def lose_message(self) -> None:
        for queue in BOTH:
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
                self._claim(claim.id, worker, claim.token)

    def _claim(self, job_id: str, worker: Registration, token: str | None = None) -> Claim | None:
        token = token or f"{worker.worker}-{next(self.numbers)}"
        expected = self.model.claim(self.now, job_id, token, worker.pool)
        claim = self.ledger.claim(job_id, token, worker)
        if not isinstance(claim, Claim):
            assert claim.state == expected
            return None
        assert isinstance(expected, ledger_model.Job)
        for name in ("attempts", "waits", "unknown_calls", "lapses", "cost"):
            assert getattr(claim, name) == getattr(expected, name), name
        assert claim.interrupted == bool(expected.interrupted)
        self.moves_by_the_contract()
        self.claims.append(claim)
        return claim

    @rule(which=some, held=likely, content_key=st.sampled_from(["", "c1"]))
    def admit(self, which: int, content_key: str, *, held: bool) -> None:
        for claim in self._pick(which, held=held):
            self._admit(claim, content_key, which % 2 * 900)

    def _pick(self, which: int, *, held: bool) -> list[Claim]:
        """Take one claim that holds, or one that does not any more."""
        claims = [claim for claim in self.claims if self.model.holds(claim.id, claim.token) == held]
        return claims and [claims[-1 - which % len(claims)]]

    def _admit(self, claim: Claim, content_key: str = "", reserve: int = 900) -> str:
        said = self.ledger.admit(claim, content_key=content_key, reserve=reserve)
        verdict, more = self.model.admit(self.now, claim.id, claim.token, content_key, reserve)
        assert said.verdict == verdict
        if verdict == "ANSWER":
            assert f'"text":"{more}"' in (said.answer or "")
        elif verdict == "REFUSED":
            assert said.state == more
        return verdict

    @rule(which=some, held=likely, fields=endings, times=st.integers(1, 2))
    def finish(self, which: int, fields: dict[str, Any], times: int, *, held: bool) -> None:
        """Any token ever given, in time or late, and once more when the reply was lost."""
        for claim in self._pick(which, held=held):
            for _ in range(times):
                self._finish(claim, **fields)

    @rule(which=some)
    def answer_late(self, which: int) -> None:
        """The call of a worker that lost its job brings its answer after all."""
        for claim in self._pick(which, held=False):
            self._finish(claim, "completed", Billing.SETTLED, 700)

    def _finish(
        self, claim: Claim, kind: str, billing: Billing, cost: int = 0, content_key: str = ""
    ) -> None:
        outcome = outcome_of(kind, claim.id, f"by {claim.token}", content_key)
        has_answer = isinstance(outcome, Completed)
        name, *words = kind.split()
        expected = self.model.finish(
            self.now,
            claim.id,
            claim.token,
            ledger_model.Ending(
                kind={"retrying": "waiting"}.get(name, name),
                reason=getattr(outcome, "reason", "")
                or ("not_an_image" if name == "failed" else ""),
                delay=int(words[-1]) * 1000 if words and words[-1].isdigit() else None,
                counted=name == "retrying",
                billing=billing.value,
                cost=cost,
                answer=f"by {claim.token}" if has_answer else "",
                content_key=content_key if has_answer else "",
            ),
        )
        before = self._views()
        assert self.ledger.finish(claim, Ending(outcome, billing, cost)) == expected
        if not expected:
            changed = {id_ for id_, state in self._views().items() if before[id_] is not state}
            assert all(before[id_] is State.PARKED and has_answer for id_ in changed)

    # Time -----------------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([0.001, 0.5, 1, 3, 3.999, 4.001, 6, 11, 70]))
    def pass_time(self, seconds: float) -> None:
        """Also longer than the gap without a look: Redis stood still, or no dispatcher lived."""
        self.clock.now += seconds

    @rule(limit=st.sampled_from([1, 500, 500]), lost=st.booleans())
    def dispatch(self, limit: int, *, lost: bool) -> None:
        self._dispatch(limit, lost=lost)

    @rule(looks=st.sampled_from([1, 2, 4]), keep=st.booleans())
    def live(self, looks: int, *, keep: bool) -> None:
        """Time passes as it does while somebody looks; workers renew, or their leases lapse."""
        for _ in range(looks):
            self.clock.now += 3
            if keep:
                for worker in self.workers.values():
                    self._renew(worker)
            self._dispatch()

    @rule(which=some, send=likely, jobs=st.integers(1, 3))
    def work(self, which: int, jobs: int, *, send: bool) -> None:
        """What happens most: jobs come, somebody looks, a hint is followed, a call is sent."""
        for number in range(jobs if len(self.model.jobs) < jobs else 0):
            self._submit(new_job(f"j{next(self.numbers)}", batch_id="b1" if number else None))
        name = f"w{which % 3}"
        self._renew(self.workers.get(name, Registration(name, 2, BOTH)))
        self._dispatch()
        hinted = [job for job in self.model.jobs.values() if job.state == "hinted"]
        if hinted:
            claim = self._claim(hinted[which % len(hinted)].id, self.workers[name])
            if claim and send:
                self._admit(claim)

    @rule(which=some)
    def interrupt(self, which: int) -> None:
        """A call is sent and its worker dies; another comes and takes the job."""
        self.work(which, 1, send=True)
        self.live(4, keep=False)
        self.work(which + 1, 1, send=False)

    def _dispatch(self, limit: int = 500, *, lost: bool = False) -> None:
        expected = self.model.dispatch(self.now, limit)
        found = self.ledger.dispatch(limit)
        assert ([hint.id for hint in found.hints], list(found.expired)) == expected
        self.hints += [hint.id for hint in found.hints]
        self.moves_by_the_contract()
        if not lost:
            for hint in found.hints:
                self.redis.lpush(hint.queue, hint.id)
            self._expire(list(found.expired))

    def _expire(self, job_ids: list[str]) -> None:
        states = [self.model.cancel(job_id, "failed", "queued") for job_id in job_ids]
        assert self.ledger.expire(job_ids) == states

    @rule(which=some)
    def forget(self, which: int) -> None:
        """What a finished job keeps expires."""
        over = [job.id for job in self.model.jobs.values() if job.has_ended and not job.sent]
        if over:
            job_id = over[which % len(over)]
            key = self.model.jobs[job_id].key
            doomed = [JOB + job_id, CELERY_RESULT + job_id]
            if self.model.keys.get(key) == job_id:
                doomed.append(IDEMPOTENCY + key)
            assert all(self.redis.ttl(name) > 0 for name in doomed)
            self.redis.delete(*doomed)
            self.model.forget(job_id)
            self.states.pop(job_id, None)

    # What must always hold ------------------------------------------------------------------------

    @invariant()
    def is_sound_and_as_modelled(self) -> None:
        snapshot = read_snapshot(self.redis)
        assert_sound(snapshot)
        assert snapshot == self.model.snapshot()

    @invariant()
    def moves_by_the_contract(self) -> None:
        for job_id, state in self._views().items():
            before = self.states.get(job_id, state)
            assert state is before or state in TRANSITIONS[before], f"{job_id}: {before} → {state}"
            self.states[job_id] = state
            if state.is_terminal:
                assert self.model.results[job_id] == STATUSES[state.value]

    def _views(self) -> dict[str, State]:
        ids = sorted(self.model.jobs)
        views = job_views(self.redis, ids) if ids else []
        return {view.id: view.state for view in views if view}

    def teardown(self) -> None:
        """With one worker that ends what it claims, every job ends that nobody has to wake."""
        worker = Registration("w9", 4, BOTH)
        for _ in range(80):
            self.clock.now += 3
            self._renew(worker)
            self._dispatch()
            for queue in BOTH:
                while message := self.redis.rpop(queue):
                    claim = self._claim(message.decode(), worker)
                    if claim:
                        self._admit(claim)
                        self._finish(claim, "completed", Billing.SETTLED, 1)
            left = [job for job in self.model.jobs.values() if not job.has_ended or job.sent]
            if all(job.state == "parked" and job.id not in self.model.due for job in left):
                break
        else:
            raise AssertionError(f"never ended: {left}")
        self.is_sound_and_as_modelled()


def _key_of(job: NewJob) -> str:
    key, tenant = job.document.idempotency_key, job.document.tenant
    return f"{tenant}:{hashlib.sha256(key.encode()).hexdigest()}" if key else ""
