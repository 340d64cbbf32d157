"""The batch lane in any order of events: jobs, packers that die, and a provider with faults."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from tests.support.ledger import completed, paid
from tests.support.packing import KilledError, Killer, PackerBench, mortal_packer, take_over
from visionq.contract import Api, State
from visionq.errors import InsufficientBalance, KeyRejected, ProviderUnavailable, RateLimited
from visionq.ledger import Claim, Verdict
from visionq.ledger.provider_batches import (
    BatchSupport,
    open_batches,
    stop,
    write_support,
)
from visionq.pricing.flex import FLEX
from worker.provider.batches import BatchStatus

if TYPE_CHECKING:
    from redis import Redis

    from visionq.errors import VisionqError
    from visionq.ledger import Hint, Registration

MODEL = "gpt-6-luna"
#: What an online call costs here: nothing that a line does.
ONLINE = 1_000_000_007
HOUR = 3600.0
DAY = 24 * HOUR
_TURN = 120.0
#: Faults of the provider, as its `faults` order them.
FAULTS = {
    "lose_upload_answer": 1,
    "lose_creation_answer": 1,
    "cut_download": 1,
    "fail_validation": True,
    "over_token_limit": True,
    "fail_lines": 1,
}
REFUSALS = (
    InsufficientBalance("no money"),
    KeyRejected("no key"),
    RateLimited("too much"),
    ProviderUnavailable("it is out"),
)


class BatchLane(RuleBasedStateMachine):
    """Time passes in turns: dispatchers, an online worker and a packer live in it."""

    bench: PackerBench

    @initialize(batches=st.sampled_from([True, True, True, False]), flex=st.booleans())
    def begin(self, *, batches: bool, flex: bool) -> None:
        self.bench.start_anew()
        redis = self.bench.redis
        for api, works in ((Api.RESPONSES, batches), (FLEX, flex)):
            known = BatchSupport(works=works, since=self.bench.clock.now + 9 * DAY)
            write_support(redis, "k1", MODEL, api, known)
        self.packer = self.bench.packer()
        #: Job → by when it is needed; None: whenever.
        self.jobs: dict[str, float | None] = {}
        self.cancelled: set[str] = set()
        self.online: dict[str, int] = {}
        #: Lines that were answered, and are in no file.
        self.missing: set[str] = set()
        self.failures = 0

    @rule(hours=st.integers(2, 30), count=st.integers(1, 3), turns=st.integers(0, 3))
    def submit_what_can_wait(self, hours: int, count: int, turns: int) -> None:
        for _ in range(count):
            by = self.bench.moment(hours * HOUR)
            self.jobs[self.bench.submit(lane="auto", by=by)] = by.timestamp()
        self.pass_time(turns)

    @rule(count=st.integers(1, 3), turns=st.integers(0, 3))
    def submit_for_a_batch(self, count: int, turns: int) -> None:
        for _ in range(count):
            self.jobs[self.bench.submit(priority="interactive")] = None
        self.pass_time(turns)

    @rule(turns=st.one_of(st.integers(1, 60), st.just(300)))
    def pass_time(self, turns: int) -> None:
        for _ in range(turns):
            self._turn()

    @rule(number=st.integers(1, 40), after=st.booleans())
    def kill_the_packer(self, number: int, *, after: bool) -> None:
        killer = Killer(number, after=after)
        dying = mortal_packer(self.bench, killer)
        with suppress(KilledError):
            dying.run()
            dying.run()
        self._take_over()

    @rule(most=st.integers(0, 3))
    def answer_some(self, most: int) -> None:
        for batch_id in self.bench.provider.batches:
            self.bench.provider.answer(batch_id, most)

    @rule(
        status=st.sampled_from([BatchStatus.COMPLETED, BatchStatus.EXPIRED, BatchStatus.CANCELLED])
    )
    def end_batches(self, status: BatchStatus) -> None:
        for batch_id in self.bench.provider.batches:
            self.bench.provider.end(batch_id, status)

    @rule(fault=st.sampled_from(list(FAULTS)), jobs=st.integers(0, 2))
    def order_a_fault(self, fault: str, jobs: int) -> None:
        """Have something go wrong, with new jobs that may meet it."""
        if fault != "fail_lines" or self.failures < 3:  # so that no job is tried too often
            self.failures += fault == "fail_lines"
            setattr(self.bench.provider.faults, fault, FAULTS[fault])
        self.submit_for_a_batch(jobs, 3)

    @rule(refusal=st.sampled_from(REFUSALS), jobs=st.integers(1, 2))
    def refuse_the_next_batch(self, refusal: VisionqError, jobs: int) -> None:
        self.bench.provider.faults.refuse_creation = refusal
        self.submit_for_a_batch(jobs, 3)

    @rule(lost=st.booleans(), jobs=st.integers(1, 2))
    def hide_the_newest(self, jobs: int, *, lost: bool) -> None:
        """Have the list lag behind, by less than what is waited for it."""
        faults = self.bench.provider.faults
        faults.lose_creation_answer = int(lost)
        self.submit_for_a_batch(jobs, 1)
        faults.hide_newest = 1
        self.pass_time(2)
        faults.hide_newest = 0
        self.pass_time(1)

    @rule(data=st.data())
    def lose_a_line(self, data: st.DataObject) -> None:
        """One that was answered is in no file: whether it was paid, nobody can know."""
        provider = self.bench.provider
        answered = [
            line
            for batch in provider.batches.values()
            if not batch.shown.status.is_final
            for line in batch.done
            if line in provider.bill
        ]
        if answered and not self.missing:
            self.missing.add(data.draw(st.sampled_from(sorted(answered))))
            provider.faults.drop |= self.missing

    @rule()
    def stop_all(self) -> None:
        """Stop every batch, as an operator does."""
        for batch in open_batches(self.bench.redis):
            self.bench.ledger.make(stop(batch.id))

    @rule(double=st.booleans())
    def double_lines(self, *, double: bool) -> None:
        self.bench.provider.faults.double = double

    @rule(data=st.data())
    def cancel_a_job(self, data: st.DataObject) -> None:
        open_jobs = [job for job in self.jobs if not self.bench.view(job).state.is_terminal]
        if open_jobs:
            job = data.draw(st.sampled_from(sorted(open_jobs)))
            self.bench.ledger.cancel([job])
            self.cancelled.add(job)

    @invariant()
    def no_line_is_paid_twice(self) -> None:
        if hasattr(self, "jobs"):
            assert all(times == 1 for times in self.bench.provider.bill.values())

    def teardown(self) -> None:
        if not hasattr(self, "jobs"):
            return
        for _ in range(80):
            for batch_id in self.bench.provider.batches:
                self.bench.provider.end(batch_id)
            for _ in range(5):
                self._turn()
            if self._is_over():
                break
        states = {job: self.bench.view(job).state for job in self.jobs}
        done = {State.COMPLETED} if not self.cancelled else {State.COMPLETED, State.CANCELLED}
        assert set(states.values()) <= done, states
        self._check_money()
        for job, by in self.jobs.items():
            finished = self.bench.view(job).finished_at
            assert by is None or (finished and finished.timestamp() <= by), job

    def _check_money(self) -> None:
        """Books and bill agree, and no job was paid for in a batch and online."""
        lines = len(self.bench.provider.bill)
        calls = sum(self.online.values())
        lost = len(self.missing)
        assert lines + calls <= len(self.jobs) + lost
        money = self.bench.money()
        unknown = {"unknown", "unknown_calls"} if lost else set()
        assert set(money) <= {"settled"} | unknown
        assert money.get("unknown_calls", 0) == lost
        assert money.get("settled", 0) == self.bench.half_price(lines - lost) + calls * ONLINE

    def _is_over(self) -> bool:
        ended = all(self.bench.view(job).state.is_terminal for job in self.jobs)
        return ended and not open_batches(self.bench.redis)

    def _turn(self) -> None:
        provider = self.bench.provider
        for batch_id, batch in provider.batches.items():
            if batch.shown.status is BatchStatus.CANCELLING:
                provider.end(batch_id, BatchStatus.CANCELLED)
        self.packer.run()
        worker = self.bench.online_worker()
        for hint in self.bench.pass_time(_TURN, step=_TURN):
            self._work_online(hint, worker)

    def _work_online(self, hint: Hint, worker: Registration) -> None:
        ledger = self.bench.ledger
        claim = ledger.claim(hint.id, f"online-{hint.id}", worker)
        if not isinstance(claim, Claim):
            return
        if ledger.admit(claim, reserve=ONLINE).verdict is Verdict.GO:
            ledger.finish(claim, paid(completed(hint.id), ONLINE))
            self.online[hint.id] = self.online.get(hint.id, 0) + 1

    def _take_over(self) -> None:
        self.packer = take_over(self.bench)


@pytest.mark.timeout(300)
def test_the_lane_keeps_its_promises(redis: Redis) -> None:
    """No job is lost, none paid twice, none late, in any order of events."""
    bench = PackerBench(redis)

    class Machine(BatchLane):
        pass

    Machine.bench = bench
    try:
        run_state_machine_as_test(
            Machine,
            settings=settings(
                max_examples=25,
                stateful_step_count=20,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
    finally:
        bench.close()
