"""OpenAI's official Python client, unmodified, with the gateway as its `base_url`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import openai
import pytest
from pydantic import BaseModel

from producer.gateway.access import Scope
from producer.gateway.gateway_settings import GatewaySettings
from tests.support.constants import with_constants
from tests.support.gateway import Gateway, asked, running_gateway, said
from tests.support.pictures import data_url
from tests.support.waiting import until
from visionq.ledger.views import job_document

if TYPE_CHECKING:
    from openai import OpenAI

    from tests.support.fleet import Fleet

MODEL = "gpt-6-luna"


def test_background_response(client: OpenAI, fleet: Fleet) -> None:
    """A background response is queued at once, and completes with text, usage and metadata."""
    fleet.simulator.configure(latency_s=0.5)
    took = []
    for number in range(20, 30):
        question = asked(number)
        began = time.monotonic()
        response = client.responses.create(
            model=MODEL, input=question, background=True, metadata={"order": "17"}
        )
        took.append(time.monotonic() - began)
        assert response.status == "queued"
    # The first imports and connects; and the machine may have more to do than this.
    assert sorted(took)[2] < 0.1, took
    until(lambda: client.responses.retrieve(response.id).status == "completed", 20, "completed")
    done = client.responses.retrieve(response.id)
    assert "64x48" in done.output_text
    assert done.metadata == {"order": "17"}
    assert done.usage
    assert done.usage.total_tokens == done.usage.input_tokens + done.usage.output_tokens > 0
    assert done.model_extra is not None
    assert float(done.model_extra["visionq"]["cost_rub"]) > 0


def test_response_waits(client: OpenAI) -> None:
    """Without `background` the call returns the completed response."""
    response = client.responses.create(model=MODEL, input=asked(2), instructions="Be brief.")
    assert response.status == "completed"
    assert "64x48" in response.output_text
    assert response.instructions == "Be brief."


def test_typed_answer(client: OpenAI) -> None:
    """`responses.parse` brings an object of the class that was asked for."""

    class Seen(BaseModel):
        description: str

    response = client.responses.parse(model=MODEL, input=asked(3), text_format=Seen)
    assert isinstance(response.output_parsed, Seen)


def test_chat(client: OpenAI) -> None:
    """A completion about a picture in base64 comes with text, usage and a reason to end."""
    completion = client.chat.completions.create(model=MODEL, messages=said(4))
    (choice,) = completion.choices
    assert choice.message.content
    assert "64x48" in choice.message.content
    assert choice.finish_reason == "stop"
    assert completion.usage
    assert completion.usage.total_tokens > 0


def test_refusal_and_cut(client: OpenAI, fleet: Fleet) -> None:
    """A refusal and a cut-off answer come in OpenAI's own words for them, as they were paid."""
    fleet.simulator.configure(faults_next=["refusal", "incomplete"])
    refused = client.chat.completions.create(model=MODEL, messages=said(5))
    assert refused.choices[0].message.refusal
    response = client.responses.create(model=MODEL, input=asked(6))
    assert response.status == "incomplete"
    assert response.incomplete_details
    assert response.incomplete_details.reason == "max_output_tokens"


def test_cancel(client: OpenAI, fleet: Fleet) -> None:
    """A response that runs can be cancelled, and stays so."""
    fleet.simulator.configure(latency_s=3)
    response = client.responses.create(model=MODEL, input=asked(7), background=True)
    until(lambda: client.responses.retrieve(response.id).status == "in_progress", 10, "progress")
    assert client.responses.cancel(response.id).status == "cancelled"
    assert client.responses.retrieve(response.id).status == "cancelled"


def test_idempotency_key(client: OpenAI) -> None:
    """The same key again is the same response; for another question it is refused."""
    again = {"Idempotency-Key": "once"}
    first, second = (
        client.responses.create(model=MODEL, input=asked(8), extra_headers=again) for _ in range(2)
    )
    assert first.id == second.id
    with pytest.raises(openai.ConflictError) as conflict:
        client.responses.create(model=MODEL, input=asked(9), extra_headers=again)
    assert conflict.value.code == "idempotency_conflict"


def test_own_options(client: OpenAI, fleet: Fleet) -> None:
    """Options of a job are given by OpenAI's names, else as `visionq`; the job has them all."""
    response = client.responses.create(
        model="gpt-6-luna",
        input=asked(10),
        service_tier="flex",
        top_p=0.25,
        reasoning={"effort": "low"},
        safety_identifier="somebody",
        extra_body={
            "visionq": {"priority": "bulk", "repair": False, "extra_body": {"max_tool_calls": 1}}
        },
    )
    assert response.status == "completed"
    assert (response.service_tier, response.top_p) == ("flex", 0.25)
    assert response.reasoning is not None
    assert response.reasoning.effort == "low"
    document = job_document(fleet.redis, response.id)
    assert document is not None
    assert (document.priority, document.repair, document.service_tier) == ("bulk", False, "flex")
    assert document.effort == "low"
    passed = {"top_p": 0.25, "safety_identifier": "somebody"}
    assert document.extra_body == {**passed, "max_tool_calls": 1}


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"tools": [{"type": "web_search"}]}, "tools"),
        ({"top_p": 1.5}, "top_p"),
        ({"reasoning": {"summary": "auto"}}, "reasoning.summary"),
        ({"service_tier": "No Tier"}, "service_tier"),
        ({"service_tier": "ultrafast"}, "service_tier"),
        ({"stream_options": {"include_obfuscation": False}}, "stream_options"),
        ({"store": False}, "store"),
        ({"background": 0}, "background"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"extra_body": {"visionq": {"tenant": "b"}}}, "visionq.tenant"),
        ({"extra_body": {"visionq": {"pictures": {"convert": 1}}}}, "visionq.pictures"),
        ({"extra_body": {"nonsense": 1}}, "nonsense"),
        ({"input": "What is in this picture?"}, "input.0.content"),
        ({"input": [{"role": "user", "content": "no picture"}]}, "input.0.content"),
        ({"input": asked(1) + asked(2)}, "input"),
        ({"max_output_tokens": 1}, "max_output_tokens"),
        ({"reasoning": {"effort": "low"}, "model": "gpt-4o-mini"}, "reasoning.effort"),
        (
            {"prompt_cache_options": {"ttl": "9h"}, "model": "gpt-6-luna"},
            "prompt_cache_options.ttl",
        ),
        ({"model": "no such model"}, "model"),
    ],
)
def test_refused_by_name(client: OpenAI, change: dict[str, Any], param: str) -> None:
    """A field that is unsupported or wrong is refused by its name."""
    with pytest.raises(openai.BadRequestError) as refused:
        client.responses.create(**{"model": MODEL, "input": asked(1), **change})
    assert refused.value.code == "invalid_job"
    assert refused.value.param == param
    assert refused.value.request_id


