"""What the ledger promises in the batch lane: reuse, one asker, budgets, tenants, replay."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.packing import PackerBench, proven_bench
from visionq.contract import DelayReason, State
from visionq.ledger.budgets import BudgetScope
from visionq.ledger.provider_batches import open_batches
from visionq.ledger.replay import replay
from visionq.names import CELERY_RESULT, JOB
from visionq.pricing.batch_lane import load_batch_table
from visionq.pricing.money import rubles

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis import Redis

    from worker.packing import Packer


@pytest.fixture
def bench(redis: Redis) -> Iterator[PackerBench]:
    with proven_bench(redis) as bench:
        yield bench


def end(bench: PackerBench, packer: Packer, *jobs: str) -> None:
    """Let batches end and time pass until the jobs are answered."""
    for _ in range(10):
        for batch_id in bench.provider.batches:
            bench.provider.end(batch_id)
        bench.pass_time(60)
        packer.run()
        if all(bench.view(job).state is State.COMPLETED for job in jobs):
            return
    raise AssertionError([bench.view(job) for job in jobs])


def result(bench: PackerBench, job: str) -> Any:
    stored: Any = bench.redis.get(CELERY_RESULT + job)
    return json.loads(stored)["result"]


def test_an_answered_question_takes_no_line(bench: PackerBench) -> None:
    """Answer a question that was answered before from the store, regardless of its lane."""
    packer = bench.packer()
    first = bench.submit(1)
    end(bench, packer, first)
    again = bench.submit(1)
    bench.pack(packer)
    assert len(bench.provider.batches) == 1
    assert bench.view(again).state is State.COMPLETED
    found = result(bench, again)
    assert (found["cached"], found["text"]) == (True, bench.text(first))
    assert bench.money() == {"settled": bench.half_price(1), "saved": bench.half_price(1)}


def test_one_asks_for_all(bench: PackerBench) -> None:
    """Put one line for jobs that ask the same; its answer serves them all."""
    packer = bench.packer()
    jobs = [bench.submit(2) for _ in range(3)]
    batch_id = bench.pack(packer)
    assert len(bench.provider.batches[batch_id].lines) == 1
    reasons = sorted(str(bench.view(job).reason) for job in jobs)
    assert reasons == [DelayReason.BATCH, DelayReason.FOLLOWS, DelayReason.FOLLOWS]
    end(bench, packer, *jobs)
    assert list(bench.provider.bill.values()) == [1]
    assert bench.money()["settled"] == bench.half_price(1)


def test_a_budget_holds_in_the_lane(bench: PackerBench) -> None:
    """Reserve at the price of the batch; have what does not fit wait until there is room."""
    packer = bench.packer()
    probe = bench.submit(tenant="shop")
    bench.pack(packer)
    (record,) = open_batches(bench.redis)
    end(bench, packer, probe)
    room = bench.half_price(1) + record.reserved * 5 // 2
    bench.ledger.set_budget(BudgetScope.tenant("shop"), rubles(room))
    jobs = [bench.submit(tenant="shop") for _ in range(3)]
    batch_id = bench.pack(packer)
    assert len(bench.provider.batches[batch_id].lines) == 2
    assert DelayReason.BUDGET in {bench.view(job).reason for job in jobs}
    end(bench, packer, *jobs)
    assert bench.money() == {"settled": bench.half_price(4)}


def test_tenants_share_a_batch_in_turn(bench: PackerBench) -> None:
    """Take jobs of all tenants in turn, so that a large one keeps nobody out."""
    table = load_batch_table(None)
    few_lines = table.limits.model_copy(update={"lines": 4})
    packer = bench.packer(table=table.model_copy(update={"limits": few_lines, "enqueued": ()}))
    for _ in range(8):
        bench.submit(tenant="large")
    few = [bench.submit(tenant="small") for _ in range(2)]
    packer.run()
    (first,) = open_batches(bench.redis)
    assert first.lines == 4
    assert {bench.redis.hget(JOB + job, "line") for job in few} == {first.id.encode()}


def test_a_replay_is_a_new_job_of_the_same_lane(bench: PackerBench) -> None:
    """Replay a job that ended without an answer through the lane again."""
    packer = bench.packer()
    job = bench.submit()
    bench.ledger.cancel([job])
    ((_, entered),) = replay(bench.ledger, [job])
    assert not isinstance(entered, Exception)
    bench.pack(packer)
    end(bench, packer, entered.id)
    assert result(bench, entered.id)["service_tier"] == "batch"
    assert bench.money() == {"settled": bench.half_price(1)}
