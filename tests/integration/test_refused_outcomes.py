"""Outcomes that Redis refuses to write: for any error there, no job is called twice."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from redis.exceptions import ResponseError

from tests.integration.test_absurd_numbers import Provider, serving
from tests.support.ledger import Clock, LedgerDriver, outcome_of, paid, unpaid, unusable
from tests.support.pictures import picture
from tests.support.worker import Bench
from tests.support.worker_ledger import WorkerLedger
from visionq.contract import State
from visionq.ledger import Verdict
from visionq.names import (
    BOOK,
    COUNTS,
    DUE,
    FINISHED,
    MONEY,
    POOL_BUSY,
    RATE_LIMIT,
    UNKNOWN_CALLS,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis import Redis

    from visionq.ledger import Claim

#: Where the end of a call is written: its books, what its worker holds, its state, the last list.
WRITTEN = (MONEY, f"{BOOK}tenant:default", POOL_BUSY, COUNTS, FINISHED)


class Refusing(WorkerLedger):
    """A ledger in whose Redis keys are of the wrong kind whenever an end is written."""

    broken: tuple[str, ...] = ()
    is_deadly = False

    def finish(self, *arguments: Any) -> Any:
        with unusable(self.redis, *self.broken):
            return super().finish(*arguments)

    def block(self, claim: Claim) -> None:
        if self.is_deadly:
            raise DiedError
        super().block(claim)


class DiedError(BaseException):
    """The worker is gone."""


@pytest.fixture
def provider() -> Iterator[Provider]:
    state = Provider(usage='{"input_tokens": 90, "output_tokens": 5}')
    with serving(state):
        yield state


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def bench(redis: Redis, provider: Provider, clock: Clock) -> Iterator[Bench]:
    bench = Bench(redis, provider)  # type: ignore[arg-type]  # it has the one address that is asked
    bench.ledger = Refusing(redis, bench.options, clock)
    yield bench
    bench.close()


def work_on(bench: Bench, clock: Clock, job_id: str) -> None:
    """Let time pass while a fleet of one takes up all that it is given."""
    for _ in range(20):
        clock.now += 3
        bench.ledger.renew(bench.here)
        if any(hint.id == job_id for hint in bench.ledger.dispatch().hints):
            with suppress(DiedError):
                bench.work(job_id)


@pytest.mark.parametrize("key", WRITTEN)
@pytest.mark.parametrize("also", [(), (UNKNOWN_CALLS,)])
def test_no_second_call(
    bench: Bench, clock: Clock, provider: Provider, key: str, also: tuple[str, ...]
) -> None:
    """A job whose end is refused in every form is not called again until a person says so."""
    job_id = bench.submit(picture(1), on_unknown_billing="retry", reuse="off")
    bench.ledger.broken = (key, *also)  # type: ignore[attr-defined]
    bench.run(job_id)
    assert provider.calls == 1
    bench.ledger.broken = ()  # type: ignore[attr-defined]
    work_on(bench, clock, job_id)
    assert provider.calls == 1
    view = bench.view(job_id)
    if view.state is State.PARKED:
        assert view.reason == "billing_unknown"
        assert bench.ledger.resume([job_id]) == ["resumed"]
        work_on(bench, clock, job_id)
        assert (bench.view(job_id).state, provider.calls) == (State.COMPLETED, 2)
    else:
        assert view.state in {State.COMPLETED, State.FAILED}


@pytest.mark.parametrize("key", [*WRITTEN, UNKNOWN_CALLS, RATE_LIMIT + "gpt-6-luna", DUE])
@pytest.mark.parametrize(("policy", "most"), [("hold", 1), ("retry", 2)])
def test_deaths_before_the_block(
    bench: Bench, clock: Clock, key: str, policy: str, most: int
) -> None:
    """Workers that die between a refused end and its block make no more calls than the policy."""
    bench.ledger.is_deadly = True  # type: ignore[attr-defined]
    bench.ledger.broken = (key,)  # type: ignore[attr-defined]
    job_id = bench.submit(picture(1), on_unknown_billing=policy, reuse="off")
    for _ in range(2):
        work_on(bench, clock, job_id)
    assert 1 <= bench.simulator.calls <= most  # type: ignore[attr-defined]
    assert bench.view(job_id).state is not State.IN_PROGRESS


def test_a_block_ends_with_its_own_call(redis: Redis) -> None:
    """Once the end of the same call can be written, the job goes on as that end says."""
    driver = LedgerDriver(redis)
    claim = driver.begin()
    assert driver.ledger.admit(claim).verdict is Verdict.GO
    driver.ledger.block(claim)
    assert driver.ledger.finish(claim, unpaid(outcome_of("retrying 0", claim.id)))
    assert driver.pass_time(3) == [claim.id]
    assert driver.ledger.admit(driver.claim(claim.id, driver.worker())).verdict is Verdict.GO


def test_a_late_repeat_lifts_no_block(redis: Redis) -> None:
    """A paid end that was refused half-way keeps its block, however late it is repeated."""
    driver = LedgerDriver(redis)
    claim = driver.begin()
    assert driver.ledger.admit(claim).verdict is Verdict.GO
    ending = paid(outcome_of("completed", claim.id, saved=1))
    with unusable(redis, COUNTS), pytest.raises(ResponseError):
        driver.ledger.finish(claim, ending)
    driver.ledger.block(claim)
    assert driver.live(400)[:1] == [claim.id]
    taken = driver.claim(claim.id, driver.worker())
    assert driver.ledger.finish(claim, ending)
    assert driver.ledger.admit(taken).verdict is Verdict.PARK
