"""Many questions about one picture in one call, with a real Redis and the simulator."""

from __future__ import annotations

import asyncio
import time
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.support.pictures import picture
from tests.support.worker import Bench, result
from visionq.contract import DelayReason
from visionq.errors import RequestRejected
from visionq.ledger import BudgetScope, Completed, Waiting
from visionq.names import CELERY_RESULT, TOGETHER, TOGETHER_LEADER
from visionq.pricing.money import nano_rubles
from visionq.sdk.results import answer_in
from worker.pipeline import answers, steps, together
from worker.provider import combined_questions
from worker.work import work

if TYPE_CHECKING:
    from visionq.contract import ResultDocument

CARD: Final = {
    "type": "object",
    "properties": {"colour": {"$ref": "#/$defs/Name"}},
    "required": ["colour"],
    "additionalProperties": False,
    "$defs": {"Name": {"type": "string"}},
}
QUESTIONS: Final[list[dict[str, Any]]] = [
    {"prompt": "What is sold?", "answer_schema": CARD},
    {"prompt": "Is it new?"},
    {"prompt": "Describe it.", "max_output_tokens": 9000},
]


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody wait for jobs that are not there yet."""
    monkeypatch.setattr(together, "WINDOW", 0)


def submit(bench: Bench, number: int = 1, questions: Any = QUESTIONS, **fields: Any) -> list[str]:
    return [bench.submit(picture(number), together=True, **one, **fields) for one in questions]


def end_of(bench: Bench, job_id: str) -> ResultDocument:
    """Return the result of a job, which ends in the background."""
    settle(bench, job_id)
    meta: Any = bench.redis.get(f"{CELERY_RESULT}{job_id}")
    answer = answer_in(meta)
    assert answer is not None, bench.view(job_id)
    return answer


def settle(bench: Bench, *job_ids: str) -> list[tuple[str, str | None]]:
    """Wait until no worker has these jobs; return their states and reasons."""
    end = time.monotonic() + 5
    while len(bench.leases):
        assert time.monotonic() < end
        time.sleep(0.005)
    return [(view.state.value, view.reason) for view in map(bench.view, job_ids)]


def check_money(bench: Bench) -> None:
    """Compare the books of all, and those of the jobs, with the bill."""
    assert bench.is_booked()
    assert not bench.money().get("reserved", 0)
    for name in ("hinted", "pool-busy", "tenant-at-hand"):
        assert set(bench.redis.hvals(f"visionq:{name}")) <= {b"0"}, name


def test_one_call_answers_all(bench: Bench) -> None:
    """Each job gets its own answer and pays its share; the shares are the bill."""
    first, *others = submit(bench)
    found = [result(bench.run(first)), *(end_of(bench, one) for one in others)]
    bill = bench.simulator.bill()
    assert bill["calls"] == 1
    assert [one.questions for one in found] == [3, 3, 3]
    assert isinstance(found[0].data["colour"], str)
    assert [one.data for one in found[1:]] == [None, None]
    assert all(one.text for one in found)
    check_money(bench)
    assert sum(nano_rubles(one.cost_rub) for one in found) == bench.money()["settled"]
    assert found[2].cost_rub > found[1].cost_rub > 0
    assert bench.redis.hgetall("visionq:lane-sizes") == {}


def test_each_question_is_stored_by_itself(bench: Bench) -> None:
    """Answers are found again one by one: alone, and in another combination."""
    first, *others = submit(bench)
    bench.run(first)
    settle(bench, *others)
    alone = bench.answer(picture(1), **QUESTIONS[1])
    assert (alone.cached, alone.questions) == (True, 3)
    jobs = submit(bench, questions=[{"prompt": "New?"}, QUESTIONS[2], {"prompt": "Old?"}])
    bench.run(jobs[0])
    found = [end_of(bench, one) for one in jobs]
    assert [(one.cached, one.questions) for one in found] == [(False, 2), (True, 3), (False, 2)]
    assert bench.simulator.bill()["calls"] == 2
    check_money(bench)


def test_it_costs_less_than_single_calls(bench: Bench) -> None:
    """The picture is paid once: five questions together cost less than half of five calls."""
    questions = [{"prompt": f"Question {n}?", "detail": "high"} for n in range(5)]
    large = picture(3, (1024, 1024))
    single = sum(bench.answer(large, **one).usage.input_tokens for one in questions)
    jobs = [bench.submit(picture(4, (1024, 1024)), together=True, **one) for one in questions]
    bench.run(jobs[0])
    shared = sum(end_of(bench, one).usage.input_tokens for one in jobs)
    assert shared * 2 < single
    check_money(bench)


@pytest.mark.parametrize("wrong", [{"colour": 7}, None])
def test_only_the_invalid_part_is_asked_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, wrong: Any
) -> None:
    """A part of the wrong form is repaired, a missing one asked alone; the others are answered."""
    jobs = submit(bench)
    parse = vars(combined_questions)["parse_answer"]
    parsed: list[Any] = []

    def spoilt(text: str, schema: Any) -> Any:
        found = parse(text, schema)
        if not parsed:
            parsed.append(found)
            found = {**found, "q1": wrong}
        return found

    monkeypatch.setattr(combined_questions, "parse_answer", spoilt)
    bench.run(jobs[0])
    states = settle(bench, *jobs)
    assert [state for state, _ in states[1:]] == ["completed", "completed"]
    assert bench.simulator.bill()["calls"] == 1
    again = result(bench.run(jobs[0]))
    assert isinstance(again.data["colour"], str)
    assert again.repaired is (wrong is not None)
    assert bench.simulator.bill()["calls"] == 2
    check_money(bench)


def after_fault(bench: Bench, fault: str) -> tuple[list[str], set[str]]:
    """Ask three questions in a call that meets a fault; return the jobs and their states."""
    bench.simulator.configure(faults_next=[fault])
    jobs = submit(bench)
    bench.run(jobs[0])
    return jobs, {state for state, _ in settle(bench, *jobs)}


@pytest.mark.parametrize("fault", ["refusal", "incomplete", "wrong_form"])
def test_a_spoilt_answer_is_asked_alone(bench: Bench, fault: str) -> None:
    """After an answer of no use, each question is asked again, by itself."""
    jobs, _ = after_fault(bench, fault)
    found = [result(bench.run(one)) for one in jobs]
    assert [one.questions for one in found] == [1, 1, 1]
    assert bench.simulator.bill()["calls"] == 4
    check_money(bench)


@pytest.mark.parametrize("fault", ["429", "500", "402"])
def test_a_free_refusal_costs_nobody(bench: Bench, fault: str) -> None:
    """A refused call is nobody's: nothing is reserved any more, and no job is lost."""
    _, states = after_fault(bench, fault)
    assert states <= {"waiting", "queued", "parked"}
    assert not bench.money().get("settled", 0)
    check_money(bench)


