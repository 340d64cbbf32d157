from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest

from tests.integration.ledger_kit import Desk, completed, new_job, paid
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

if TYPE_CHECKING:
    from redis import Redis

    from tests.unit.test_usage import Call

NOTE = UsageNote("m1", "high", "q1", pictures=255, texts=45, input=393, cached=100, output=20)


@pytest.fixture
def desk(redis: Redis) -> Desk:
    return Desk(redis)


def finish(desk: Desk, note: UsageNote | None, billing: Billing = Billing.SETTLED) -> None:
    claim = desk.begin(new_job())
    assert desk.ledger.admit(claim, reserve=900).verdict is Verdict.GO
    ending = Ending(completed(claim.id), billing, 700, note)
    assert desk.ledger.finish(claim, ending)
    assert desk.ledger.finish(claim, ending)  # the reply to the first call was lost


def test_answers_are_added_up_once_each(desk: Desk) -> None:
    """The sums in Redis are those of the rule, also where a reply was lost."""
    calls: list[Call] = [(200 + 7 * n % 90, 40 + n % 9, 300 + 5 * n % 80, n, 9) for n in range(25)]
    for p, t, a, cached, output in calls:
        finish(desk, UsageNote("m:1", "low", "q", p, t, a, cached, output))
    (kind,) = read_calibrations(desk.redis)
    assert kind == "m:1:low"
    found, expected = read_calibrations(desk.redis)[kind], calibrate(sums_of(calls))
    assert found is not None
    assert expected is not None
    assert dataclasses.asdict(found) == pytest.approx(dataclasses.asdict(expected))
    assert found.answers == 25


def test_only_paid_calls_with_usage_teach(desk: Desk) -> None:
    """A released call, and one whose tokens nobody told, leave no trace."""
    finish(desk, NOTE, Billing.RELEASED)
    finish(desk, None)
    assert read_calibrations(desk.redis) == {}


def test_a_late_answer_teaches_too(desk: Desk) -> None:
    """A call that was given up and answers after all was paid, and counts."""
    claim = desk.begin(new_job())
    desk.ledger.admit(claim, reserve=900)
    desk.lapse(claim)
    ending = dataclasses.replace(paid(completed(claim.id)), usage=NOTE)
    assert not desk.ledger.finish(claim, ending)
    assert desk.redis.hget(USAGE + "m1:high", "answers") == b"1"


def test_lengths_of_answers_are_kept_by_question(desk: Desk) -> None:
    """They are told from enough answers on; what was asked is told apart by its words."""
    for _ in range(ENOUGH - 1):
        finish(desk, NOTE)
    assert read_outputs(desk.redis, ["q1"]) == {}
    finish(desk, NOTE)
    (output,) = read_outputs(desk.redis, ["q1", "q2"]).values()
    assert output.answers == ENOUGH
    assert output.mean == pytest.approx(20)
    first, second = new_job(prompt="a").document, new_job(prompt="b").document
    assert question_of(first) == question_of(new_job(prompt="a", detail="low").document)
    assert question_of(first) != question_of(second)
    thinking = new_job(prompt="a", effort="low").document
    assert question_of(first) != question_of(thinking)


def test_efforts_are_learned_apart(desk: Desk) -> None:
    """What a model counts at one effort says nothing of the length of its answers at another."""
    for _ in range(ENOUGH):
        finish(desk, NOTE)
        finish(desk, dataclasses.replace(NOTE, effort="low", output=900))
    reader = CalibrationReader(desk.redis, lambda: 0.0)
    known = (reader.of("m1", "high"), reader.of("m1", "high", "low"))
    lengths = [one and one.output for one in known]
    assert lengths == [pytest.approx(20), pytest.approx(900)]
    assert reader.of("m1", "high", "none") is None


def test_the_least_count_of_a_question_is_kept(desk: Desk) -> None:
    """It bounds what the question's texts count; calls with more texts say nothing of it."""
    now = [0.0]
    reader = CalibrationReader(desk.redis, lambda: now[0], rest=10)
    assert reader.least_input("q1") is None
    for counted, plain in ((393, True), (380, True), (900, True), (200, False)):
        finish(desk, dataclasses.replace(NOTE, input=counted, plain=plain))
    assert reader.least_input("q1") is None
    now[0] = 11
    assert reader.least_input("q1") == 380
    assert reader.least_input("q2") is None


def test_questions_are_bounded(desk: Desk) -> None:
    """The oldest goes when there are more than a thousand, with all that is known of it."""
    desk.redis.zadd(QUESTIONS, {f"old{number}": number for number in range(1000)})
    desk.redis.hset("visionq:question:old0", "answers", 1)
    finish(desk, NOTE)
    assert desk.redis.zcard(QUESTIONS) == 1000
    assert not desk.redis.exists("visionq:question:old0")
    assert 0 < desk.redis.ttl("visionq:question:q1") <= 90 * 86400


def test_a_worker_asks_rarely(desk: Desk) -> None:
    """Between two looks at Redis a reader answers from memory, whoever asks."""
    now = [0.0]
    reader = CalibrationReader(desk.redis, lambda: now[0], rest=10)
    assert reader.of("m1", "high") is None
    for _ in range(ENOUGH):
        finish(desk, NOTE)
    now[0] = 9
    assert reader.of("m1", "high") is None
    now[0] = 11
    calibration = reader.of("m1", "high")
    assert calibration is not None
    assert calibration.factor == pytest.approx(1.31)
    assert calibration.cached == pytest.approx(100 / 393)
