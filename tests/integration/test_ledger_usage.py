from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest

from tests.support.ledger import LedgerDriver, completed, new_job, paid
from tests.unit.test_usage import sums_of
from visionq.ledger import Billing, Ending, Verdict
from visionq.ledger.records import UsageNote
from visionq.ledger.usage import (
    ENOUGH,
    CalibrationReader,
    calibrate,
    question_of,
    read_calibrations,
    read_outputs,
)
from visionq.names import QUESTIONS, USAGE
from visionq.redis_connection import connect_multiplexed

if TYPE_CHECKING:
    from tests.unit.test_usage import Call

NOTE = UsageNote("m1", "high", "q1", pictures=255, texts=45, input=393, cached=100, output=20)


def finish(
    driver: LedgerDriver, note: UsageNote | None, billing: Billing = Billing.SETTLED
) -> None:
    claim = driver.begin(new_job())
    assert driver.ledger.admit(claim, reserve=900).verdict is Verdict.GO
    ending = Ending(completed(claim.id), billing, 700, note)
    assert driver.ledger.finish(claim, ending)
    assert driver.ledger.finish(claim, ending)  # the reply to the first call was lost
    driver.add_statistics(claim, ending)


def test_answers_are_added_up_once_each(driver: LedgerDriver) -> None:
    """The sums in Redis are those of the rule, also where a reply was lost."""
    calls: list[Call] = [(200 + 7 * n % 90, 40 + n % 9, 300 + 5 * n % 80, n, 9) for n in range(25)]
    for p, t, a, cached, output in calls:
        finish(driver, UsageNote("m:1", "low", "q", p, t, a, cached, output))
    (kind,) = read_calibrations(driver.redis)
    assert kind == "m:1:low"
    found, expected = read_calibrations(driver.redis)[kind], calibrate(sums_of(calls))
    assert found is not None
    assert expected is not None
    assert dataclasses.asdict(found) == pytest.approx(dataclasses.asdict(expected))
    assert found.answers == 25


def test_only_paid_calls_with_usage_teach(driver: LedgerDriver) -> None:
    """A released call, and one whose tokens nobody reported, leave no trace."""
    finish(driver, NOTE, Billing.RELEASED)
    finish(driver, None)
    assert read_calibrations(driver.redis) == {}


def test_a_late_answer_teaches_too(driver: LedgerDriver) -> None:
    """A call that was given up and answers after all was paid, and counts."""
    claim = driver.begin(new_job())
    driver.ledger.admit(claim, reserve=900)
    driver.lapse(claim)
    ending = dataclasses.replace(paid(completed(claim.id)), usage=NOTE)
    assert not driver.ledger.finish(claim, ending)
    driver.add_statistics(claim, ending)
    assert driver.redis.hget(USAGE + "m1:high", "answers") == b"1"


def test_lengths_of_answers_are_kept_by_question(driver: LedgerDriver) -> None:
    """They are reported from enough answers on; what was asked is distinguished by its words."""
    for _ in range(ENOUGH - 1):
        finish(driver, NOTE)
    assert read_outputs(driver.redis, ["q1"]) == {}
    finish(driver, NOTE)
    (output,) = read_outputs(driver.redis, ["q1", "q2"]).values()
    assert output.answers == ENOUGH
    assert output.mean == pytest.approx(20)
    first, second = new_job(prompt="a").document, new_job(prompt="b").document
    assert question_of(first) == question_of(new_job(prompt="a", detail="low").document)
    assert question_of(first) != question_of(second)
    thinking = new_job(prompt="a", effort="low").document
    assert question_of(first) != question_of(thinking)


async def test_efforts_are_learned_apart(driver: LedgerDriver, redis_url: str) -> None:
    """A model's count at one effort says nothing of the length of its answers at another."""
    for _ in range(ENOUGH):
        finish(driver, NOTE)
        finish(driver, dataclasses.replace(NOTE, effort="low", output=900))
    async with connect_multiplexed(redis_url, "visionq-test") as client:
        reader = CalibrationReader(client, lambda: 0.0)
        known = (await reader.of("m1", "high"), await reader.of("m1", "high", "low"))
        lengths = [one and one.output for one in known]
        assert lengths == [pytest.approx(20), pytest.approx(900)]
        assert await reader.of("m1", "high", "none") is None


async def test_the_least_count_of_a_question_is_kept(driver: LedgerDriver, redis_url: str) -> None:
    """It bounds what the question's texts count; calls with more texts say nothing of it."""
    now = [0.0]
    async with connect_multiplexed(redis_url, "visionq-test") as client:
        reader = CalibrationReader(client, lambda: now[0], rest=10)
        assert await reader.least_input("q1") is None
        for counted, plain in ((393, True), (380, True), (900, True), (200, False)):
            finish(driver, dataclasses.replace(NOTE, input=counted, plain=plain))
        assert await reader.least_input("q1") is None
        now[0] = 11
        assert await reader.least_input("q1") == 380
        assert await reader.least_input("q2") is None


def test_questions_are_bounded(driver: LedgerDriver) -> None:
    """The oldest goes when there are more than a thousand, with all that is known of it."""
    driver.redis.zadd(QUESTIONS, {f"old{number}": number for number in range(1000)})
    driver.redis.hset("visionq:question:old0", "answers", 1)
    finish(driver, NOTE)
    assert driver.redis.zcard(QUESTIONS) == 1000
    assert not driver.redis.exists("visionq:question:old0")
    assert 0 < driver.redis.ttl("visionq:question:q1") <= 90 * 86400


async def test_a_worker_asks_rarely(driver: LedgerDriver, redis_url: str) -> None:
    """Between two looks at Redis a reader answers every caller from memory."""
    now = [0.0]
    async with connect_multiplexed(redis_url, "visionq-test") as client:
        reader = CalibrationReader(client, lambda: now[0], rest=10)
        assert await reader.of("m1", "high") is None
        for _ in range(ENOUGH):
            finish(driver, NOTE)
        now[0] = 9
        assert await reader.of("m1", "high") is None
        now[0] = 11
        calibration = await reader.of("m1", "high")
        assert calibration is not None
        assert calibration.factor == pytest.approx(1.31)
        assert calibration.cached == pytest.approx(100 / 393)
