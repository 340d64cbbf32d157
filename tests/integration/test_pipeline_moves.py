"""A job is asked of its next model where the one before is away, refuses, or is not sure enough."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.pictures import picture
from tests.support.worker import Bench, result
from visionq.contract import State
from visionq.ledger import Failed, Held, Moved, Waiting
from visionq.ledger.metrics import read_cascade_saved
from visionq.pricing.money import nano_rubles
from worker.pipeline import steps
from worker.provider.provider_client import ask

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis import Redis

    from visionq.contract import ResultDocument
    from visionq.devstack.simulator import RunningSimulator

CHEAP, STRONG, OTHER = "gpt-6-luna", "gpt-6.1-terra", "gpt-5-mini"


def schema(confidence: float) -> dict[str, Any]:
    """Return the form of an answer that is as sure as this."""
    fields = {"what": {"type": "string"}, "confidence": {"enum": [confidence]}}
    return {"type": "object", "properties": fields, "required": [*fields]}


def cascade(sure_at: float | None, *models: str, **more: Any) -> dict[str, Any]:
    return {"models": models or (STRONG,), "sure_at": sure_at, **more}


@pytest.fixture
def bench(redis: Redis, running: RunningSimulator) -> Iterator[Bench]:
    running.configure(faults={}, faults_next=[], latency_s=0, models=None, denied_models=[])
    running.reset_bill()
    bench = Bench(redis, running)
    yield bench
    running.configure(models=None, denied_models=[])
    bench.close()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Return the requests that the provider got."""
    sent: list[dict[str, Any]] = []

    async def look(client: Any, request: Any, **options: Any) -> Any:
        sent.append(json.loads(options["body"].content))
        return await ask(client, request, **options)

    monkeypatch.setattr(steps, "ask_provider", look)
    return sent


def to_the_end(bench: Bench, job_id: str) -> ResultDocument:
    """Work on a job until it has its answer; its cost is what the simulator billed."""
    outcome = bench.run(job_id)
    while isinstance(outcome, Moved | Waiting):
        outcome = bench.run(job_id)
    answer = result(outcome)
    assert bench.is_booked()
    assert bench.money().keys() <= {"settled", "saved"}
    return answer


def test_sure_answer_is_taken(bench: Bench) -> None:
    """One call answers, and the result says what the strong model would have cost more."""
    fields = {"model": CHEAP, "cascade": cascade(0.4), "answer_schema": schema(0.5)}
    answer = to_the_end(bench, bench.submit(picture(1), **fields))
    assert (answer.model, answer.sureness, answer.steps) == (CHEAP, 0.5, ())
    assert answer.saved_rub is not None
    assert answer.saved_rub > answer.cost_rub
    assert read_cascade_saved(bench.redis) == nano_rubles(answer.saved_rub)
    assert bench.simulator.bill()["calls"] == 1


def test_unsure_answer_goes_on(bench: Bench, asked: list[dict[str, Any]]) -> None:
    """The strong model answers at its own defaults; the first answer and its cost are kept."""
    fields = {"model": CHEAP, "cascade": cascade(0.9), "answer_schema": schema(0.5)}
    job_id = bench.submit(picture(1), **fields)
    outcome = bench.run(job_id)
    assert isinstance(outcome, Moved)
    view = bench.view(job_id)
    assert (view.state, view.model) == (State.QUEUED, STRONG)
    first = Decimal(bench.simulator.bill()["rub"])
    answer = to_the_end(bench, job_id)
    (step,) = answer.steps
    assert (answer.model, answer.sureness) == (STRONG, 0.5)
    assert (step.model, step.reason, step.sureness, step.cost_rub) == (CHEAP, "unsure", 0.5, first)
    assert json.loads(step.text)["confidence"] == 0.5
    assert answer.cost_rub == Decimal(bench.simulator.bill()["rub"])
    assert answer.saved_rub == -first
    assert read_cascade_saved(bench.redis, "default") == -nano_rubles(first)
    assert [body["model"] for body in asked] == [CHEAP, STRONG]
    direct = bench.submit(picture(1), model=STRONG, answer_schema=schema(0.5))
    stored = to_the_end(bench, direct)
    assert (stored.cached, stored.steps) == (True, ()), "it is the question of the strong model"
    assert bench.money()["saved"] == nano_rubles(answer.cost_rub - first)


@pytest.mark.parametrize("fault", ["refusal", "incomplete", "wrong_form"])
def test_answer_of_no_use_goes_on(bench: Bench, fault: str) -> None:
    """Refused, cut off, and invalid after its repair: each is asked of the next model."""
    count = 2 if fault == "wrong_form" else 1
    bench.simulator.configure(faults_next=[fault] * count)
    fields = {"model": CHEAP, "cascade": cascade(0.1), "answer_schema": schema(0.5)}
    answer = to_the_end(bench, bench.submit(picture(1), **fields))
    code = {"refusal": "refused", "wrong_form": "invalid_output"}.get(fault, fault)
    assert [(step.model, step.reason) for step in answer.steps] == [(CHEAP, code)]
    assert answer.attempts == count + 1


