"""A packer whose provider, key or own process fails loses nothing, and hurries nobody."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.packing import MODEL, PackerBench, proven_bench
from visionq.contract import Api, DelayReason, State
from visionq.errors import (
    AccessDenied,
    BillingUnknown,
    InsufficientBalance,
    KeyRejected,
    ProviderUnavailable,
    VisionqError,
)
from visionq.ledger import GateOrder
from visionq.ledger.gates import read_gate
from visionq.ledger.provider_batches import (
    BatchState,
    BatchSupport,
    open_batches,
    read_support,
    stop,
    write_support,
)
from visionq.names import POOL_BUSY, PROVIDER_BATCH_LINES
from worker.provider.batches import BatchStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from redis import Redis

    from worker.packing import Packer

HOUR = 3600.0


@pytest.fixture
def bench(redis: Redis) -> Iterator[PackerBench]:
    with proven_bench(redis) as bench:
        yield bench


def live(bench: PackerBench, packer: Packer, seconds: float, step: float = 5) -> None:
    """Let time pass, the packer looking every few seconds."""
    end = bench.clock.now + seconds
    while bench.clock.now < end:
        bench.pass_time(step, step=step)
        packer.run()


def states(bench: PackerBench) -> list[BatchState]:
    return [one.state for one in open_batches(bench.redis)]


def failing(bench: PackerBench, name: str, error: Callable[[], Exception]) -> list[float]:
    """Have one call of the provider's fail; return the moments at which it is made."""
    moments: list[float] = []

    def call(*_: Any, **__: Any) -> Any:
        moments.append(bench.clock.now)
        raise error()

    setattr(bench.provider, name, call)
    return moments


def works_again(bench: PackerBench, name: str) -> None:
    delattr(bench.provider, name)


def out_of_order() -> Exception:
    return ProviderUnavailable("the provider is out")


class HeldUp:
    """A ledger to which the end of a line is written after its lease has lapsed."""

    def __init__(self, bench: PackerBench) -> None:
        self._bench = bench
        self._inner = bench.dependencies.ledger
        self.is_due = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def finish(self, *arguments: Any) -> Any:
        if self.is_due:
            self.is_due = False
            self._bench.pass_time(120)
        return await self._inner.finish(*arguments)


@pytest.mark.parametrize("answered", [2, 0])
def test_a_lease_that_lapses_as_lines_are_settled_loses_none(
    bench: PackerBench, answered: int
) -> None:
    """Redis was away for longer than the lease: the ends of the lines count all the same."""
    held_up: Any = HeldUp(bench)
    packer = bench.packer(dependencies=replace(bench.dependencies, ledger=held_up))
    jobs = [bench.submit() for _ in range(2)]
    batch_id = bench.pack(packer)
    bench.provider.answer(batch_id, answered)
    bench.provider.end(batch_id, BatchStatus.EXPIRED)
    held_up.is_due = True
    live(bench, packer, 60)
    assert not held_up.is_due
    for _ in range(3):
        live(bench, packer, 120, step=30)
        for one in bench.provider.batches:
            bench.provider.end(one)
    assert [bench.view(job).state for job in jobs] == [State.COMPLETED] * 2
    assert bench.money() == {"settled": bench.half_price(2)}
    busy: Any = bench.redis.hvals(POOL_BUSY)
    assert {int(one) for one in busy} <= {0}


@pytest.mark.parametrize("call", ["get", "lines"])
def test_a_look_that_fails_is_repeated_ever_more_rarely(bench: PackerBench, call: str) -> None:
    """A download that breaks off does not begin again every few seconds for a day."""
    packer = bench.packer()
    job = bench.submit()
    batch_id = bench.pack(packer)
    bench.provider.end(batch_id)
    moments = failing(bench, call, out_of_order)
    live(bench, packer, 4800, step=10)
    pauses = [later - earlier for earlier, later in pairwise(moments)]
    assert 10 < len(moments) < 100
    assert min(pauses) >= 10
    assert 290 <= pauses[-1] <= 310
    works_again(bench, call)
    live(bench, packer, 310)
    assert bench.view(job).state is State.COMPLETED


def test_a_batch_that_breaks_the_packer_keeps_no_other_waiting(bench: PackerBench) -> None:
    """Settle the next batch although one can't be read."""
    packer = bench.packer()
    broken = bench.submit()
    bench.pack(packer)
    (record,) = open_batches(bench.redis)
    redis: Any = bench.redis
    lines = PROVIDER_BATCH_LINES + record.id
    ((token, whole),) = redis.hgetall(lines).items()
    redis.hset(lines, token, json.dumps({"job": broken, "images": "unreadable"}))
    sound = bench.submit()
    bench.pack(packer)
    for batch_id in bench.provider.batches:
        bench.provider.end(batch_id)
    live(bench, packer, 60)
    assert bench.view(sound).state is State.COMPLETED
    redis.hset(lines, token, whole)
    live(bench, packer, 60)
    assert bench.view(broken).state is State.COMPLETED


