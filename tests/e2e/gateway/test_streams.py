"""Streams of both APIs, as OpenAI's official Python client reads them."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

import openai
import pytest
from openai import AsyncOpenAI
from pydantic import BaseModel

from producer.gateway.gateway_settings import GatewaySettings
from tests.support.constants import with_constants
from tests.support.gateway import KEY, asked, gateway_and_fleet, said
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx2
    from openai import OpenAI

    from tests.support.fleet import Fleet
    from tests.support.gateway import Gateway

pytestmark = pytest.mark.timeout(180)
MODEL = "gpt-6-luna"
#: Longer than a stream waits before it begins.
SLOW = 3.0
TEXT = [
    "response.created",
    "response.in_progress",
    "response.output_item.added",
    "response.content_part.added",
    "response.output_text.delta",
    "response.output_text.done",
    "response.content_part.done",
    "response.output_item.done",
    "response.completed",
]


class Seen(BaseModel):
    description: str


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Gateway, Fleet]]:
    folder = tmp_path_factory.mktemp("gateway")
    often = with_constants(folder, GatewaySettings, keep_alive=0.2)
    with gateway_and_fleet(folder, **often) as both:
        yield both


def events(client: OpenAI, number: int, **options: Any) -> list[Any]:
    asking = {"model": MODEL, "input": asked(number), **options}
    return list(client.responses.create(**asking, stream=True))


def chunks(client: OpenAI, number: int, **options: Any) -> list[Any]:
    asking = {"model": MODEL, "messages": said(number), **options}
    return list(client.chat.completions.create(**asking, stream=True))


def followed(client: OpenAI, response_id: str, **options: Any) -> list[Any]:
    stream: Any = client.responses.retrieve(response_id, stream=True, **options)
    return list(stream)


def kinds(told: list[Any]) -> list[str]:
    return [event.type for event in told]


def test_a_response(client: OpenAI) -> None:
    """A response is reported in OpenAI's events, in their order and numbered, and ends whole."""
    told = events(client, 1)
    assert kinds(told) == TEXT
    assert [event.sequence_number for event in told] == list(range(len(TEXT)))
    done = told[-1].response
    assert told[4].delta == told[5].text == done.output_text
    assert "64x48" in done.output_text
    assert done.usage.total_tokens > 0
    assert done.visionq["simulated"] is True
    assert [event.response.status for event in told[:2]] == ["queued", "in_progress"]
    assert {event.response.id for event in (*told[:2], told[-1])} == {done.id}
    assert told[0].response.usage is None
    # The same question again is answered from the store.
    assert events(client, 1)[-1].response.visionq["cached"] is True


def test_a_typed_response(client: OpenAI) -> None:
    """`responses.stream` gathers the events, and brings an object of the class asked for."""
    with client.responses.stream(model=MODEL, input=asked(2), text_format=Seen) as stream:
        final = stream.get_final_response()
    assert isinstance(final.output_parsed, Seen)
    assert final.status == "completed"


def test_a_completion(client: OpenAI) -> None:
    """A completion is reported in chunks: the role, the text, why it ends."""
    told = chunks(client, 3)
    first, text, last = told
    assert (first.choices[0].delta.role, first.choices[0].delta.content) == ("assistant", "")
    assert "64x48" in text.choices[0].delta.content
    assert last.choices[0].finish_reason == "stop"
    assert last.visionq["simulated"] is True
    assert not any(hasattr(chunk, "usage") and chunk.usage for chunk in told)
    assert {chunk.object for chunk in told} == {"chat.completion.chunk"}
    assert len({(chunk.id, chunk.model, chunk.created) for chunk in told}) == 1


def test_usage_of_a_completion(client: OpenAI) -> None:
    """With `include_usage` a last chunk without choices has the usage."""
    *told, last = chunks(client, 4, stream_options={"include_usage": True})
    assert (last.choices, [chunk.usage for chunk in told]) == ([], [None] * 3)
    assert last.usage.total_tokens == last.usage.prompt_tokens + last.usage.completion_tokens > 0


def test_a_typed_completion(client: OpenAI) -> None:
    """`chat.completions.stream` gathers the chunks into a parsed completion."""
    asking: Any = {"messages": said(5), "response_format": Seen}
    with client.chat.completions.stream(model=MODEL, **asking) as stream:
        names = [event.type for event in stream]
        final = stream.get_final_completion()
    assert isinstance(final.choices[0].message.parsed, Seen)
    assert "content.done" in names


