"""The packer against the simulator over HTTP: real files, real batches, the provider's own bill."""

from __future__ import annotations

import time
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Final

import pytest

from tests.support.packing import without_flex
from tests.support.pictures import picture
from tests.support.waiting import until
from visionq.contract import Api, Lane
from visionq.ledger.provider_batches import (
    BatchSupport,
    backlogs,
    done_batches,
    open_batches,
    read_support,
    write_support,
)
from visionq.names import LANE_SIZES, QUEUE_BATCH
from visionq.pricing.batch_lane import load_batch_table
from visionq.pricing.money import nano_rubles
from worker.packing import Packer, PackerParts, Patience
from worker.packing.leadership import Leadership
from worker.provider.batches import make_batch_api

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.worker import Bench

WORKS: Final = BatchSupport(works=True)
#: Everything a hundred times as fast.
SWIFT = Patience(gathering=0, listing=2, resting=0.5, batch=5, stopping=2, strays=1, looks=0.02)


@pytest.fixture
def packer(bench: Bench) -> Iterator[Packer]:
    api = make_batch_api(bench.settings)
    leadership = Leadership(bench.redis, "k1", lease=2)
    leadership.start()
    yield Packer(
        PackerParts(
            ledger=bench.ledger,
            dependencies=without_flex(bench.dependencies),
            run=bench.loop.run,
            leases=bench.leases,
            registration=replace(bench.here, slots=0, queues=(QUEUE_BATCH,), key="k1"),
            api=api,
            table=load_batch_table(None),
            leadership=leadership,
            clock=time.time,
            patience=SWIFT,
        )
    )
    leadership.stop()
    leadership.leave()
    api.close()


def run_until_done(bench: Bench, packer: Packer, jobs: list[str]) -> None:
    def done() -> bool:
        packer.run()
        bench.ledger.dispatch()
        return all(bench.view(job).state.is_terminal for job in jobs)

    until(done, 60)
    until(lambda: _is_idle(bench, packer), 10)


def _is_idle(bench: Bench, packer: Packer) -> bool:
    packer.run()
    return not open_batches(bench.redis)


def settle(bench: Bench, packer: Packer, count: int = 6) -> list[str]:
    """Have `count` jobs answered; returns the state of each."""
    jobs = [
        bench.submit(picture(number), lane=Lane.BATCH, priority="bulk") for number in range(count)
    ]
    run_until_done(bench, packer, jobs)
    return [bench.view(job).state.value for job in jobs]


def bill(bench: Bench) -> int:
    return nano_rubles(Decimal(bench.simulator.bill()["rub"]))


def test_pictures_go_through_the_batch_lane(bench: Bench, packer: Packer) -> None:
    """Jobs are answered through files and batches; books and bill agree, to the nano-ruble."""
    assert settle(bench, packer) == ["completed"] * 6
    assert [len(times) for times in bench.simulator.batch_lines().values()] == [1] * 6
    assert bench.money() == {"settled": bill(bench)}


@pytest.mark.parametrize(
    "fault",
    [
        "upload_lost",
        "create_lost",
        "download_cut",
        "validation_failure",
        "partial_expiry",
        "cancelled_finalizing",
        "lines_doubled",
        "lines_failed",
    ],
)
def test_faults_of_the_provider_change_nothing(bench: Bench, packer: Packer, fault: str) -> None:
    """Each fault leaves every job answered, and no line charged twice."""
    write_support(bench.redis, "k1", bench.settings.default_model, Api.RESPONSES, WORKS)
    bench.simulator.configure(
        batch_faults_next=[fault], batch_fault_share=0.5, batch_window_s=3, batch_list_lag_s=0.5
    )
    if fault == "validation_failure":
        jobs = [bench.submit(picture(number), lane=Lane.BATCH) for number in range(6)]
        bench.ledger.renew(bench.here)
        until(lambda: all_hinted(bench, packer, jobs), 30)
        return
    assert settle(bench, packer) == ["completed"] * 6
    lines = bench.simulator.batch_lines()
    assert sum(len(times) for times in lines.values()) == 6
    assert bench.money() == {"settled": bill(bench)}


@pytest.mark.parametrize("fault", ["lines_missing", "lines_timed_out"])
def test_what_nobody_knows_stays_unknown(bench: Bench, packer: Packer, fault: str) -> None:
    """Lines that were billed without an answer are asked again once, and their money is unknown."""
    write_support(bench.redis, "k1", bench.settings.default_model, Api.RESPONSES, WORKS)
    bench.simulator.configure(batch_faults_next=[fault], batch_fault_share=0.5)
    assert settle(bench, packer) == ["completed"] * 6
    money = bench.money()
    charged = sum(len(times) for times in bench.simulator.batch_lines().values())
    assert money["unknown_calls"] == charged - 6 > 0
    assert money["settled"] < bill(bench) <= money["settled"] + money["unknown"]


def all_hinted(bench: Bench, packer: Packer, jobs: list[str]) -> bool:
    packer.run()
    bench.ledger.dispatch()
    states = {bench.redis.hget(f"visionq:job:{job}", "state") for job in jobs}
    return states == {b"hinted"}


def test_pictures_that_lines_may_not_hold_go_online(bench: Bench, packer: Packer) -> None:
    """The first line shows it: its job and all others are asked online, and nothing was paid."""
    bench.simulator.configure(batch_duration_s=0, batch_pictures=False)
    for number in range(3):
        bench.submit(picture(number), lane=Lane.BATCH, priority="bulk")
    (backlog,) = backlogs(bench.redis)

    def is_known() -> bool:
        packer.run()
        return read_support(bench.redis, "k1", backlog.model, backlog.api).works is False

    until(is_known, 30)
    packer.run()
    bench.ledger.dispatch()  # what waited is back in its lane
    assert backlogs(bench.redis) == ()
    assert sum(int(jobs) for jobs in bench.redis.hgetall(LANE_SIZES).values()) == 3
    assert (bench.simulator.bill()["billed"], bench.money()) == (0, {})
    assert "Images are not supported" in (
        read_support(bench.redis, "k1", backlog.model, backlog.api).reason
    )


def test_the_providers_own_token_limit_is_kept_to(bench: Bench, packer: Packer) -> None:
    """A batch of too many tokens is refused as a whole; the next ones are as small as it says."""
    bench.simulator.configure(batch_duration_s=0)
    settle(bench, packer, 1)
    tokens = max(one.tokens for one in done_batches(bench.redis, 9))
    bench.simulator.configure(batch_enqueued_tokens=tokens * 3 // 2)
    assert settle(bench, packer, 6) == ["completed"] * 6
    sizes = [one.lines for one in done_batches(bench.redis, 9) if one.status == "completed"]
    assert max(sizes) == 1
    assert bench.money()["settled"] == bill(bench)
