"""The packer against a real ledger and a provider in memory."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from redis.exceptions import BusyLoadingError

from tests.support.packing import (
    MODEL,
    KilledError,
    Killer,
    PackerBench,
    mortal_packer,
    take_over,
    without_flex,
)
from visionq.contract import Api, DelayReason, State
from visionq.errors import BatchApiMissing, ProviderUnavailable
from visionq.ledger import GateOrder
from visionq.ledger.overview import overview
from visionq.ledger.provider_batches import (
    BatchState,
    BatchSupport,
    backlogs,
    open_batches,
    release_pictures,
    write_support,
)
from visionq.names import JOB, LANE_SIZES, PACKER_LEASE
from visionq.pricing.batch_lane import load_batch_table
from worker.packing.leadership import Leadership, LeadershipLostError
from worker.provider.batches import BatchStatus

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis import Redis

    from worker.packing import Packer


@pytest.fixture
def bench(redis: Redis) -> Iterator[PackerBench]:
    bench = PackerBench(redis)
    yield bench
    bench.close()


@pytest.fixture
def proven(bench: PackerBench) -> PackerBench:
    """A provider of whom it is known that it takes pictures in batches."""
    write_support(bench.redis, "k1", MODEL, Api.RESPONSES, BatchSupport(works=True))
    return bench


half_price = PackerBench.half_price


def test_jobs_are_answered_by_a_batch_at_half_the_price(proven: PackerBench) -> None:
    """Jobs of the batch lane wait for one batch, and are answered and paid by its lines."""
    packer = proven.packer()
    jobs = [proven.submit() for _ in range(5)]
    assert not proven.ledger.dispatch().hints
    batch_id = proven.pack(packer)
    assert list(proven.provider.batches) == [batch_id]
    (record,) = open_batches(proven.redis)
    assert (record.state, record.lines, record.batch_id) == (BatchState.OUT, 5, batch_id)
    view = proven.view(jobs[0])
    assert (view.state, view.reason) == (State.WAITING, DelayReason.BATCH)
    assert proven.money() == {"reserved": record.reserved}
    proven.provider.end(batch_id)
    proven.pass_time(600)
    packer.run()
    for job in jobs:
        assert proven.view(job).state is State.COMPLETED
        assert proven.text(job).startswith("answer ")
    assert proven.money() == {"settled": half_price(5)}
    assert open_batches(proven.redis) == ()
    assert proven.provider.stored_files == {}


def test_answers_of_a_batch_are_no_pace_of_the_online_lane(proven: PackerBench) -> None:
    """A batch whose lines are settled at once does not make the online lane look fast."""
    for _ in range(20):
        proven.submit()
    packer = proven.packer()
    come_to_an_end(proven, packer)
    page = overview(proven.redis)
    assert page.completed == page.rate.ended == 20
    assert page.pace_per_minute is None


def test_a_job_with_a_fallback_keeps_its_pictures(proven: PackerBench) -> None:
    """The fallback asks about them too, after a refusal that may have been paid."""
    jobs = [proven.submit() for _ in range(2)]
    proven.redis.hset(JOB + jobs[0], "fallback", "gpt-6.1-terra")
    proven.pack(proven.packer())
    assert proven.ledger.make(release_pictures(jobs)) == jobs[1:]


def come_to_an_end(bench: PackerBench, packer: Packer) -> None:
    """Let time pass until nothing is out and nothing waits."""
    for _ in range(40):
        packer.run()
        for batch_id in list(bench.provider.batches):
            bench.provider.end(batch_id)
        bench.pass_time(60)
        if not open_batches(bench.redis) and not backlogs(bench.redis):
            return
    raise AssertionError("it never ends")


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_packer_killed_anywhere_changes_neither_answers_nor_money(
    proven: PackerBench, *, after: bool
) -> None:
    """Killed before or after any of its steps: every job is answered, and each line paid once."""
    number = 0
    while True:
        number += 1
        proven.start_anew()
        write_support(proven.redis, "k1", MODEL, Api.RESPONSES, BatchSupport(works=True))
        jobs = [proven.submit() for _ in range(3)]
        killer = Killer(number, after=after)
        packer = mortal_packer(proven, killer)
        with suppress(KilledError):
            come_to_an_end(proven, packer)
        if not killer.fired:
            break
        come_to_an_end(proven, take_over(proven))
        states = {proven.view(job).state for job in jobs}
        assert states == {State.COMPLETED}, number
        assert set(proven.provider.bill.values()) == {1}, number
        assert len(proven.provider.bill) == 3, number
        assert proven.money() == {"settled": half_price(3)}, number
        assert proven.provider.stored_files == {}, number
    assert number > 20


def test_a_lost_answer_to_a_creation_makes_no_second_batch(proven: PackerBench) -> None:
    """Nobody knows whether the batch was made, and it is not listed at first: it is made once."""
    packer = proven.packer()
    jobs = [proven.submit() for _ in range(2)]
    proven.provider.faults.lose_creation_answer = 1
    proven.provider.faults.hide_newest = 1
    proven.pack(packer)
    proven.pass_time(200)
    packer.run()
    assert [one.state for one in open_batches(proven.redis)] == [BatchState.CREATING]
    proven.provider.faults.hide_newest = 0
    come_to_an_end(proven, packer)
    assert len(proven.provider.batches) == 1
    assert {proven.view(job).state for job in jobs} == {State.COMPLETED}


def test_a_refused_creation_forgets_no_unclear_one(proven: PackerBench) -> None:
    """A batch of an unclear creation is still looked for after the next one was refused."""
    packer = proven.packer()
    jobs = [proven.submit() for _ in range(2)]
    proven.provider.faults.lose_creation_answer = 1
    proven.provider.faults.hide_newest = 1
    proven.pack(packer)
    proven.provider.faults.refuse_creation = ProviderUnavailable("the provider is out")
    proven.pass_time(400)
    packer.run()
    assert proven.provider.faults.refuse_creation is None
    proven.provider.faults.hide_newest = 0
    come_to_an_end(proven, packer)
    assert len(proven.provider.batches) == 1
    assert {proven.view(job).state for job in jobs} == {State.COMPLETED}


def test_a_batch_that_turns_up_too_late_is_stopped(proven: PackerBench) -> None:
    """The list hid a batch for too long: the second one counts, the first is stopped."""
    packer = proven.packer()
    job = proven.submit()
    proven.provider.faults.lose_creation_answer = 1
    proven.provider.faults.hide_newest = 1
    proven.pack(packer)
    proven.pass_time(400)
    packer.run()
    proven.provider.faults.hide_newest = 0
    proven.pass_time(700)
    packer.run()
    statuses = [one.shown.status.value for one in proven.provider.batches.values()]
    assert statuses == ["cancelling", "in_progress"]
    notices: Any = proven.redis.xrange("visionq:notices")
    assert [one[b"state"] for _, one in notices] == [b"stray"]
    come_to_an_end(proven, packer)
    assert proven.view(job).state is State.COMPLETED


def test_priorities_hold_in_the_batch_lane(proven: PackerBench) -> None:
    """Interactive jobs are in the first of several batches; of ten lines, one is left to bulk."""
    limits = load_batch_table(None)
    table = limits.model_copy(
        update={"limits": limits.limits.model_copy(update={"lines": 12}), "enqueued": ()}
    )
    packer = proven.packer(table=table)
    bulk = [proven.submit(priority="bulk") for _ in range(20)]
    urgent = [proven.submit(priority="interactive") for _ in range(11)]
    packer.run()
    states = {job: proven.view(job).state for job in (*bulk, *urgent)}
    assert {states[job] for job in urgent} == {State.WAITING}
    assert [job for job in bulk if states[job] is State.WAITING] == bulk[:1]
    assert {proven.view(job).priority for job in urgent} == {"interactive"}
    assert proven.view(bulk[0]).priority == "bulk"


def test_cancelled_jobs_do_not_end_a_batch_early(proven: PackerBench) -> None:
    """Pack what waits behind many jobs that were cancelled in their lane."""
    packer = proven.packer()
    cancelled = [proven.submit() for _ in range(30)]
    jobs = [proven.submit() for _ in range(2)]
    proven.ledger.cancel(cancelled)
    packer.run()
    packer.run()
    assert [one.lines for one in open_batches(proven.redis)] == [len(jobs)]


def test_expired_lines_cost_nothing_and_go_into_the_next_batch(proven: PackerBench) -> None:
    """Of a batch that expires, what was answered is paid, and the rest is packed again."""
    packer = proven.packer()
    jobs = [proven.submit() for _ in range(4)]
    batch_id = proven.pack(packer)
    proven.provider.answer(batch_id, 3)
    proven.provider.end(batch_id, BatchStatus.EXPIRED)
    proven.pass_time(300)
    packer.run()
    assert proven.money() == {"settled": half_price(3)}
    assert sorted(proven.view(job).state.value for job in jobs)[:3] == ["completed"] * 3
    come_to_an_end(proven, packer)
    assert {proven.view(job).state for job in jobs} == {State.COMPLETED}
    assert proven.money() == {"settled": half_price(4)}


def test_a_line_in_no_file_stays_unknown(proven: PackerBench) -> None:
    """A line that the provider lost may have been paid: its money is unknown."""
    packer = proven.packer()
    job = proven.submit(on_unknown_billing="hold")
    batch_id = proven.pack(packer)
    (token,) = [line["custom_id"] for line in proven.provider.batches[batch_id].lines]
    proven.provider.faults.drop = {token}
    proven.provider.end(batch_id)
    proven.pass_time(300)
    packer.run()
    assert (proven.view(job).state, proven.view(job).reason) == (State.PARKED, "billing_unknown")
    assert set(proven.money()) == {"unknown", "unknown_calls"}


@pytest.mark.parametrize("lost", ["batches", "stored_files"])
def test_what_the_provider_forgets_is_given_up_after_a_day(proven: PackerBench, lost: str) -> None:
    """Hope for a batch, or the files of its answers, for a day; then its money is unknown."""
    packer = proven.packer()
    job = proven.submit(on_unknown_billing="hold")
    proven.provider.end(proven.pack(packer))
    getattr(proven.provider, lost).clear()
    for hours in (20, 7):
        assert proven.view(job).state is State.WAITING
        proven.pass_time(hours * 3600, step=600)
        packer.run()
    packer.run()
    assert (proven.view(job).state, proven.view(job).reason) == (State.PARKED, "billing_unknown")
    assert set(proven.money()) == {"unknown", "unknown_calls"}
    assert open_batches(proven.redis) == ()


def test_the_first_batch_is_one_line(bench: PackerBench) -> None:
    """Whether a model takes pictures in batches is found out by one of them."""
    packer = bench.packer()
    jobs = [bench.submit() for _ in range(3)]
    batch_id = bench.pack(packer)
    assert len(bench.provider.batches[batch_id].lines) == 1
    packer.run()
    assert len(bench.provider.batches) == 1
    come_to_an_end(bench, packer)
    assert [len(one.lines) for one in bench.provider.batches.values()] == [1, 2]
    assert {bench.view(job).state for job in jobs} == {State.COMPLETED}


def test_without_a_batch_api_everything_goes_online(bench: PackerBench) -> None:
    """A provider that has no Batch API is remembered; jobs are hinted to online workers."""
    bench.provider.faults.refuse_creation = BatchApiMissing("there is none here")
    packer = bench.packer(dependencies=without_flex(bench.dependencies))
    jobs = [bench.submit() for _ in range(3)]
    bench.pack(packer)
    bench.pass_time(10)
    packer.run()
    worker = bench.online_worker()
    hints = bench.ledger.dispatch().hints
    assert {hint.id for hint in hints} == set(jobs), worker
    assert {hint.queue for hint in hints} == {"visionq.bulk"}
    assert bench.money() == {}


def test_a_long_backlog_goes_online_whole(bench: PackerBench) -> None:
    """Send all that waits, in portions, also behind many jobs that were cancelled there."""
    refused = BatchSupport(works=False, since=bench.clock.now)
    write_support(bench.redis, "k1", MODEL, Api.RESPONSES, refused)
    jobs = [bench.submit(number % 3, prompt=f"{number}?") for number in range(1300)]
    for start in (0, 250, 500):
        bench.ledger.cancel(jobs[start : start + 250])
    bench.packer(dependencies=without_flex(bench.dependencies)).run()
    assert backlogs(bench.redis) == ()
    assert bench.redis.hgetall(LANE_SIZES) == {b"visionq.bulk:default:gpt-6-luna": b"550"}


def test_a_model_without_batches_goes_online_untried(bench: PackerBench) -> None:
    """Send models of which the seller has no batches online, without a trial."""
    packer = bench.packer()
    by, model = bench.moment(20 * 3600), "anthropic/claude-haiku-4-5"
    job = bench.submit(lane="auto", by=by, model=model)
    bench.online_worker()
    assert not bench.ledger.dispatch().hints
    packer.run()
    assert [hint.id for hint in bench.ledger.dispatch().hints] == [job]
    assert (bench.provider.batches, open_batches(bench.redis)) == ({}, ())


def test_a_line_costs_what_the_models_own_row_says(proven: PackerBench) -> None:
    """A model's row may have a batch price of its own, before the one of the table."""
    row = proven.dependencies.prices.for_model(MODEL)
    assert row is not None
    prices = proven.dependencies.prices.model_copy(
        update={"prices": (row.model_copy(update={"batch_factor": Decimal("0.25")}),)}
    )
    packer = proven.packer(dependencies=replace(proven.dependencies, prices=prices))
    proven.submit()
    proven.provider.end(proven.pack(packer))
    proven.pass_time(600)
    packer.run()
    assert proven.money() == {"settled": -(-half_price(1) // 2)}


def test_a_cancelled_job_keeps_the_cost_of_its_line(proven: PackerBench) -> None:
    """Cancelling a job whose line is out drops its answer's delivery, and keeps its cost."""
    packer = proven.packer()
    job = proven.submit()
    batch_id = proven.pack(packer)
    proven.ledger.cancel([job])
    assert proven.view(job).state is State.CANCELLED
    proven.provider.end(batch_id)
    proven.pass_time(300)
    packer.run()
    assert proven.view(job).state is State.CANCELLED
    assert proven.money() == {"settled": half_price(1)}
    assert open_batches(proven.redis) == ()


def test_half_the_price_or_no_answer(proven: PackerBench) -> None:
    """A deadline ends what no batch has answered by then, unpaid; nothing of it goes online."""
    proven.online_worker()
    packer = proven.packer()
    answered, expired = (proven.submit(deadline=proven.moment(3600)) for _ in range(2))
    batch_id = proven.pack(packer)
    proven.ledger.steer_gate("k1", GateOrder.CLOSE)
    never_taken = proven.submit(deadline=proven.moment(3600))
    proven.provider.answer(batch_id, 1)
    assert proven.pass_time(2 * 3600, step=300) == []
    proven.provider.end(batch_id, BatchStatus.EXPIRED)
    packer.run()
    proven.pass_time(60)
    views = [proven.view(job) for job in (answered, expired, never_taken)]
    assert [view.state for view in views] == [State.COMPLETED, State.FAILED, State.FAILED]
    assert [view.reason for view in views[1:]] == ["deadline_exceeded"] * 2
    assert proven.money() == {"settled": half_price(1)}


def test_a_batch_that_nobody_waits_for_is_stopped(proven: PackerBench) -> None:
    """When all jobs of a batch are cancelled, nothing more of it is answered or paid."""
    packer = proven.packer()
    jobs = [proven.submit() for _ in range(3)]
    batch_id = proven.pack(packer)
    proven.provider.answer(batch_id, 1)
    for cancelled, status in ((jobs[:2], BatchStatus.IN_PROGRESS), (jobs, BatchStatus.CANCELLING)):
        proven.ledger.cancel(cancelled)
        proven.pass_time(60)
        packer.run()
        assert proven.provider.batches[batch_id].shown.status is status
    proven.provider.end(batch_id, BatchStatus.CANCELLED)
    proven.pass_time(60)
    packer.run()
    assert proven.money() == {"settled": half_price(1)}
    assert open_batches(proven.redis) == ()


def test_a_closed_gate_stops_packing(proven: PackerBench) -> None:
    """While the key's gate is closed, nothing is prepared and no record is begun."""
    proven.ledger.steer_gate("k1", GateOrder.CLOSE)
    job = proven.submit()
    proven.pack(proven.packer())
    assert proven.view(job).state is State.QUEUED
    assert open_batches(proven.redis) == ()
    assert proven.provider.batches == {}


def test_an_answer_needed_soon_is_asked_for_online(bench: PackerBench) -> None:
    """`auto` with little time, or none given, goes into an online lane."""
    bench.online_worker()
    soon = bench.submit(lane="auto", by=bench.moment(600))
    now = bench.submit(lane="auto")
    assert {hint.id for hint in bench.ledger.dispatch().hints} == {soon, now}


def test_a_deadline_that_nears_brings_lines_back_online(proven: PackerBench) -> None:
    """A batch that can't be back in time is stopped, and the rest asked online: never both."""
    proven.online_worker()
    packer = proven.packer()
    jobs = [proven.submit(lane="auto", by=proven.moment(6 * 3600)) for _ in range(3)]
    assert not proven.ledger.dispatch().hints
    batch_id = proven.pack(packer)
    proven.provider.answer(batch_id, 1)
    seen: list[str] = []
    while proven.clock.now < proven.start + 6 * 3600:
        proven.pass_time(60)
        packer.run()
        if proven.provider.batches[batch_id].shown.status is BatchStatus.CANCELLING:
            proven.provider.end(batch_id, BatchStatus.CANCELLED)
        if seen := [job for job in jobs if proven.view(job).state is State.QUEUED]:
            break
    assert len(seen) == 2
    assert proven.clock.now < proven.start + 6 * 3600
    assert proven.money() == {"settled": half_price(1)}


def test_a_lease_outlives_a_break_of_redis(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lapsed lease that can't be taken at once is taken later: its thread goes on."""
    leadership = Leadership(redis, "k1", lease=0.5)
    take = leadership._lock.acquire
    errors = [BusyLoadingError("Redis is away")]

    def acquire() -> Any:
        if errors:
            raise errors.pop()
        return take()

    assert leadership.take()
    leadership.extend()
    monkeypatch.setattr(leadership._lock, "acquire", acquire)
    redis.delete(f"{PACKER_LEASE}k1")
    leadership.start()
    try:
        time.sleep(0.4)
        assert redis.exists(f"{PACKER_LEASE}k1")
    finally:
        leadership.stop()
        leadership.leave()


@pytest.mark.parametrize("other_has_it", [False, True])
def test_a_lease_that_lapsed_is_taken_again(redis: Redis, *, other_has_it: bool) -> None:
    """A packer that was held up goes on with its file, unless another has the lease by now."""
    leadership = Leadership(redis, "k1", lease=0.5)
    leadership.start()
    try:
        assert leadership.take()
        leadership.extend()
        if other_has_it:
            redis.set(f"{PACKER_LEASE}k1", "another's")
        else:
            redis.delete(f"{PACKER_LEASE}k1")
        time.sleep(0.4)
        if other_has_it:
            with pytest.raises(LeadershipLostError):
                leadership.extend()
        else:
            leadership.extend()
            assert redis.exists(f"{PACKER_LEASE}k1")
    finally:
        leadership.stop()
        leadership.leave()