def test_calls_of_a_function(client: OpenAI) -> None:
    """An answer that is asked for as a call of a function is streamed as one."""
    form: Any = {"name": "seen", "parameters": Seen.model_json_schema()}
    told = events(client, 6, tools=[{"type": "function", **form}], tool_choice="required")
    assert kinds(told)[2:] == [
        "response.output_item.added",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert (told[4].name, told[2].item.arguments) == ("seen", "")
    assert Seen.model_validate_json(told[4].arguments)
    asking: Any = {"messages": said(7), "tool_choice": "required"}
    tool: Any = openai.pydantic_function_tool(Seen, name="seen")
    with client.chat.completions.stream(model=MODEL, tools=[tool], **asking) as stream:
        final = stream.get_final_completion()
    calls = final.choices[0].message.tool_calls or []
    assert [type(call.function.parsed_arguments) for call in calls] == [Seen]
    assert final.choices[0].finish_reason == "tool_calls"


def test_refused_and_cut(client: OpenAI, fleet: Fleet) -> None:
    """A declined or cut answer ends the stream in OpenAI's way, with its cost."""
    fleet.simulator.configure(faults_next=["refusal", "incomplete", "refusal", "incomplete"])
    refused = events(client, 10)
    assert kinds(refused)[4:6] == ["response.refusal.delta", "response.refusal.done"]
    assert refused[-1].type == "response.completed"
    cut = events(client, 11)
    assert cut[-1].type == "response.incomplete"
    assert cut[-1].response.incomplete_details.reason == "max_output_tokens"
    for ended in (refused, cut):
        assert ended[-1].response.usage.total_tokens > 0
        assert ended[-1].response.visionq["simulated"] is True
    *_, refusal, end, usage = chunks(client, 12, stream_options={"include_usage": True})
    assert refusal.choices[0].delta.refusal
    assert end.choices[0].finish_reason == "stop"
    assert usage.usage.total_tokens > 0
    assert chunks(client, 13)[-1].choices[0].finish_reason == "length"


def test_what_is_paid_is_told_without_a_stream_too(client: OpenAI, fleet: Fleet) -> None:
    """Answers that are declined or cut off carry the provider's count of tokens."""
    fleet.simulator.configure(faults_next=["refusal", "incomplete", "refusal", "incomplete"])
    for number in (14, 15):
        response: Any = client.responses.create(model=MODEL, input=asked(number))
        assert response.usage.total_tokens > 0
        assert float(response.visionq["cost_rub"]) > 0
        assert response.visionq["simulated"] is True
    for number in (16, 17):
        completion: Any = client.chat.completions.create(model=MODEL, messages=said(number))
        assert completion.usage.total_tokens > 0
        assert completion.visionq["simulated"] is True


def broken(number: int) -> tuple[list[Any], list[Any]]:
    """Questions about what is no picture."""
    wrong = "data:image/png;base64,aGVsbG8="
    inputs, messages = asked(number), said(number)
    inputs[0]["content"][1]["image_url"] = wrong
    messages[0]["content"][1]["image_url"]["url"] = wrong
    return inputs, messages


def test_what_fails_soon_is_an_error(client: OpenAI) -> None:
    """An error before the stream begins has its status, as without a stream."""
    inputs, messages = broken(1)
    with pytest.raises(openai.BadRequestError) as refused:
        client.responses.create(model=MODEL, input=inputs, stream=True)
    assert refused.value.code == "not_an_image"
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model=MODEL, messages=messages, stream=True)
    assert refused.value.code == "not_an_image"
    for wrong in ({"stream_options": {"include_usage": True}}, {"stream": 1}):
        with pytest.raises(openai.BadRequestError) as refused:
            client.chat.completions.create(model=MODEL, messages=said(1), extra_body=wrong)
        assert refused.value.param == next(iter(wrong))


def test_what_fails_late_is_an_event(client: OpenAI, fleet: Fleet) -> None:
    """When the stream has begun, a failed job is reported as OpenAI tells it, by OpenAI's codes."""
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    form: Any = {"type": "json_schema", "name": "n", "schema": schema}
    fleet.simulator.configure(latency_s=SLOW, faults_next=["wrong_form"] * 2)
    own: Any = {"visionq": {"repair": False}}
    told = events(client, 20, text={"format": form}, extra_body=own)
    assert kinds(told) == ["response.created", "response.in_progress", "response.failed"]
    failed = told[-1].response
    assert failed.error.code == "server_error"
    assert failed.visionq["reason"] == "invalid_output"
    assert failed.usage.total_tokens > 0
    asking: Any = {"response_format": {"type": "json_schema", "json_schema": form}}
    del form["type"]
    with pytest.raises(openai.APIError) as late:
        chunks(client, 21, **asking, extra_body=own)
    assert late.value.code == "invalid_output"