def test_a_model_that_can_not_be_packed_keeps_no_other_waiting(bench: PackerBench) -> None:
    """An unforeseen error of one model's file leaves the other models to be packed."""
    other = "gpt-6-sol"
    write_support(bench.redis, "k1", other, Api.RESPONSES, BatchSupport(works=True))
    packer: Any = bench.packer()
    bench.submit()
    bench.submit()
    job = bench.submit(model=other)
    fill = packer._fill

    def full_disk(batch: Any, *arguments: Any) -> None:
        if batch.model == MODEL:
            raise OSError("no space left on device")
        fill(batch, *arguments)

    packer._fill = full_disk
    live(bench, packer, 20)
    assert bench.view(job).state is State.WAITING


# An operator gives up what does not come back -------------------------------------------------


def cancelled(bench: PackerBench) -> None:
    (record,) = open_batches(bench.redis)
    assert bench.ledger.make(stop(record.id))


def test_cancelling_gives_up_what_can_not_be_fetched(bench: PackerBench) -> None:
    """An operator gives up answers that can't be fetched: their lines are unknown."""
    packer = bench.packer()
    job = bench.submit(on_unknown_billing="hold")
    bench.provider.end(bench.pack(packer))
    failing(bench, "lines", out_of_order)
    live(bench, packer, HOUR)
    assert states(bench) == [BatchState.COLLECTING]
    cancelled(bench)
    live(bench, packer, 20)
    assert states(bench) == []
    assert (bench.view(job).state, bench.view(job).reason) == (State.PARKED, "billing_unknown")


def test_cancelling_gives_up_no_answer_that_can_be_fetched(bench: PackerBench) -> None:
    """`cancel` of a batch that has just ended, or ends by it, loses none of its answers."""
    packer = bench.packer()
    jobs = [bench.submit() for _ in range(2)]
    batch_id = bench.pack(packer)
    cancelled(bench)
    live(bench, packer, 10)
    assert bench.provider.batches[batch_id].shown.status is BatchStatus.CANCELLING
    bench.provider.answer(batch_id)
    bench.provider.end(batch_id, BatchStatus.CANCELLED)
    moments = failing(bench, "lines", out_of_order)
    live(bench, packer, 60)
    assert moments
    works_again(bench, "lines")
    cancelled(bench)
    live(bench, packer, 10)
    assert [bench.view(job).state for job in jobs] == [State.COMPLETED] * 2


def test_a_deadline_gives_up_no_answer(bench: PackerBench) -> None:
    """Answers that are paid are waited for, though they come too late for their deadline."""
    packer = bench.packer()
    bench.online_worker()
    job = bench.submit(lane="auto", by=bench.moment(5 * HOUR))
    bench.provider.end(bench.pack(packer))
    failing(bench, "lines", out_of_order)
    live(bench, packer, 6 * HOUR, step=60)
    assert states(bench) == [BatchState.COLLECTING]
    works_again(bench, "lines")
    live(bench, packer, 600, step=60)
    assert bench.view(job).state is State.COMPLETED
    assert bench.money() == {"settled": bench.half_price(1)}


def test_an_overdue_batch_that_is_not_ended_can_be_given_up(bench: PackerBench) -> None:
    """After its day, `cancel` stops a batch, and once more gives up what the provider keeps."""
    packer = bench.packer()
    job = bench.submit(on_unknown_billing="hold")
    bench.pack(packer)
    cancelled(bench)
    live(bench, packer, HOUR, step=60)
    cancelled(bench)  # too early: the provider may still end it
    live(bench, packer, 26 * HOUR, step=600)
    assert states(bench) == [BatchState.CANCELLING]
    cancelled(bench)
    live(bench, packer, 20)
    assert states(bench) == []
    assert bench.view(job).reason == "billing_unknown"


def test_a_stopped_batch_that_was_never_made_is_not_made(bench: PackerBench) -> None:
    """Of an unclear creation that no list shows, a stopped batch is given up, not made again."""
    packer = bench.packer()
    job = bench.submit()

    def lost(*_: Any, **__: Any) -> Any:
        raise BillingUnknown("no answer came")

    create = bench.provider.create
    bench.provider.create = lost  # type: ignore[method-assign]
    packer.run()
    packer.run()
    cancelled(bench)
    bench.provider.create = create  # type: ignore[method-assign]
    live(bench, packer, 320)
    assert bench.view(job).state in {State.QUEUED, State.WAITING}
    live(bench, packer, 320)
    assert len(bench.provider.batches) == 1
    assert bench.provider.bill == {}


