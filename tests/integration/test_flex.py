"""The cheaper tier of online calls: used while time allows, given up where it is not served."""

from __future__ import annotations

import time
from decimal import Decimal
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.awaited import InThreads
from tests.support.ledger import Clock
from tests.support.packing import PackerBench
from tests.support.pictures import picture
from tests.support.worker import Bench, result
from visionq.contract import Api, DelayReason, State
from visionq.errors import RateLimited, RequestRejected
from visionq.ledger import Claim, Waiting
from visionq.ledger.metrics import CALL_SECONDS, FLEX_CALL_SECONDS, read_counters
from visionq.ledger.provider_batches import BatchSupport, read_support, reroute, write_support
from visionq.pricing.flex import FLEX
from visionq.pricing.money import nano_rubles
from worker.pipeline.cheaper_tier import FlexVerdicts, judged

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis import Redis

MODEL = "gpt-6-luna"
HOUR = 3600.0
NO_BATCHES = BatchSupport(works=False, reason="no pictures", since=10.0**10)


@pytest.fixture
def flex(bench: Bench) -> Bench:
    """A worker that may ask at the tier."""
    blocking: Any = InThreads(lambda: bench.redis)
    bench.replaced(flex=FlexVerdicts(blocking, "k1", time.time))
    return bench


def sent(bench: Bench, number: int, by: str = "6h", **fields: Any) -> str:
    """Submit a job, and have it asked at the tier as the packer would."""
    job = bench.submit(picture(number), by=by, model=MODEL, **fields)
    assert bench.ledger.make(reroute([job], FLEX)) == 1
    return job


def verdict(bench: Bench) -> BatchSupport:
    return read_support(bench.redis, "k1", MODEL, FLEX)


def bill(bench: Bench) -> int:
    return nano_rubles(Decimal(bench.simulator.bill()["rub"]))


@pytest.mark.parametrize("api", list(Api))
def test_what_can_wait_is_asked_at_the_cheaper_tier(flex: Bench, api: Api) -> None:
    """It costs what its row says, books and bill agree, and it is known that it works."""
    ordinary = flex.answer(picture(1), model=MODEL, prompt="1?", api=api)
    answer = result(flex.run(sent(flex, 1, prompt="1?", api=api, reuse="off")))
    assert (answer.service_tier, answer.cost_rub) == ("flex", ordinary.cost_rub / 2)
    assert flex.money() == {"settled": bill(flex)}
    assert verdict(flex).works


def test_slow_calls_at_the_tier_are_counted_apart(flex: Bench) -> None:
    """Flex calls must not make the online lane look slow, or jobs would leave batches too early."""
    flex.run(sent(flex, 8))
    flex.dependencies.statistics.flush()
    counters = read_counters(flex.redis)
    assert counters.sizes(CALL_SECONDS) == {}
    assert [sum(counts) for counts, _ in counters.sizes(FLEX_CALL_SECONDS).values()] == [1]


def test_a_moment_that_is_near_is_asked_at_the_ordinary_tier(flex: Bench) -> None:
    """A slow call must not cost the time in which the ordinary one could still be made."""
    job = sent(flex, 2, by="2h")
    flex.hint(job)
    claim = flex.ledger.claim(job, "t", flex.here)
    assert isinstance(claim, Claim)
    assert claim.tier == FLEX
    late = sent(flex, 3, by="90m", deadline=time_from_now(600))
    assert result(flex.run(late)).service_tier == "default"
    assert verdict(flex).works is None


def time_from_now(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + seconds))


def test_a_slow_call_at_the_tier_is_waited_for(flex: Bench) -> None:
    """Wait longer at flex than for any other call, whose answer would count as lost by then."""
    impatient = flex.with_settings(request_timeout=0.5)
    try:
        impatient.replaced(flex=flex.dependencies.flex)
        flex.simulator.configure(latency_s=1.5)
        assert result(impatient.run(sent(impatient, 9))).service_tier == "flex"
    finally:
        flex.simulator.configure(latency_s=0)


def test_no_room_at_the_tier_holds_nobody_up(flex: Bench) -> None:
    """A refusal for lack of room is waited for, burns no attempt, and slows no other call."""
    flex.simulator.configure(refused_tiers=["flex"])
    job = sent(flex, 4)
    outcome = flex.run(job)
    assert isinstance(outcome, Waiting)
    assert (outcome.reason, outcome.counted) == (DelayReason.RATE_LIMITED, False)
    assert flex.answer(picture(5), model=MODEL).service_tier == "default"
    flex.simulator.configure(refused_tiers=[])
    assert result(flex.run(job)).service_tier == "flex"
    assert flex.money() == {"settled": bill(flex)}


