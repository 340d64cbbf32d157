"""OpenAI's official SDK for Python."""

from __future__ import annotations

import json
import time
from typing import Any

import openai
from checks import (
    BASE_URL,
    FILE,
    KEY,
    MODEL,
    POOR_KEY,
    SCHEMA,
    SIZE,
    URL,
    chat_messages,
    check,
    refused,
    response_input,
    tell,
)
from pydantic import BaseModel

client = openai.OpenAI(base_url=BASE_URL, api_key=KEY)
FUNCTION: Any = {"name": "see", "description": "Tell what is seen.", "parameters": SCHEMA}
CHAT_TOOL: Any = {"type": "function", "function": FUNCTION}
TOOL: Any = {"type": "function", "strict": True, **FUNCTION}


class Seen(BaseModel):
    description: str


def respond(**options: Any) -> Any:
    return client.responses.create(**{"model": MODEL, "input": response_input(), **options})


def complete(**options: Any) -> Any:
    return client.chat.completions.create(
        **{"model": MODEL, "messages": chat_messages(), **options}
    )


@check("response, picture as data URL")
def _() -> bool:
    return SIZE in respond().output_text


@check("response, picture by address")
def _() -> bool:
    return SIZE in respond(input=response_input(URL)).output_text


@check("completion, picture as data URL")
def _() -> bool:
    return SIZE in complete().choices[0].message.content


@check("completion, picture by address, detail original")
def _() -> bool:
    messages = chat_messages(URL)
    messages[0]["content"][1]["image_url"]["detail"] = "original"
    return SIZE in complete(messages=messages).choices[0].message.content


@check("responses.parse")
def _() -> bool:
    told = client.responses.parse(model=MODEL, input=response_input(), text_format=Seen)
    return SIZE in told.output_parsed.description


@check("chat.completions.parse")
def _() -> bool:
    told = client.chat.completions.parse(
        model=MODEL, messages=chat_messages(), response_format=Seen
    )
    return SIZE in told.choices[0].message.parsed.description


@check("response, json_object")
def _() -> bool:
    return bool(json.loads(respond(text={"format": {"type": "json_object"}}).output_text))


@check("completion, json_object")
def _() -> bool:
    told = complete(response_format={"type": "json_object"})
    return bool(json.loads(told.choices[0].message.content))


@check("response, function tool")
def _() -> bool:
    (item,) = respond(tools=[TOOL], tool_choice="required").output
    return item.name == "see" and SIZE in json.loads(item.arguments)["description"]


@check("completion, function tool")
def _() -> bool:
    told = complete(
        tools=[CHAT_TOOL], tool_choice={"type": "function", "function": {"name": "see"}}
    )
    (call,) = told.choices[0].message.tool_calls
    return SIZE in json.loads(call.function.arguments)["description"]


@check("response, streamed")
def _() -> bool:
    kinds, text = [], ""
    for event in respond(stream=True):
        kinds.append(event.type)
        text += event.delta if event.type == "response.output_text.delta" else ""
    return SIZE in text and kinds[0] == "response.created" and kinds[-1] == "response.completed"


@check("responses.stream with a parsed object")
def _() -> bool:
    with client.responses.stream(model=MODEL, input=response_input(), text_format=Seen) as stream:
        stream.until_done()
        return SIZE in stream.get_final_response().output_parsed.description


@check("response, function tool, streamed")
def _() -> bool:
    kinds = {event.type: event for event in respond(stream=True, tools=[TOOL])}
    done = kinds["response.function_call_arguments.done"]
    return SIZE in json.loads(done.arguments)["description"]


@check("completion, streamed with usage")
def _() -> bool:
    chunks = list(complete(stream=True, stream_options={"include_usage": True}))
    text = "".join(one.choices[0].delta.content or "" for one in chunks if one.choices)
    return SIZE in text and chunks[-1].usage.total_tokens > 0


@check("chat.completions.stream with a function tool")
def _() -> bool:
    with client.chat.completions.stream(
        model=MODEL, messages=chat_messages(), tools=[CHAT_TOOL], tool_choice="required"
    ) as stream:
        told = stream.get_final_completion()
    return (
        SIZE in json.loads(told.choices[0].message.tool_calls[0].function.arguments)["description"]
    )


@check("asynchronous client, also streamed")
async def _() -> bool:
    async with openai.AsyncOpenAI(base_url=BASE_URL, api_key=KEY) as client:
        told = await client.responses.create(model=MODEL, input=response_input())
        stream = await client.chat.completions.create(
            model=MODEL, messages=chat_messages(), stream=True
        )
        text = "".join([one.choices[0].delta.content or "" async for one in stream if one.choices])
    return SIZE in told.output_text and SIZE in text


