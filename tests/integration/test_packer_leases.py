"""A packer that is held up while it settles lines loses nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.packing import PackerBench
from visionq.contract import Api, State
from visionq.ledger.provider_batches import BatchSupport, open_batches, write_support

if TYPE_CHECKING:
    from redis import Redis

MODEL = "gpt-6-luna"


class HeldUp:
    """A ledger whose first order to finish comes after the lease of the line has lapsed."""

    def __init__(self, bench: PackerBench) -> None:
        self._bench = bench
        self._inner = bench.dependencies.ledger
        self.is_due = True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def finish(self, *arguments: Any) -> Any:
        if self.is_due:
            self.is_due = False
            self._bench.pass_time(120)
        return await self._inner.finish(*arguments)


@pytest.mark.parametrize("answered", [2, 0])
def test_lines_whose_lease_lapses_while_they_are_settled(redis: Redis, answered: int) -> None:
    """Redis was away for longer than the lease: the ends of the lines count all the same."""
    from dataclasses import replace

    bench = PackerBench(redis)
    try:
        write_support(redis, "k1", MODEL, Api.RESPONSES, BatchSupport(works=True))
        held_up: Any = HeldUp(bench)
        packer = bench.packer(dependencies=replace(bench.dependencies, ledger=held_up))
        jobs = [bench.submit() for _ in range(2)]
        held_up.is_due = False
        packer.run()
        packer.run()
        held_up.is_due = True
        from worker.provider.batches import BatchStatus

        bench.provider.answer("batch_1", answered)
        bench.provider.end("batch_1", BatchStatus.EXPIRED)
        bench.pass_time(300, step=60)
        packer.run()
        print(held_up.is_due, [bench.view(job) for job in jobs], bench.redis.hgetall("visionq:job:" + jobs[0]), bench.redis.zrange("visionq:due",0,-1,withscores=True), open_batches(redis))
        assert open_batches(redis) == ()
        for _ in range(6):
            packer.run()
            bench.pass_time(60)
            for batch in bench.provider.batches:
                bench.provider.end(batch)
        assert [bench.view(job).state for job in jobs] == [State.COMPLETED] * 2
        assert bench.money() == {"settled": bench.half_price(2)}
    finally:
        bench.close()