def test_broken_picture(client: OpenAI) -> None:
    """A picture that is none fails the call as a wrong request, with our code."""
    wrong = asked(1)
    wrong[0]["content"][1]["image_url"] = "data:image/png;base64,aGVsbG8="
    with pytest.raises(openai.BadRequestError) as refused:
        client.responses.create(model=MODEL, input=wrong)
    assert refused.value.code == "not_an_image"
    wrong[0]["content"][1]["image_url"] = "data:image/png;base64,%%%"
    with pytest.raises(openai.BadRequestError) as refused:
        client.responses.create(model=MODEL, input=wrong)
    assert refused.value.code == "invalid_job"


def test_unknown(client: OpenAI) -> None:
    """Responses, models and paths that do not exist are not found."""
    with pytest.raises(openai.NotFoundError) as missing:
        client.responses.retrieve("resp_nobody")
    assert missing.value.code == "job_not_found"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("no-such-model")
    with pytest.raises(openai.NotFoundError):
        client.get("/no/such/path", cast_to=object)


def test_models(client: OpenAI) -> None:
    """The models that have a price are listed."""
    names = [model.id for model in client.models.list()]
    assert MODEL in names
    assert client.models.retrieve(MODEL).id == MODEL
    claude = client.models.retrieve("anthropic/claude-haiku-4-5")
    assert (claude.id in names, claude.owned_by) == (True, "anthropic")


@pytest.mark.parametrize("model", ["anthropic/claude-haiku-4-5", "google/gemini-3.8-flash"])
def test_a_model_of_another_vendor(client: OpenAI, model: str) -> None:
    """It answers under its own name, and an option that it does not take is refused by name."""
    answer = client.chat.completions.create(model=model, messages=said(21))
    assert answer.model == model
    assert "64x48" in (answer.choices[0].message.content or "")
    with pytest.raises(openai.BadRequestError, match=f"{model} takes none"):
        client.responses.create(model=model, input=asked(21))  # with a detail


def test_keys(gateway: Gateway) -> None:
    """Without a key, with a wrong one, or without its scope nothing is done."""
    with gateway.openai("vq-wrong") as nobody, pytest.raises(openai.AuthenticationError) as who:
        nobody.models.list()
    assert who.value.code == "invalid_api_key"
    reader = gateway.new_key("default", [Scope.READ])
    with gateway.openai(reader) as client:
        assert client.models.list().data
        with pytest.raises(openai.PermissionDeniedError) as denied:
            client.responses.create(model=MODEL, input=asked(1))
    assert denied.value.code == "missing_scope"


def test_tenants_are_apart(gateway: Gateway, client: OpenAI) -> None:
    """A tenant neither sees nor cancels the responses of another."""
    mine = client.responses.create(model=MODEL, input=asked(11))
    with gateway.openai(gateway.new_key("others")) as others:
        theirs = others.responses.create(model=MODEL, input=asked(11))
        for act in (others.responses.retrieve, others.responses.cancel):
            with pytest.raises(openai.NotFoundError):
                act(mine.id)
        with pytest.raises(openai.NotFoundError):
            client.responses.retrieve(theirs.id)


def test_rate_and_length(tmp_path: Any, parts: tuple[Gateway, Fleet]) -> None:
    """Too many requests, too many jobs in line and too long bodies are refused as such."""
    extra = with_constants(tmp_path, GatewaySettings, max_body_bytes=2000)
    extra["VISIONQ_GATEWAY_REQUESTS_PER_MINUTE"] = "3"
    extra["VISIONQ_GATEWAY_MAX_WAITING_JOBS"] = "1"
    url = data_url(1)
    assert len(url) < 2000
    with (
        running_gateway(tmp_path, parts[1].server.url, parts[0].files, **extra) as narrow,
        narrow.openai(narrow.new_key("narrow"), max_retries=0) as client,
    ):
        with pytest.raises(openai.APIStatusError) as long:
            client.responses.create(model=MODEL, input=asked(1, "x" * 3000))
        assert (long.value.status_code, long.value.code) == (413, "body_too_large")
        client.models.list()
        with pytest.raises(openai.RateLimitError) as often:
            list_often(client)
        assert often.value.code == "rate_limit_exceeded"
        assert 0 < int(often.value.response.headers["retry-after"]) <= 60


def list_often(client: OpenAI) -> None:
    # More than once over the limit: a minute may end meanwhile.
    for _ in range(8):
        client.models.list()