def test_who_is_refused_for_another_question_is_asked_alone(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request that is refused for what it says fails nobody: each question is asked alone."""

    async def refuses(*_: Any, **__: Any) -> Any:
        raise RequestRejected("the prompt breaks a rule")

    jobs = submit(bench)
    with monkeypatch.context() as patch:
        patch.setattr(steps, "ask_provider", refuses)
        bench.run(jobs[0])
        settle(bench, *jobs)
    found = [result(bench.run(one)) for one in jobs]
    assert [one.questions for one in found] == [1, 1, 1]
    check_money(bench)


def test_answer_that_no_one_can_read_leaves_the_money_open(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault of our own after the call was paid releases nobody's reservation."""

    def fails(*_: Any) -> Any:
        raise RecursionError

    monkeypatch.setattr(together, "parts_of", fails)
    jobs = submit(bench, on_unknown_billing="hold")
    bench.run(jobs[0])
    assert settle(bench, *jobs) == [("parked", "billing_unknown")] * 3
    assert bench.money()["unknown_calls"] == 3


def test_one_part_that_fails_spoils_no_other(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault of our own with one answer leaves the others as they are."""
    true_answered = answers.answered

    def fails(attempt: Any, answer: Any) -> Any:
        if attempt.claim.id == jobs[1]:
            raise RecursionError
        return true_answered(attempt, answer)

    monkeypatch.setattr("worker.pipeline.together.answered", fails)
    jobs = submit(bench, on_unknown_billing="hold")
    bench.run(jobs[0])
    states = [state for state, _ in settle(bench, *jobs)]
    assert states == ["completed", "parked", "completed"]


def test_list_of_those_that_wait_expires_and_is_bounded(
    bench: Bench,
) -> None:
    """Jobs that are put back keep no list for ever, nor do those that nobody takes up."""
    first, second = submit(bench, questions=QUESTIONS[1:])
    (key,) = bench.redis.scan_iter(f"{TOGETHER}*")
    bench.redis.hset(f"visionq:job:{second}", "state", "in_progress")
    ledger = bench.dependencies.ledger
    found = bench.loop.run(ledger.gather(key.decode().removeprefix(TOGETHER), first, 15))
    assert (found, bench.redis.lrange(key, 0, -1)) == ((), [second.encode()])
    assert bench.redis.ttl(key) > 0
    bench.redis.rpush(key, *range(2000))
    submit(bench, questions=QUESTIONS[1:2])
    assert bench.redis.llen(key) == 1000


def test_unknown_billing_stays_unknown_for_all(bench: Bench) -> None:
    """A call without an answer may have been paid: each question's reservation stays open."""
    bench.simulator.configure(faults_next=["cut_after_billing"])
    jobs = submit(bench, on_unknown_billing="hold")
    bench.run(jobs[0])
    assert settle(bench, *jobs) == [("parked", "billing_unknown")] * 3
    money = bench.money()
    assert (money["unknown_calls"], money.get("settled", 0)) == (3, 0)
    assert money["unknown"] >= nano_rubles(Decimal(bench.simulator.bill()["rub"]))


def test_a_job_without_budget_stays_out(bench: Bench) -> None:
    """Each question is held against its own budget; the others are answered without it."""
    bench.ledger.set_budget(BudgetScope.batch("poor"), Decimal(0))
    first, second, third = (
        bench.submit(picture(1), together=True, batch_id=batch, **one)
        for one, batch in zip(QUESTIONS, (None, "poor", None), strict=True)
    )
    bench.run(first)
    states = settle(bench, first, second, third)
    assert states == [("completed", None), ("parked", "budget_exhausted"), ("completed", None)]
    assert end_of(bench, first).questions == 2
    check_money(bench)


def test_who_is_cancelled_is_not_asked(bench: Bench) -> None:
    """A cancelled job is in no call."""
    jobs = submit(bench)
    bench.ledger.cancel(jobs[1:2])
    bench.run(jobs[0])
    assert [state for state, _ in settle(bench, *jobs)] == ["completed", "cancelled", "completed"]
    assert end_of(bench, jobs[0]).questions == 2


def test_who_is_forgotten_is_not_asked(bench: Bench) -> None:
    """A job that ended and was removed while it was listed spoils no call."""
    jobs = submit(bench)
    bench.ledger.cancel(jobs[1:2])
    bench.ledger.forget(jobs[1:2])
    assert result(bench.run(jobs[0])).text
    assert bench.ledger.book(BudgetScope.tenant("default")).unknown_calls == 0


def test_the_same_question_twice_is_in_the_call_once(bench: Bench) -> None:
    """Two jobs that ask the same share an answer, not the call."""
    jobs = submit(bench, questions=[QUESTIONS[1], QUESTIONS[1], QUESTIONS[2]])
    bench.run(jobs[0])
    assert [state for state, _ in settle(bench, *jobs)] == ["completed", "waiting", "completed"]
    assert result(bench.run(jobs[1])).cached
    assert bench.simulator.bill()["calls"] == 1
    check_money(bench)


@pytest.mark.parametrize(
    "other", [{"detail": "low"}, {"model": "gpt-6.1-terra"}, {"tenant": "b"}, {"together": False}]
)
def test_other_calls_are_made_alone(bench: Bench, other: dict[str, Any]) -> None:
    """Only what is asked alike, and wants to, is asked together."""
    first = bench.submit(picture(1), **{"together": True, **QUESTIONS[1]})
    second = bench.submit(picture(1), **{"together": True, **QUESTIONS[2], **other})
    assert result(bench.run(first)).questions == 1
    assert result(bench.run(second)).questions == 1
    assert bench.simulator.bill()["calls"] == 2


def test_a_worker_that_dies_loses_nobody(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs of a call whose process is gone come back by themselves; their money stays open."""
    jobs = submit(bench)
    bench.hint(jobs[0])

    async def dies(*_: Any, **__: Any) -> Any:
        raise asyncio.CancelledError

    monkeypatch.setattr(steps, "ask_provider", dies)
    with pytest.raises(BaseException):  # noqa: B017, PT011  # as when the loop is abandoned
        bench.work(jobs[0])
    settle(bench, *jobs)
    monkeypatch.undo()
    assert {state for state, _ in settle(bench, *jobs)} <= {"in_progress", "waiting"}
    assert len(list(bench.redis.scan_iter(f"{TOGETHER}*"))) == 0


def test_jobs_at_work_at_once_meet(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of jobs that slots take up at the same moment, one leads and the others are taken up."""
    monkeypatch.setattr(together, "WINDOW", 0.5)
    jobs = submit(bench)
    for one in jobs:
        bench.hint(one)

    async def at_once() -> list[Any]:
        works = (work(one, bench.dependencies, bench.leases, bench.here) for one in jobs)
        return await asyncio.gather(*works)

    outcomes = bench.loop.run(at_once())
    (leader,) = (one for one in outcomes if isinstance(one, Completed))
    assert leader.result.questions == 3
    others = [one for one in outcomes if one is not leader]
    assert others == [Waiting(DelayReason.FOLLOWS, 2.0, counted=False)] * 2
    assert {state for state, _ in settle(bench, *jobs)} == {"completed"}
    assert bench.simulator.bill()["calls"] == 1
    check_money(bench)


def test_who_is_never_taken_up_is_asked_alone(bench: Bench) -> None:
    """A job whose leader is gone looks again a few times, and is then asked by itself."""
    first, second = submit(bench, questions=QUESTIONS[1:])
    key = next(bench.redis.scan_iter(f"{TOGETHER}*")).decode().removeprefix(TOGETHER)
    bench.redis.set(f"{TOGETHER_LEADER}{key}", first)
    for _ in range(3):
        assert bench.run(second) == Waiting(DelayReason.FOLLOWS, 2.0, counted=False)
        bench.redis.zadd("visionq:due", {second: 0})
    assert result(bench.run(second)).questions == 1
    assert bench.view(first).state.value == "queued"