@check("background, retrieve")
def _() -> bool:
    told = respond(background=True)
    while told.status in {"queued", "in_progress"}:
        time.sleep(0.1)
        told = client.responses.retrieve(told.id)
    return told.status == "completed" and SIZE in told.output_text


@check("background, streamed later")
def _() -> bool:
    told = respond(background=True)
    events = list(client.responses.retrieve(told.id, stream=True))
    return events[-1].type == "response.completed"


@check("background, cancel")
def _() -> bool:
    told = respond(background=True, input=response_input(text=f"Cancel {time.time()}"))
    return client.responses.cancel(told.id).status in {"cancelled", "completed"}


@check("files and batches")
def _() -> bool:
    body = {"model": MODEL, "input": response_input()}
    line = {"custom_id": "a", "method": "POST", "url": "/v1/responses", "body": body}
    file = client.files.create(file=("in.jsonl", json.dumps(line).encode()), purpose="batch")
    batch = client.batches.create(
        input_file_id=file.id, endpoint="/v1/responses", completion_window="1h"
    )
    while batch.status not in {"completed", "failed", "expired"}:
        time.sleep(0.2)
        batch = client.batches.retrieve(batch.id)
    told = json.loads(client.files.content(batch.output_file_id).text)
    return told["custom_id"] == "a" and client.files.delete(file.id).deleted


@check("models")
def _() -> bool:
    return MODEL in {one.id for one in client.models.list()} and bool(client.models.retrieve(MODEL))


@check("usage")
def _() -> bool:
    usage = respond().usage
    return usage.total_tokens == usage.input_tokens + usage.output_tokens > 0


@check("counting tokens of the input")
def _() -> bool:
    told = client.responses.input_tokens.count(model=MODEL, input=response_input())
    return told.object == "response.input_tokens" and told.input_tokens > 0


@check("retries of what may be tried again")
def _() -> bool:
    nobody = openai.OpenAI(base_url="http://127.0.0.1:9/v1", api_key=KEY, max_retries=1)
    try:
        nobody.models.list()
    except openai.APIConnectionError:
        return True
    return False


@check("nulls for what is left out")
def _() -> bool:
    nothing: Any = dict.fromkeys(("previous_response_id", "tools", "conversation", "prompt"))
    return SIZE in respond(**nothing).output_text


@check("short completion")
def _() -> bool:
    return (
        complete(max_tokens=5, messages=chat_messages(text="Short?")).choices[0].finish_reason
        == "length"
    )


@refused("wrong key", "AuthenticationError", "key")
def _() -> None:
    openai.OpenAI(base_url=BASE_URL, api_key="wrong").models.list()


@refused("spent budget", "RateLimitError", "budget")
def _() -> None:
    poor = openai.OpenAI(base_url=BASE_URL, api_key=POOR_KEY, max_retries=0)
    poor.responses.create(model=MODEL, input=response_input())


@refused("unknown model", "NotFoundError", "no-such-model")
def _() -> None:
    respond(model="no-such-model")


@refused("bad picture", "BadRequestError", "the content is no picture")
def _() -> None:
    respond(input=response_input("data:image/png;base64,aGVsbG8="))


@refused("text alone", "no picture")
def _() -> None:
    respond(input="What is it?")


@refused("conversation", "conversations are not supported")
def _() -> None:
    respond(previous_response_id="resp_1")


@refused("built-in tool", "web_search is not supported")
def _() -> None:
    respond(tools=[{"type": "web_search"}])


@refused("several tools", "several tools are not supported")
def _() -> None:
    respond(tools=[TOOL, {**TOOL, "name": "other"}])


@refused("messages of tools", "messages of the assistant are not supported")
def _() -> None:
    complete(messages=[*chat_messages(), {"role": "assistant", "content": "A cat."}])


@refused("several answers", "several answers")
def _() -> None:
    complete(n=2)


@refused("files for other purposes", "purpose")
def _() -> None:
    with open(FILE, "rb") as file:  # noqa: PTH123  # as its documentation does
        client.files.create(file=file, purpose="vision")


@refused("expiry of a file", "expires_after", "not supported")
def _() -> None:
    client.files.create(
        file=("in.jsonl", b"{}"),
        purpose="batch",
        expires_after={"anchor": "created_at", "seconds": 3600},
    )


tell("openai")