def test_last_model_is_taken_as_it_is(bench: Bench) -> None:
    """With no threshold every model is asked; the last one's failure is the job's, all paid."""
    fields = {"model": CHEAP, "cascade": cascade(None), "answer_schema": schema(1.0)}
    assert to_the_end(bench, bench.submit(picture(1), **fields)).model == STRONG
    job_id = bench.submit(picture(2), **fields)
    assert isinstance(bench.run(job_id), Moved)
    bench.simulator.configure(faults_next=["refusal"])
    outcome = bench.run(job_id)
    assert isinstance(outcome, Failed)
    assert outcome.error.code == "refused"
    assert outcome.error.cost_rub == bench.view(job_id).cost_rub
    assert [step.model for step in bench.view(job_id).steps] == [CHEAP]
    assert bench.is_booked()


def test_two_that_agree_are_sure(bench: Bench) -> None:
    """With agreement the second of two cheap models decides whether the strong one is asked."""
    ladder = cascade(1, OTHER, STRONG, sureness="agreement")
    same = {"type": "object", "properties": {"n": {"enum": [1]}}, "required": ["n"]}
    fields = {"model": CHEAP, "cascade": ladder, "answer_schema": same}
    answer = to_the_end(bench, bench.submit(picture(1), **fields))
    assert (answer.model, answer.sureness) == (OTHER, 1)
    assert [step.sureness for step in answer.steps] == [None]


def test_stored_answers_are_judged(bench: Bench) -> None:
    """A second job of the same cascade pays for none of its steps."""
    fields = {"model": CHEAP, "cascade": cascade(0.9), "answer_schema": schema(0.5)}
    to_the_end(bench, bench.submit(picture(1), **fields))
    bench.simulator.reset_bill()
    job_id = bench.submit(picture(1), **fields)
    assert isinstance(bench.run(job_id), Moved)
    answer = result(bench.run(job_id))
    assert (answer.model, answer.cached, answer.cost_rub) == (STRONG, True, Decimal(0))
    assert [step.cost_rub for step in answer.steps] == [0]
    assert bench.simulator.bill()["calls"] == 0


def test_retired_model_is_left_for_free(bench: Bench) -> None:
    """A model that the provider does not know costs nothing; the fallback answers, by name."""
    bench.simulator.configure(models=[OTHER])
    answer = to_the_end(bench, bench.submit(picture(1), model=CHEAP, fallback=[STRONG, OTHER]))
    assert answer.model == OTHER
    assert [(step.model, step.reason) for step in answer.steps] == [
        (CHEAP, "model_not_found"),
        (STRONG, "model_not_found"),
    ]
    assert {step.cost_rub for step in answer.steps} == {Decimal(0)}
    assert answer.saved_rub is None


def test_denied_model_is_left_by_all(bench: Bench) -> None:
    """A held model's jobs go to their fallback from the lane, without another call."""
    bench.simulator.configure(denied_models=[CHEAP])
    first = bench.submit(picture(1), model=CHEAP, fallback=[OTHER])
    assert isinstance(bench.run(first), Held)
    second = bench.submit(picture(2), model=CHEAP, fallback=[OTHER])
    assert bench.ledger.fall_back() == 2
    answers = [to_the_end(bench, job_id) for job_id in (first, second)]
    assert {answer.model for answer in answers} == {OTHER}
    assert bench.simulator.bill()["calls"] == 3


def test_refused_picture_goes_to_the_fallback(bench: Bench) -> None:
    """The refusal was paid and stays in the books; the next model answers."""
    bench.simulator.configure(faults_next=["refusal"])
    answer = to_the_end(bench, bench.submit(picture(1), model=CHEAP, fallback=[OTHER]))
    (step,) = answer.steps
    assert (step.reason, answer.model) == ("refused", OTHER)
    assert 0 < step.cost_rub < answer.cost_rub


def test_silent_model_is_left_when_its_attempts_are_used(bench: Bench) -> None:
    """Each model has the attempts of its own; the second one's first failure ends nothing."""
    settings = bench.dependencies.settings.model_copy(update={"max_attempts": 2})
    bench.replaced(settings=settings)
    job_id = bench.submit(picture(1), model=CHEAP, fallback=[OTHER])
    bench.simulator.configure(faults_next=["500"])
    assert isinstance(bench.run(job_id), Waiting)
    bench.answer(picture(2), model=CHEAP)  # the provider is not out
    bench.simulator.configure(faults_next=["500", "500"])
    answer = to_the_end(bench, job_id)
    assert [(step.model, step.reason) for step in answer.steps] == [(CHEAP, "provider_unavailable")]
    assert answer.attempts == 4


def test_other_failures_stay(bench: Bench) -> None:
    """An empty balance is the key's, and an answer that was cut off is no refusal: no fallback."""
    bench.simulator.configure(faults_next=["incomplete"])
    assert bench.failure(picture(1), model=CHEAP, fallback=[OTHER]).code == "incomplete"
    bench.simulator.configure(faults_next=["402"])
    assert isinstance(bench.run(bench.submit(picture(2), model=CHEAP, fallback=[OTHER])), Held)
