"""Sums that no number breaks, and money that no lost job takes along."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.exceptions import ResponseError

from tests.support.ledger import (
    LedgerDriver,
    completed,
    new_job,
    outcome_of,
    paid,
    unclear,
    unusable,
)
from visionq.ledger import Billing, BudgetScope, Ending, LedgerOptions
from visionq.ledger.spending import Settled, settled_in_month, unknown_calls
from visionq.names import BOOK, JOB, METRICS, MONEY, MONEY_OF_DAY, UNKNOWN_CALLS
from visionq.pricing.money import day_of, nano_rubles

if TYPE_CHECKING:
    from redis import Redis

    from visionq.ledger import Claim

BATCH = "b-1"
FULL = 2**63 - 1


def call(driver: LedgerDriver, reserve: int = 900) -> Claim:
    """A call of the batch that is out."""
    claim = driver.begin(new_job(batch_id=BATCH))
    driver.ledger.admit(claim, reserve=reserve)
    return claim


def sums(driver: LedgerDriver, account: str = "settled_rub") -> dict[str, int]:
    """Return what each book that the call is in says."""
    scopes = {"tenant": BudgetScope.tenant("default"), "batch": BudgetScope.batch(BATCH)}
    books = {
        name: nano_rubles(getattr(driver.ledger.book(scope), account))
        for name, scope in scopes.items()
    }
    return {**books, "all": driver.money().get(account.removesuffix("_rub"), 0)}


def everything(redis: Redis) -> dict[bytes, bytes | None]:
    return {key: redis.dump(key) for key in redis.scan_iter()}


def alike(amount: int) -> dict[str, int]:
    return dict.fromkeys(("tenant", "batch", "all"), amount)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    costs=st.lists(st.integers(0, 10**17 - 1) | st.just(10**17 - 1), min_size=1, max_size=4),
    before=st.sampled_from((0, 10**18, FULL - 10**17, FULL - 1, FULL)),
)
def test_no_sum_overflows(redis: Redis, costs: list[int], before: int) -> None:
    """With any earlier entries, each end is written whole, and the books agree."""
    redis.flushall()
    driver = LedgerDriver(redis)
    claims = [call(driver) for _ in costs]
    today = day_of(driver.clock.now, "Europe/Moscow")
    keys = [MONEY, MONEY_OF_DAY + today, BOOK + f"batch:{BATCH}", BOOK + "tenant:default"]
    keys += [f"{BOOK}tenant:default:{today}", f"{BOOK}tenant:default:{today[:7]}"]
    for key in keys:
        redis.hset(key, "settled", before)
    redis.hset(METRICS, "spent|default|m1", before)
    for claim, cost in zip(claims, costs, strict=True):
        assert driver.ledger.finish(claim, paid(completed(claim.id), cost))
        assert redis.hget(JOB + claim.id, "state") == b"completed"
    total = min(before + sum(costs), FULL)
    assert {int(redis.hget(key, "settled") or 0) for key in keys} == {total}
    assert int(redis.hget(METRICS, "spent|default|m1") or 0) == total
    assert sums(driver, "reserved_rub") == alike(0)


@pytest.mark.parametrize("cost", [10**17, 10**30, -1])
def test_what_is_refused_changes_nothing(driver: LedgerDriver, cost: int) -> None:
    """A number that can't be booked is refused before anything is written; the call stays out."""
    claim = call(driver)
    before = everything(driver.redis)
    with pytest.raises(ResponseError):
        driver.ledger.finish(claim, paid(completed(claim.id), cost))
    assert everything(driver.redis) == before
    assert driver.ledger.finish(claim, unclear(outcome_of("parked billing_unknown", claim.id)))
    assert sums(driver, "unknown_rub") == alike(900)


@pytest.mark.parametrize("reserve", [10**17, 10**30, -1])
def test_no_reserve_that_can_t_be_booked(driver: LedgerDriver, reserve: int) -> None:
    """A call whose worst case is no amount is not made."""
    claim = driver.begin(new_job(batch_id=BATCH))
    with pytest.raises(ResponseError):
        driver.ledger.admit(claim, reserve=reserve)
    assert driver.redis.hget(JOB + claim.id, "sent") is None
    assert driver.money() == {}


@pytest.mark.parametrize("billing", Billing)
def test_a_redis_that_refuses_half_way(driver: LedgerDriver, billing: Billing) -> None:
    """Whichever key a script can't write to, its money is written whole or not at all, and once."""
    outcomes = {Billing.SETTLED: "completed", Billing.RELEASED: "waiting 1"}
    keys = written_by_an_end(driver, billing, outcomes.get(billing, "parked billing_unknown"))
    assert {MONEY, BOOK + f"batch:{BATCH}", UNKNOWN_CALLS} <= keys or billing is not Billing.UNKNOWN
    for key in keys:
        driver.redis.flushall()
        claim = call(driver)
        outcome = outcome_of(outcomes.get(billing, "parked billing_unknown"), claim.id, "Yes", "q")
        ending = Ending(outcome, billing, 0 if billing is Billing.RELEASED else 700)
        with unusable(driver.redis, key):
            for _ in range(2):
                with suppress(ResponseError):
                    driver.ledger.finish(claim, ending)
        for account in ("reserved_rub", "settled_rub", "unknown_rub"):
            assert len(set(booked(driver, account).values())) == 1, (key, account)
        driver.ledger.finish(claim, ending)
        assert booked(driver, "reserved_rub") == alike(0) | {"day": 0}, key
        settled = 700 if billing is Billing.SETTLED else 0
        assert booked(driver, "settled_rub") == alike(settled) | {"day": settled}, key
        unknown = 900 if billing is Billing.UNKNOWN else 0
        assert booked(driver, "unknown_rub") == alike(unknown) | {"day": unknown}, key
        assert len(unknown_calls(driver.redis)) == bool(unknown), key