def test_a_seller_that_does_not_pass_it_on_is_found_out(flex: Bench) -> None:
    """Pay the tier that served the call; ask nothing more at flex where that is another."""
    flex.simulator.configure(full_tiers=["flex"])
    assert result(flex.run(sent(flex, 6))).service_tier == "default"
    assert flex.money() == {"settled": bill(flex)}
    assert (verdict(flex).works, verdict(flex).reason) == (False, "calls are served at default")
    flex.simulator.configure(full_tiers=[])
    assert result(flex.run(sent(flex, 7))).service_tier == "default"


async def test_a_seller_that_refuses_the_tier_fails_no_job(redis: Redis) -> None:
    """Its refusal is remembered, and the job asked again; other refusals stay what they are."""
    blocking: Any = InThreads(lambda: redis)
    clock = Clock()
    verdicts = FlexVerdicts(blocking, "k1", clock)
    dependencies = SimpleNamespace(flex=verdicts)
    attempt: Any = SimpleNamespace(dependencies=dependencies, cheaper_tier=FLEX, model=MODEL)

    async def refused(message: str) -> Any:
        raise RequestRejected(message)

    with pytest.raises(RequestRejected):
        await judged(attempt, refused("input: too long"))
    assert not await verdicts.is_refused(MODEL)
    for _ in range(2):  # the verdict lapses after a day, and is found again
        clock.now += 25 * HOUR
        assert not await verdicts.is_refused(MODEL)
        with pytest.raises(RateLimited):
            await judged(attempt, refused("Invalid value: 'flex'. Supported values are: 'auto'."))
        assert await verdicts.is_refused(MODEL)


@pytest.fixture
def lane(redis: Redis) -> Iterator[PackerBench]:
    bench = PackerBench(redis)
    yield bench
    bench.close()


def tiers(bench: PackerBench, hints: Any) -> list[str]:
    worker = bench.online_worker()
    claims = [bench.ledger.claim(hint.id, hint.id, worker) for hint in hints]
    return [claim.tier for claim in claims if isinstance(claim, Claim)]


def test_without_batches_flex_is_half_the_price(lane: PackerBench) -> None:
    """Jobs go there as half of the slots become free; the rest waits, and goes online in time."""
    write_support(lane.redis, "k1", MODEL, Api.RESPONSES, NO_BATCHES)
    lane.online_worker()
    packer = lane.packer()
    jobs = [lane.submit(lane="auto", by=lane.moment(3 * HOUR)) for _ in range(10)]
    packer.run()
    assert tiers(lane, lane.ledger.dispatch().hints) == [FLEX] * 4
    packer.run()
    assert not lane.ledger.dispatch().hints
    lane.clock.now += 2.5 * HOUR
    lane.online_worker()
    packer.run()
    assert not lane.pass_time(3)
    lane.clock.now += 0.25 * HOUR
    lane.online_worker()
    packer.run()
    hints = [hint for hint in lane.ledger.dispatch().hints if hint.id in jobs]
    assert {tier for hint in hints for tier in tiers(lane, [hint])} == {""}
    assert len(hints) >= 4


def test_what_is_too_late_for_a_batch_is_in_time_for_flex(lane: PackerBench) -> None:
    """Of a model with batches, what could not be back in time goes to the cheaper tier first."""
    write_support(lane.redis, "k1", MODEL, Api.RESPONSES, BatchSupport(works=True))
    lane.online_worker()
    packer = lane.packer()
    job = lane.submit(lane="auto", by=lane.moment(HOUR + 300))
    packer.run()
    (hint,) = lane.ledger.dispatch().hints
    assert (hint.id, tiers(lane, [hint])) == (job, [FLEX])
    assert lane.provider.batches == {}


def test_where_flex_is_refused_everything_goes_online(lane: PackerBench) -> None:
    """A verdict holds for a day; then a few are tried again."""
    write_support(lane.redis, "k1", MODEL, Api.RESPONSES, NO_BATCHES)
    refused = BatchSupport(works=False, reason="served at default", since=lane.clock.now)
    write_support(lane.redis, "k1", MODEL, FLEX, refused)
    lane.online_worker()
    packer = lane.packer()
    for _ in range(6):
        lane.submit(lane="auto", by=lane.moment(40 * HOUR))
    packer.run()
    assert tiers(lane, lane.ledger.dispatch().hints) == [""] * 6
    lane.clock.now += 25 * HOUR
    later = lane.submit(lane="auto", by=lane.moment(10 * HOUR))
    lane.online_worker()
    packer.run()
    assert lane.view(later).state is State.QUEUED
    assert lane.redis.hget(f"visionq:job:{later}", "tier") == FLEX.encode()