def test_signs_of_life(http: httpx2.Client, fleet: Fleet) -> None:
    """While a job is slow the stream says so again and again, and then tells the answer."""
    fleet.simulator.configure(latency_s=SLOW)
    asking = {"model": MODEL, "messages": said(22), "stream": True}
    with http.stream("POST", "/v1/chat/completions", json=asking) as reply:
        assert reply.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in reply.iter_lines() if line]
    assert lines[:2] == [": keep-alive"] * 2
    assert lines[-1] == "data: [DONE]"
    assert json.loads(lines[-2].removeprefix("data: "))["choices"][0]["finish_reason"] == "stop"


def test_in_the_background(client: OpenAI, fleet: Fleet) -> None:
    """A background response is reported at once, and the stream is taken up where it was left."""
    fleet.simulator.configure(latency_s=SLOW)
    began = time.monotonic()
    with client.responses.create(
        model=MODEL, input=asked(23), background=True, stream=True
    ) as stream:
        first: Any = next(iter(stream))
        assert time.monotonic() - began < SLOW
    assert (first.type, first.response.status) == ("response.created", "queued")
    response_id = first.response.id
    assert kinds(followed(client, response_id, starting_after=0)) == TEXT[1:]
    # It can be told again when it has long ended, from anywhere.
    assert kinds(followed(client, response_id)) == TEXT
    assert kinds(followed(client, response_id, starting_after=7)) == TEXT[8:]
    with client.responses.stream(response_id=response_id, starting_after=4) as taken_up:
        assert kinds(list(taken_up)) == TEXT[5:]


def test_starting_after_nothing(http: httpx2.Client) -> None:
    """Without a stream nothing resumes after an event of it, nor before the first."""
    told = http.get("/v1/responses/resp_nobody?stream=true").json()
    assert told["error"]["code"] == "job_not_found"
    reply = http.get("/v1/responses/resp_nobody?stream=true&starting_after=x")
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "invalid_job")


def test_a_cancelled_response(client: OpenAI, fleet: Fleet) -> None:
    """The stream of a response that is cancelled ends with an error that says so."""
    fleet.simulator.configure(latency_s=SLOW)
    with client.responses.create(
        model=MODEL, input=asked(24), background=True, stream=True
    ) as stream:
        told = iter(stream)
        first: Any = next(told)
        cancelled = client.responses.cancel(first.response.id)
        assert (cancelled.status, cancelled.error) == ("cancelled", None)
        last: Any = list(told)[-1]
    assert (last.type, last.code) == ("error", "cancelled")
    (again,) = followed(client, first.response.id, starting_after=1)
    assert (again.type, again.code) == ("error", "cancelled")


def test_hanging_up(client: OpenAI, fleet: Fleet) -> None:
    """The job of a client that hangs up goes on, as without a stream."""
    fleet.simulator.configure(latency_s=SLOW)
    with client.responses.create(model=MODEL, input=asked(25), stream=True) as stream:
        first: Any = next(iter(stream))
    until(lambda: client.responses.retrieve(first.response.id).status == "completed", 30, "the end")


def test_async_client(gateway: Gateway) -> None:
    """The asynchronous client reads both kinds of stream."""

    async def read() -> tuple[list[Any], list[Any], Any]:
        async with AsyncOpenAI(api_key=KEY, base_url=f"{gateway.url}/v1") as client:
            stream = await client.responses.create(model=MODEL, input=asked(26), stream=True)
            told = [event async for event in stream]
            answer = await client.chat.completions.create(
                model=MODEL, messages=said(27), stream=True
            )
            pieces = [chunk async for chunk in answer]
            asking: Any = {"messages": said(28), "response_format": Seen}
            async with client.chat.completions.stream(model=MODEL, **asking) as typed:
                final = await typed.get_final_completion()
        return told, pieces, final

    told, pieces, final = asyncio.run(read())
    assert kinds(told) == TEXT
    assert pieces[-1].choices[0].finish_reason == "stop"
    assert isinstance(final.choices[0].message.parsed, Seen)
