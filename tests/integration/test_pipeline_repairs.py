"""Answers that are not of the form asked for: repaired by one question that sends no picture."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.pictures import picture
from tests.support.worker import Bench, result
from visionq.contract import DelayReason, State
from visionq.ledger import Failed, Parked, Waiting
from visionq.names import LEADER
from visionq.pricing.money import nano_rubles
from worker.pipeline import steps
from worker.provider.provider_client import ask

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis import Redis

    from visionq.contract import ErrorDocument
    from visionq.devstack.simulator import RunningSimulator

SCHEMA = {
    "type": "object",
    "properties": {"цвет": {"type": "string", "maxLength": 200}, "note": {"type": "string"}},
    "required": ["цвет"],
}
APIS = ["responses", "chat_completions"]
PROMPT = "Какого цвета ёлка?"


@pytest.fixture
def bench(redis: Redis, running: RunningSimulator) -> Iterator[Bench]:
    running.configure(faults={}, faults_next=["wrong_form"], latency_s=0)
    running.reset_bill()
    bench = Bench(redis, running)
    yield bench
    bench.close()


@pytest.fixture
def bodies(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the requests that the provider got."""
    sent: list[str] = []

    async def look(client: Any, request: Any, **options: Any) -> Any:
        sent.append(options["body"].content.decode())
        return await ask(client, request, **options)

    monkeypatch.setattr(steps, "ask_provider", look)
    return sent


def begun(bench: Bench, *pictures: bytes, **fields: Any) -> str:
    """Submit a job whose first answer is of another form than asked for."""
    fields = {"answer_schema": SCHEMA, "prompt": PROMPT, **fields}
    job_id = bench.submit(*(pictures or (picture(1),)), **fields)
    outcome = bench.run(job_id)
    assert isinstance(outcome, Waiting), outcome
    assert (outcome.reason, outcome.delay) == ("repair", 0)
    return job_id


def failed(bench: Bench, job_id: str) -> ErrorDocument:
    outcome = bench.run(job_id)
    assert isinstance(outcome, Failed), outcome
    return outcome.error


@pytest.mark.parametrize("api", APIS)
def test_a_faulty_answer_is_mended(bench: Bench, bodies: list[str], api: str) -> None:
    """The second question has the faulty text and no picture; the result is whole, both paid."""
    job_id = begun(bench, picture(1), picture(2), names=["a.png", "b.png"], api=api)
    assert bench.view(job_id).reason == "repair"
    assert bench.view(job_id).cost_rub == Decimal(bench.simulator.bill()["rub"]) > 0
    answer = result(bench.run(job_id))
    bill = bench.simulator.bill()
    assert answer.repaired
    assert isinstance(answer.data["цвет"], str)
    assert answer.cost_rub == Decimal(bill["rub"])
    assert (bill["calls"], bill["billed"], answer.attempts) == (2, 2, 2)
    assert bench.money() == {"settled": nano_rubles(answer.cost_rub)}
    assert [(image.name, image.sent is not None) for image in answer.images] == [
        ("a.png", True),
        ("b.png", True),
    ]
    first, second = bodies
    assert first.count("data:image/") == 2
    assert "data:image/" not in second
    assert "Картинка 1: 64x48" in second
    assert json.loads(second)["model"] == json.loads(first)["model"]
    assert answer.usage.input_tokens > answer.images[0].forecast_tokens * 2  # type: ignore[operator]  # known here


@pytest.mark.parametrize("fault", ["wrong_form", "refusal", "incomplete"])
def test_a_second_fault_fails_with_the_first_text(bench: Bench, fault: str) -> None:
    """An answer that could not be repaired keeps the text first paid for, and tells both costs."""
    job_id = begun(bench)
    bench.simulator.configure(faults_next=[fault])
    error = failed(bench, job_id)
    bill = bench.simulator.bill()
    assert error.code == "invalid_output"
    assert "64x48" in (error.text or "")
    assert error.cost_rub == Decimal(bill["rub"])
    assert error.usage is not None
    assert (bill["calls"], bill["billed"]) == (2, 2)
    assert bench.view(job_id).cost_rub == error.cost_rub


def test_a_refused_second_question_costs_nothing_more(bench: Bench) -> None:
    """A failure before payment fails the job all the same, with the first text and cost."""
    job_id = begun(bench)
    dependencies = bench.dependencies
    bench.replaced(settings=dependencies.settings.model_copy(update={"max_attempts": 1}))
    bench.simulator.configure(faults_next=["500"])
    error = failed(bench, job_id)
    assert (error.code, bool(error.text)) == ("invalid_output", True)
    assert "provider_unavailable" in error.message
    assert error.cost_rub == Decimal(bench.simulator.bill()["rub"])


def test_every_rule_holds_for_the_second_question(bench: Bench, bodies: list[str]) -> None:
    """A limit, an outage and an empty balance are waited for, and no picture is sent again."""
    job_id = begun(bench)
    bench.simulator.configure(faults_next=["429", "500"])
    reasons = []
    for _ in range(2):
        outcome = bench.run(job_id)
        assert isinstance(outcome, Waiting)
        reasons.append(outcome.reason)
    assert reasons == ["rate_limited", "provider_unavailable"]
    assert result(bench.run(job_id)).repaired
    assert [("data:image/" in body) for body in bodies] == [True, False, False, False]
    assert bench.simulator.bill()["billed"] == 2