def written_by_an_end(driver: LedgerDriver, billing: Billing, kind: str) -> set[str]:
    """Return the keys that there are when a call is out, and after its end, but the job's."""
    claim = call(driver)
    keys = set(driver.redis.scan_iter())
    driver.ledger.finish(claim, Ending(outcome_of(kind, claim.id, "Yes", "q"), billing))
    keys |= set(driver.redis.scan_iter())
    return {key.decode() for key in keys} - {JOB + claim.id}


def booked(driver: LedgerDriver, account: str) -> dict[str, int]:
    """Return what the books say, that of the day among them."""
    today = day_of(driver.clock.now, "Europe/Moscow")
    of_day = driver.redis.hget(f"{BOOK}tenant:default:{today}", account.removesuffix("_rub"))
    return sums(driver, account) | {"day": int(of_day or 0)}


def test_a_reserve_that_redis_refuses(driver: LedgerDriver) -> None:
    """If one book can't be written, none reserves money, and no call is made."""
    today = day_of(driver.clock.now, "Europe/Moscow")
    for key in (MONEY, BOOK + f"batch:{BATCH}", f"{BOOK}tenant:default:{today}"):
        driver.redis.flushall()
        claim = driver.begin(new_job(batch_id=BATCH))
        with unusable(driver.redis, key), pytest.raises(ResponseError):
            driver.ledger.admit(claim, reserve=900)
        assert driver.redis.hget(JOB + claim.id, "sent") is None
        assert booked(driver, "reserved_rub") == alike(0) | {"day": 0}, key


def test_a_lapsed_call_whose_book_is_broken(driver: LedgerDriver) -> None:
    """A call whose money can't be moved waits for that, and keeps no other job from going on."""
    claim = call(driver)
    with unusable(driver.redis, BOOK + f"batch:{BATCH}"):
        (other,) = driver.enter(new_job(tenant="other"))
        driver.worker("w2")
        assert other in driver.pass_time(driver.options.lease + 6)
        assert driver.redis.hget(JOB + claim.id, "sent") == claim.token.encode()
    driver.pass_time(driver.options.lease + 3)
    assert booked(driver, "unknown_rub") == alike(900) | {"day": 900}


# Jobs that Redis has lost -------------------------------------------------------------------------


def test_a_paid_call_of_a_lost_job(driver: LedgerDriver) -> None:
    """The money of a call outlives its job: it is booked by tenant and batch, once."""
    claim = call(driver)
    driver.redis.flushall()
    for _ in range(3):  # the replies were lost
        assert not driver.ledger.finish(claim, paid(completed(claim.id), 700))
    assert sums(driver) == alike(700)
    today = day_of(driver.clock.now, "Europe/Moscow")
    assert nano_rubles(settled_in_month(driver.redis, today)) == 700
    assert driver.redis.hget(METRICS, "spent|default|m1") == b"700"
    assert driver.redis.ttl(BOOK + f"batch:{BATCH}") > 0


def test_an_unclear_call_of_a_lost_job(driver: LedgerDriver) -> None:
    """The possible cost of a lost job's call stays open, and can be settled."""
    claim = call(driver)
    driver.redis.flushall()
    ending = Ending(outcome_of("parked billing_unknown", claim.id), Billing.UNKNOWN, 900)
    for _ in range(3):
        assert not driver.ledger.finish(claim, ending)
    assert sums(driver, "unknown_rub") == alike(900)
    (known,) = unknown_calls(driver.redis)
    assert (known.tenant, known.batch_id) == ("default", BATCH)
    assert driver.ledger.settle_unknown([known], paid=True) == [Settled.SETTLED]
    assert sums(driver, "unknown_rub") == alike(0)
    assert sums(driver) == alike(900)


def test_an_unclear_call_that_lost_its_mark(driver: LedgerDriver) -> None:
    """Redis lost its last moments, the mark of the call among them: it stays open all the same."""
    claim = driver.begin(new_job(batch_id=BATCH))
    ending = Ending(outcome_of("parked billing_unknown", claim.id), Billing.UNKNOWN, 900)
    for _ in range(3):
        driver.ledger.finish(claim, ending)
    assert sums(driver, "unknown_rub") == alike(900)
    assert driver.redis.hget(JOB + claim.id, "unknown_calls") == b"1"


def test_a_free_call_of_a_lost_job(driver: LedgerDriver) -> None:
    """If nothing was paid, nothing is booked."""
    claim = call(driver)
    driver.redis.flushall()
    assert not driver.ledger.finish(claim, Ending(outcome_of("waiting 1", claim.id)))
    assert driver.money() == {}


def test_a_job_that_its_owner_has_written_down(driver: LedgerDriver) -> None:
    """An end that is reported again after its job was forgotten is not booked a second time."""
    claim = call(driver)
    assert driver.ledger.finish(claim, paid(completed(claim.id), 700))
    assert driver.ledger.forget([claim.id]) == 1
    assert not driver.ledger.finish(claim, paid(completed(claim.id), 700))
    assert sums(driver) == alike(700)


def test_a_job_that_expired_long_ago(redis: Redis) -> None:
    """A job that is gone because its time was over has had its money booked."""
    driver = LedgerDriver(redis, LedgerOptions(result_ttl=60))
    claim = call(driver)
    assert driver.ledger.finish(claim, paid(completed(claim.id), 700))
    redis.delete(JOB + claim.id)
    driver.clock.now += 61
    assert not driver.ledger.finish(claim, paid(completed(claim.id), 700))
    assert sums(driver) == alike(700)
