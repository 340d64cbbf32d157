"""A worker's pipeline against a real Redis and the simulator: what comes of jobs."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from tests.support.pictures import picture
from tests.support.worker import Bench, result, served
from visionq import submission
from visionq.contract import DelayReason
from visionq.errors import InvalidJob
from visionq.ledger import Claim, Ending, Failed, Parked, Waiting, Written
from visionq.names import ANSWER, MISSING_MODEL
from visionq.pricing.money import nano_rubles
from worker.pipeline import run, steps
from worker.provider import answer as answer_module
from worker.provider.provider_client import ask
from worker.provider.schema import Mismatch
from worker.work import Stale

SCHEMA = {
    "type": "object",
    "properties": {"colour": {"type": "string"}},
    "required": ["colour"],
    "additionalProperties": False,
}
APIS = ["responses", "chat_completions"]


# Reuse --------------------------------------------------------------------------------------------


def test_the_same_question_is_paid_once(bench: Bench) -> None:
    """A stored answer is given again: cached, free, under the second job's own id and metadata."""
    first = bench.answer(picture(1), metadata={"n": "1"})
    second = bench.answer(picture(1), metadata={"n": "2"}, names=["b.png"], batch_id="b")
    assert bench.simulator.bill()["calls"] == 1
    assert (second.text, second.model, second.usage) == (first.text, first.model, first.usage)
    assert (first.cached, second.cached) == (False, True)
    assert first.cost_rub > second.cost_rub == 0
    assert first.id != second.id
    assert (second.metadata, second.batch_id) == ({"n": "2"}, "b")
    assert second.images[0].name == "b.png"
    assert bench.money()["settled"] == nano_rubles(Decimal(bench.simulator.bill()["rub"]))


def test_an_answer_of_a_newer_worker_is_reused(bench: Bench) -> None:
    """Fields that this release does not know are no reason to pay again."""
    bench.answer(picture(1))
    (key,) = bench.redis.scan_iter(f"{ANSWER}*")
    stored = json.loads(bench.redis.get(key) or b"")
    stored |= {"added_later": 1, "usage": {**stored["usage"], "added_later": 1}}
    bench.redis.set(key, json.dumps(stored))
    assert bench.answer(picture(1)).cached
    assert bench.simulator.bill()["calls"] == 1


def test_other_questions_are_asked(bench: Bench) -> None:
    """Another tenant, model or prompt is another question."""
    for fields in ({}, {"tenant": "other"}, {"prompt": "Where?"}, {"detail": "low"}):
        assert not bench.answer(picture(2), **fields).cached
    assert bench.simulator.bill()["calls"] == 4


def test_refresh_asks_and_stores(bench: Bench) -> None:
    """`refresh` asks again and leaves its answer for others; `off` neither takes nor leaves one."""
    assert not bench.answer(picture(3), reuse="off").cached
    assert list(bench.redis.scan_iter(f"{ANSWER}*")) == []
    assert not bench.answer(picture(3)).cached
    assert not bench.answer(picture(3), reuse="refresh").cached
    assert not bench.answer(picture(3), reuse="off").cached
    assert bench.answer(picture(3)).cached
    assert bench.simulator.bill()["calls"] == 4