def test_unknown_billing_of_the_second_question(bench: Bench) -> None:
    """A second question that is cut may have been paid: under `hold` it parks, its text kept."""
    job_id = begun(bench, on_unknown_billing="hold")
    bench.simulator.configure(faults_next=["cut_after_billing"])
    assert bench.run(job_id) == Parked(DelayReason.BILLING_UNKNOWN)
    assert bench.money()["unknown_calls"] == 1
    assert b"64x48" in (bench.redis.hget(f"visionq:job:{job_id}", "faulty") or b"")


def test_a_worker_that_dies_before_mending(bench: Bench, bodies: list[str]) -> None:
    """The invalid answer outlives the worker that should repair it."""
    job_id = begun(bench)
    bench.hint(job_id)
    bench.ledger.claim(job_id, "dead", bench.here)
    bench.redis.zadd("visionq:due", {job_id: 0})
    assert result(bench.run(job_id)).repaired
    assert sum("data:image/" in body for body in bodies) == 1


def test_no_repair_where_none_is_wanted(bench: Bench) -> None:
    """With `repair` off the first faulty answer fails the job, with its text and cost."""
    error = bench.failure(picture(1), answer_schema=SCHEMA, repair=False)
    assert (error.code, bool(error.text)) == ("invalid_output", True)
    assert bench.simulator.bill()["calls"] == 1


@pytest.mark.parametrize("fault", ["refusal", "incomplete"])
def test_refusals_and_cut_answers_are_not_mended(bench: Bench, fault: str) -> None:
    """Only an answer of another form is repaired, never one that was declined or cut off."""
    bench.simulator.configure(faults_next=[fault])
    error = bench.failure(picture(1), answer_schema=SCHEMA)
    assert error.code in {"refused", "incomplete"}
    assert bench.simulator.bill()["calls"] == 1


def test_the_mended_answer_is_stored_for_others(bench: Bench) -> None:
    """The same question later finds the repaired answer, for nothing."""
    first = result(bench.run(begun(bench)))
    again = bench.answer(picture(1), prompt=PROMPT, answer_schema=SCHEMA)
    assert again.cached
    assert again.cost_rub == 0
    assert again.data == first.data
    assert bench.simulator.bill()["calls"] == 2


def test_followers_wait_for_the_mended_answer(bench: Bench) -> None:
    """While the lead's answer is repaired nobody else pays for the picture; then all have it."""
    fields = {"answer_schema": SCHEMA, "prompt": PROMPT}
    lead, *others = [bench.submit(picture(1), **fields) for _ in range(3)]
    for job_id in (lead, *others):
        bench.hint(job_id)
    early = bench.work(others[0])
    assert isinstance(early, Waiting), "one of them leads, and needs repair"
    assert early.reason == "repair"
    for job_id in (lead, others[1]):
        follows = bench.work(job_id)
        assert isinstance(follows, Waiting)
        assert follows.reason == "follows"
    assert result(bench.run(others[0])).repaired
    for job_id in (lead, others[1]):
        answer = result(bench.run(job_id))
        assert answer.cached
        assert answer.cost_rub == 0
    assert bench.simulator.bill()["calls"] == 2


def test_followers_of_a_lead_that_is_cancelled_before_it_mends(bench: Bench) -> None:
    """A lead that ends while its answer waits for repair wakes those who follow."""
    job_id = begun(bench)
    other = bench.submit(picture(1), answer_schema=SCHEMA, prompt=PROMPT)
    follows = bench.run(other)
    assert isinstance(follows, Waiting)
    assert follows.reason == "follows"
    bench.ledger.cancel([job_id])
    assert bench.view(job_id).state is State.CANCELLED
    assert not list(bench.redis.scan_iter(f"{LEADER}*"))
    assert not result(bench.run(other)).repaired


def test_a_deadline_is_for_the_first_call(bench: Bench) -> None:
    """A deadline that passes between the two questions loses no paid answer."""
    deadline = datetime.now(UTC) + timedelta(seconds=1.5)
    job_id = begun(bench, deadline=deadline)
    while datetime.now(UTC) < deadline:
        time.sleep(0.1)
    assert bench.ledger.dispatch().expired == ()
    assert result(bench.run(job_id)).repaired


def test_shared_answers_belong_to_who_asked(bench: Bench) -> None:
    """If tenants share answers the second pays nothing, and learns nothing of the first."""
    bench.simulator.configure(faults_next=[])
    shared = bench.with_settings(share_answers=True)
    first = shared.answer(picture(3), tenant="a", metadata={"secret": "a"}, names=["a.png"])
    second = shared.answer(picture(3), tenant="b", names=["b.png"])
    assert (first.tenant, second.tenant) == ("a", "b")
    assert second.cached
    assert second.cost_rub == 0
    assert second.text == first.text
    assert (second.metadata, second.request_id, second.images[0].name) == ({}, None, "b.png")
    assert not bench.answer(picture(3), tenant="c").cached, "by default nothing is shared"


@pytest.mark.parametrize("api", APIS)
def test_russian_stays_russian(bench: Bench, bodies: list[str], api: str) -> None:
    """A long prompt in Russian and its answer go both ways unescaped and unharmed."""
    bench.simulator.configure(faults_next=[])
    prompt = "Съешь ещё этих мягких французских булок — «да» 🥖. " * 2_000
    answer = bench.answer(picture(4), prompt=prompt, instructions="Отвечай по-русски.", api=api)
    assert prompt.strip() in bodies[0]
    assert "\\u0" not in bodies[0]
    assert answer.text.startswith("Картинка 1: 64x48, основной цвет")
    (key,) = bench.redis.scan_iter("visionq:answer:*")
    stored: Any = bench.redis.get(key)
    assert "Картинка 1" in stored.decode()
    assert prompt.encode() in (bench.redis.hget(f"visionq:job:{answer.id}", "document") or b"")