# The key's gate -------------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["upload", "create"])
@pytest.mark.parametrize("error", [InsufficientBalance, KeyRejected])
def test_a_key_that_is_refused_closes_the_gate(
    bench: PackerBench, call: str, error: type[VisionqError]
) -> None:
    """402 and 401 at a file or a batch stop calls too; once the key works, the lane goes on."""
    packer = bench.packer()
    jobs = [bench.submit() for _ in range(5)]
    moments = failing(bench, call, lambda: error("the key"))
    bench.online_worker()
    live(bench, packer, 10)
    gate = read_gate(bench.redis)
    assert (gate.state, gate.reason) == ("closed", error.code)
    live(bench, packer, HOUR / 2)
    assert len(moments) < 40  # a trial a minute at most
    assert {bench.view(job).state for job in jobs} <= {State.QUEUED, State.WAITING}
    works_again(bench, call)
    for _ in range(40):
        live(bench, packer, 60, step=5)
        for batch_id in bench.provider.batches:
            bench.provider.end(batch_id)
    assert {bench.view(job).state for job in jobs} == {State.COMPLETED}
    assert read_gate(bench.redis).state != "closed"
    assert bench.money() == {"settled": bench.half_price(5)}
    assert set(bench.provider.bill.values()) == {1}


def test_a_batch_waits_while_the_gate_is_closed(bench: PackerBench) -> None:
    """A batch whose file is there is not created while an operator holds the key."""
    packer = bench.packer()
    bench.submit()
    failing(bench, "create", out_of_order)
    live(bench, packer, 10)
    bench.ledger.steer_gate("k1", GateOrder.CLOSE)
    works_again(bench, "create")
    live(bench, packer, 600, step=30)
    assert (states(bench), bench.provider.batches) == ([BatchState.CREATING], {})
    bench.ledger.steer_gate("k1", GateOrder.OPEN)
    live(bench, packer, 60)
    assert len(bench.provider.batches) == 1


def test_a_gate_that_reopens_takes_batches_in_steps(bench: PackerBench) -> None:
    """With nothing online, small batches are the trials: one line, then two, then four."""
    packer = bench.packer()
    bench.ledger.steer_gate("k1", GateOrder.CLOSE)
    for _ in range(10):
        bench.submit()
    live(bench, packer, 20)
    assert bench.provider.batches == {}
    bench.ledger.steer_gate("k1", GateOrder.REOPEN)
    live(bench, packer, 60)
    assert [len(one.lines) for one in bench.provider.batches.values()] == [1, 2, 4, 3]


def test_a_key_without_batches_goes_online(bench: PackerBench) -> None:
    """A 403 at a batch is no refusal of the key: the gate stays open, and jobs go online."""
    packer = bench.packer()
    write_support(bench.redis, "k1", MODEL, Api.RESPONSES, BatchSupport())
    bench.submit()
    failing(bench, "create", lambda: AccessDenied("not for this key"))
    live(bench, packer, 10)
    assert read_gate(bench.redis).state == "open"
    assert read_support(bench.redis, "k1", MODEL, Api.RESPONSES).works is False


def test_a_refused_first_line_leaves_no_file(bench: PackerBench) -> None:
    """The file of errors of a batch that was given up is deleted at the provider too."""
    write_support(bench.redis, "k1", MODEL, Api.RESPONSES, BatchSupport())
    packer = bench.packer()
    bench.submit()
    bench.provider.refuse_lines(bench.pack(packer))
    live(bench, packer, 30)
    assert read_support(bench.redis, "k1", MODEL, Api.RESPONSES).works is False
    assert bench.provider.stored_files == {}


# A long file ----------------------------------------------------------------------------------


def test_deadlines_are_kept_while_a_long_file_is_filled(bench: PackerBench) -> None:
    """Look after ended batches and urgent jobs before the last picture is packed."""
    packer: Any = bench.packer()
    bench.online_worker()
    ended = bench.submit()
    bench.provider.end(bench.pack(packer))
    for number in range(8):
        bench.submit(number)
    urgent = bench.submit(lane="auto", by=bench.moment(3 * HOUR), model="gpt-6-sol")
    seen: list[tuple[State, str | None]] = []
    take = packer._take

    def slowly(*arguments: Any) -> Any:
        bench.clock.now += 1200
        bench.online_worker()
        seen.append((bench.view(ended).state, bench.view(urgent).reason))
        return take(*arguments)

    packer._take = slowly
    packer.run()
    packer.run()
    assert (State.COMPLETED, DelayReason.BATCH) in seen
    assert seen[-1] == (State.COMPLETED, None)


def test_a_batch_that_is_stopped_while_it_is_filled_is_never_sent(bench: PackerBench) -> None:
    """Its lines go back: nothing was uploaded, and nothing paid."""
    packer: Any = bench.packer()
    job = bench.submit()
    bench.submit()
    take = packer._take

    def stopped(*arguments: Any) -> Any:
        for record in open_batches(bench.redis):
            bench.ledger.make(stop(record.id))
        return take(*arguments)

    packer._take = stopped
    packer.run()
    packer.run()
    assert bench.provider.batches == {}
    assert states(bench) == []
    assert bench.view(job).state in {State.WAITING, State.QUEUED}