def test_an_answer_that_comes_meanwhile(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that is stored while a job is on its way is taken at the last gate, unpaid."""
    first, second = bench.submit(picture(4)), bench.submit(picture(4))
    bench.hint(first)
    bench.hint(second)
    recalled = bench.ledger.cached_answer

    def answered_behind_my_back(key: str) -> str | None:
        found = recalled(key)
        monkeypatch.undo()
        result(bench.work(first))
        return found

    monkeypatch.setattr(bench.ledger, "cached_answer", answered_behind_my_back)
    assert result(bench.work(second)).cached
    assert bench.simulator.bill()["calls"] == 1
    assert "reserved" not in bench.money()


def test_an_answer_of_tomorrow_is_asked_again(bench: Bench) -> None:
    """A stored answer that this version can't read is no answer, and no reason to fail."""
    bench.answer(picture(5))
    (key,) = bench.redis.scan_iter(f"{ANSWER}*")
    stored = json.loads(bench.redis.get(key) or b"")
    bench.redis.set(key, json.dumps({**stored, "schema_version": 2, "mood": "sunny"}))
    assert not bench.answer(picture(5)).cached
    assert bench.simulator.bill()["calls"] == 2


def test_the_job_s_own_late_answer(bench: Bench) -> None:
    """An answer that was paid for the job itself and came late is its own: not cached, not free."""
    job_id = bench.submit(picture(6), metadata={"a": "b"})
    bench.hint(job_id)
    finish, late = bench.ledger.finish, {}

    def loses_the_lease(claim: Claim, ending: Ending) -> Written:
        bench.ledger.finish = finish  # type: ignore[method-assign]
        bench.redis.zadd("visionq:due", {job_id: 0})
        bench.ledger.dispatch()
        written = finish(claim, ending)
        late["fenced"] = not written
        return written

    bench.ledger.finish = loses_the_lease  # type: ignore[method-assign]
    assert bench.work(job_id) == Stale("taken over")
    assert late["fenced"]
    answer = result(bench.run(job_id))
    bill = bench.simulator.bill()
    assert bill["calls"] == 1
    assert (answer.id, answer.cached, answer.metadata) == (job_id, False, {"a": "b"})
    assert answer.cost_rub == Decimal(bill["rub"])
    assert bench.money() == {"settled": nano_rubles(Decimal(bill["rub"]))}


# Pictures -----------------------------------------------------------------------------------------


def test_the_worker_downloads(bench: Bench) -> None:
    """A picture by its address is fetched, checked, reported, and known again by its bytes."""
    with served({"/a.png": picture(7), "/b.png": picture(7)}) as address:
        first = bench.answer(f"{address}/a.png")
        second = bench.answer(f"{address}/b.png")
    (report,) = first.images
    assert report.name == f"{address}/a.png"
    assert report.source is not None
    assert (report.source.format, report.source.width, report.source.height) == ("png", 64, 48)
    assert report.sent is not None
    assert second.cached
    assert set(first.timings_ms) >= {"load", "check", "encode", "ask"}


def test_downloads_that_fail(bench: Bench) -> None:
    """A refused download names its picture, is free, and comes again only if that can help."""
    with served({"/text": b"no picture"}) as address:
        assert bench.failure(f"{address}/text").code == "not_an_image"
        missing = bench.failure(f"{address}/missing", names=["m.png"])
        assert (missing.code, missing.image) == ("download_failed", "m.png")
    private = bench.with_settings(allow_private_urls=False)
    assert private.failure(f"{address}/text").code == "unsafe_url"
    outcome = bench.run(bench.submit(f"{address}/gone"))
    assert isinstance(outcome, Waiting)
    assert (outcome.reason, outcome.counted) == ("download_failed", True)
    assert bench.simulator.bill()["calls"] == 0


def test_the_provider_fetches(bench: Bench) -> None:
    """With `pass` the address goes to the provider as it is; nothing is known of the picture."""
    with served({"/a.png": picture(8)}) as address:
        url = f"{address}/a.png"
        answers = [bench.answer(url, url_mode="pass") for _ in range(2)]
    for answer in answers:
        assert not answer.cached  # bytes that nobody saw can't be known again
        (report,) = answer.images
        assert (report.name, report.source, report.sent, report.sha256) == (url, None, None, None)
        assert report.forecast_tokens
    assert bench.simulator.bill()["calls"] == 2
    assert list(bench.redis.scan_iter(f"{ANSWER}*")) == []


@pytest.mark.parametrize("bad", [b"a text", picture(9)[:-20], b""], ids=["text", "cut", "empty"])
def test_one_bad_picture_of_three(bench: Bench, bad: bytes) -> None:
    """One bad picture fails the job and is named; nothing is called, reserved or paid."""
    pictures = [picture(9), bad, picture(10)]
    error = bench.failure(*pictures, names=["a.png", "b.png", "c.png"])
    assert error.image == "b.png"
    assert error.cost_rub == 0
    assert bench.simulator.bill()["calls"] == 0
    assert bench.money() == {}


def test_a_picture_without_a_name(bench: Bench) -> None:
    """A picture that nobody named is known by its place."""
    assert bench.failure(picture(9), b"a text").image == "image 2"


def test_two_pictures(bench: Bench) -> None:
    """Several pictures go in one call, and are reported in their order."""
    answer = bench.answer(picture(11), picture(12, (32, 16)), names=["a", "b"])
    assert "64x48" in answer.text
    assert "32x16" in answer.text
    assert [report.name for report in answer.images] == ["a", "b"]
    assert bench.simulator.bill()["calls"] == 1


def test_pictures_are_let_go(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the call is out nothing of its pictures is kept: their memory is for others."""
    kept: list[Any] = []

    async def look(client: Any, request: Any, *, body: Any, on_reply: Any) -> Any:
        def sent(reply: Any) -> None:
            attempt = attempts[0]
            kept.extend((one.content, one.checked) for one in attempt.pictures)
            kept.append((body.content, request.body, attempt.request.body))
            kept.append(attempt.reservation.held)
            on_reply(reply)

        assert attempts[0].reservation.held == body.size
        return await ask(client, request, body=body, on_reply=sent)

    attempts: list[Any] = []
    loaded = steps.load

    async def load(attempt: Any) -> None:
        attempts.append(attempt)
        await loaded(attempt)

    load.__name__ = "load"
    monkeypatch.setattr(run, "STEPS", (run.Step(load, 60), *run.STEPS[1:]))
    monkeypatch.setattr(steps, "ask_provider", look)
    answer = bench.answer(picture(13), picture(14))
    assert kept == [(None, None), (None, None), (b"", b"", b""), 0]
    assert all(report.source and report.sent for report in answer.images)


def test_original_where_there_is_none(bench: Bench) -> None:
    """`original` asks a model that does not know it for `high`, instead of being refused."""
    answer = bench.answer(picture(15), detail="original")
    high = bench.answer(picture(15), detail="high", reuse="off")
    assert answer.usage == high.usage


# Answers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("api", APIS)
def test_answers_of_a_form(bench: Bench, api: str) -> None:
    """An answer asked for by JSON Schema comes as text and as data, through both APIs."""
    answer = bench.answer(picture(16), api=api, answer_schema=SCHEMA)
    assert answer.api == api
    assert set(answer.data) == {"colour"}
    assert json.loads(answer.text) == answer.data
    again = bench.answer(picture(16), api=api, answer_schema=SCHEMA)
    assert (again.cached, again.data) == (True, answer.data)


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("fault", ["refusal", "incomplete"])
def test_paid_and_of_no_use(bench: Bench, api: str, fault: str) -> None:
    """A refusal or a cut answer fails with its cost and text, is billed once and not stored."""
    bench.simulator.configure(faults_next=[fault])
    error = bench.failure(picture(17), api=api)
    bill = bench.simulator.bill()
    assert error.code == {"refusal": "refused", "incomplete": "incomplete"}[fault]
    assert (bill["calls"], bill["billed"]) == (1, 1)
    assert error.cost_rub == Decimal(bill["rub"]) > 0
    assert error.text
    assert bench.money() == {"settled": nano_rubles(Decimal(bill["rub"]))}
    assert list(bench.redis.scan_iter(f"{ANSWER}*")) == []


def test_invalid_output(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer of another form than asked for fails with its cost and its text."""

    def refuse(_text: str, _schema: Any) -> Any:
        raise Mismatch("$: not so")

    monkeypatch.setattr(answer_module, "parse_answer", refuse)
    error = bench.failure(picture(18), answer_schema=SCHEMA, repair=False)
    assert error.code == "invalid_output"
    assert error.text
    assert error.cost_rub == Decimal(bench.simulator.bill()["rub"]) > 0


def test_data_too_deep_to_store(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A paid answer whose data no document can hold fails once, with its cost and its text."""
    monkeypatch.setattr(answer_module, "parse_answer", lambda *_: json.loads("[" * 300 + "]" * 300))
    error = bench.failure(picture(19), answer_schema=SCHEMA)
    assert error.code == "invalid_output"
    assert error.text
    assert error.cost_rub == Decimal(bench.simulator.bill()["rub"]) > 0
    assert bench.simulator.bill()["calls"] == 1


def test_an_unknown_model(bench: Bench) -> None:
    """A model that the provider does not have fails the job, free, with the model's name."""
    error = bench.failure(picture(20), model="no-such-model")
    assert error.code == "model_not_found"
    assert "no-such-model" in error.message
    assert error.cost_rub == 0
    assert bench.simulator.bill()["billed"] == 0
    assert bench.money() == {}


# Faults -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "reason", "counted"),
    [
        ("500", "provider_unavailable", True),
        ("503", "provider_unavailable", True),
        ("429", "rate_limited", False),
    ],
)
def test_free_faults(bench: Bench, fault: str, reason: str, *, counted: bool) -> None:
    """A free fault leaves no money behind, and the next attempt answers."""
    bench.simulator.configure(faults_next=[fault])
    job_id = bench.submit(picture(21))
    outcome = bench.run(job_id)
    assert isinstance(outcome, Waiting)
    assert (outcome.reason, outcome.counted) == (reason, counted)
    assert bench.money() == {}
    bench.redis.zadd("visionq:due", {job_id: 0})
    answer = result(bench.run(job_id))
    assert answer.attempts == (2 if counted else 1)
    assert bench.simulator.bill()["billed"] == 1


@pytest.mark.parametrize("fault", ["html_200", "broken_json", "cut_after_billing", "hang"])
def test_unknown_billing(bench: Bench, fault: str) -> None:
    """A call that brings no readable answer is repeated once, then waits for an outage to end."""
    bench = bench.with_settings(request_timeout=0.5)
    bench.simulator.configure(faults_next=[fault, fault])
    job_id = bench.submit(picture(22))
    outcome = bench.run(job_id)
    assert isinstance(outcome, Waiting), outcome
    assert outcome.reason == "billing_unknown"
    assert set(bench.money()) == {"unknown", "unknown_calls"}
    bench.redis.zadd("visionq:due", {job_id: 0})
    assert bench.run(job_id) == Parked(DelayReason.PROVIDER_UNAVAILABLE)
    assert bench.money()["unknown_calls"] == 2
    assert bench.view(job_id).reason == "provider_unavailable"
    assert bench.simulator.bill()["calls"] == 2


def test_a_deadline_that_passes_on_the_way(bench: Bench) -> None:
    """A job whose deadline passes before its call fails unpaid; one that was sent is answered."""
    past = datetime.now(UTC) + timedelta(seconds=0.3)
    job_id = bench.submit(picture(23), deadline=past)
    bench.hint(job_id)
    admit = bench.ledger.admit

    def late(*args: Any, **options: Any) -> Any:
        while datetime.now(UTC) <= past:
            pass
        return admit(*args, **options)

    bench.ledger.admit = late  # type: ignore[method-assign]
    outcome = bench.work(job_id)
    assert isinstance(outcome, Failed)
    assert outcome.error.code == "deadline_exceeded"
    assert bench.simulator.bill()["calls"] == 0


def test_cancelled_on_the_way(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that is cancelled before its call is not called, and its worker writes nothing."""
    job_id = bench.submit(picture(24))
    bench.hint(job_id)
    stored = bench.ledger.cached_answer

    def cancels(key: str) -> str | None:
        bench.ledger.cancel([job_id])
        return stored(key)

    monkeypatch.setattr(bench.ledger, "cached_answer", cancels)
    assert bench.work(job_id) == Stale("cancelled")
    assert bench.simulator.bill()["calls"] == 0
    assert bench.view(job_id).state == "cancelled"


def test_a_document_of_a_newer_version(bench: Bench) -> None:
    """A document that this version can't read is not failed: it stays for a worker that can."""
    job_id = bench.submit(picture(25))
    bench.redis.hset(f"visionq:job:{job_id}", "document", '{"schema_version": 2, "ask": "so"}')
    assert bench.run(job_id) == Stale("unreadable")
    assert not bench.view(job_id).state.is_terminal
    assert bench.simulator.bill()["calls"] == 0


def test_a_huge_document(bench: Bench) -> None:
    """A prompt of a million letters and fifty pictures are one call."""
    answer = bench.answer(*(picture(30 + n) for n in range(50)), prompt="ж" * 1_000_000)
    assert len(answer.images) == 50
    assert bench.simulator.bill()["calls"] == 1


# Models -------------------------------------------------------------------------------------------


def test_an_unknown_model_is_asked_for_twice_a_minute(bench: Bench) -> None:
    """A second job confirms that there is no such model; the others fail by that, with no call."""
    errors = [bench.failure(picture(40 + n), model="gpt-0") for n in range(3)]
    assert {error.code for error in errors} == {"model_not_found"}
    assert {error.cost_rub for error in errors} == {0}
    assert "nothing was sent" in errors[2].message
    assert bench.simulator.bill()["calls"] == 2
    assert not bench.answer(picture(40)).cached, "other models are none the worse"
    (key,) = bench.redis.scan_iter(f"{MISSING_MODEL}*")
    assert 0 < bench.redis.ttl(key) <= 60
    bench.redis.delete(key)
    assert "nothing was sent" not in bench.failure(picture(43), model="gpt-0").message
    assert bench.simulator.bill()["calls"] == 4


def test_further_fields_reach_the_provider(bench: Bench) -> None:
    """Tier, temperature and fields of the provider's own are sent, and taken by both APIs."""
    for api in APIS:
        fields = {"service_tier": "flex", "temperature": 0.5, "extra_body": {"top_p": 0.5}}
        answer = bench.answer(picture(50), api=api, **fields)
        assert answer.service_tier == "flex"
    assert bench.money() == {"settled": nano_rubles(Decimal(bench.simulator.bill()["rub"]))}
    error = bench.failure(picture(50), extra_body={"top_p": 7})
    assert error.code == "request_rejected"
    assert "top_p" in error.message


def test_the_tier_that_served_is_paid(bench: Bench) -> None:
    """A call is booked at the tier that the reply names: at the ordinary one where it was full."""
    ordinary = bench.answer(picture(51), prompt="1?")
    for tier, shown, factor in (("fast", "priority", 2), ("flex", "flex", Decimal("0.5"))):
        answer = bench.answer(picture(51), prompt="1?", service_tier=tier)
        assert (answer.service_tier, answer.cost_rub) == (shown, factor * ordinary.cost_rub)
        assert not answer.warnings
    bench.simulator.configure(full_tiers=["priority"])
    put_off = bench.answer(picture(51), prompt="1?", service_tier="priority")
    bench.simulator.configure(full_tiers=[])
    assert (put_off.service_tier, put_off.cost_rub) == ("default", ordinary.cost_rub)
    assert bench.money() == {"settled": nano_rubles(Decimal(bench.simulator.bill()["rub"]))}


def test_a_tier_without_a_price(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tier without a price is refused by name: on submission, else before anything is paid."""
    with pytest.raises(InvalidJob, match="service_tier: ultrafast has no price for "):
        bench.submit(picture(52), service_tier="ultrafast")
    monkeypatch.setattr(submission, "check_tier", lambda *_: None)  # by another table of prices
    error = bench.failure(picture(52), service_tier="ultrafast")
    assert error.code == "invalid_job"
    assert error.message.startswith("service_tier: ultrafast has no price for ")
    assert bench.simulator.bill()["calls"] == 0
