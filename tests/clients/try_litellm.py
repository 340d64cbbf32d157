"""LiteLLM, with the gateway as an OpenAI-compatible endpoint."""

from __future__ import annotations

import json
import os
from typing import Any

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # nothing is fetched when it is imported

import litellm
from checks import (
    BASE_URL,
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

litellm.suppress_debug_info = True
TOOL = {"type": "function", "function": {"name": "see", "parameters": SCHEMA}}
COMMON: Any = {"model": f"openai/{MODEL}", "api_base": BASE_URL, "api_key": KEY}


class Seen(BaseModel):
    description: str


def complete(**options: Any) -> Any:
    return litellm.completion(**{**COMMON, "messages": chat_messages(), **options})


@check("completion, picture as data URL")
def _() -> bool:
    return SIZE in complete().choices[0].message.content


@check("completion, picture by address")
def _() -> bool:
    return SIZE in complete(messages=chat_messages(URL)).choices[0].message.content


@check("streamed")
def _() -> bool:
    chunks = list(complete(stream=True, stream_options={"include_usage": True}))
    text = "".join(one.choices[0].delta.content or "" for one in chunks if one.choices)
    return SIZE in text


@check("acompletion, also streamed")
async def _() -> bool:
    told = await litellm.acompletion(**COMMON, messages=chat_messages())
    stream = await litellm.acompletion(**COMMON, messages=chat_messages(), stream=True)
    text = "".join([one.choices[0].delta.content or "" async for one in stream])
    return SIZE in told.choices[0].message.content and SIZE in text


@check("pydantic model as response_format")
def _() -> bool:
    told = complete(response_format=Seen).choices[0].message.content
    return SIZE in Seen.model_validate_json(told).description


@check("json_object")
def _() -> bool:
    told = complete(response_format={"type": "json_object"})
    return bool(json.loads(told.choices[0].message.content))


@check("function tool, also streamed")
def _() -> bool:
    (call,) = complete(tools=[TOOL], tool_choice="required").choices[0].message.tool_calls
    chunks = list(complete(tools=[TOOL], tool_choice="required", stream=True))
    whole = litellm.stream_chunk_builder(chunks).choices[0].message.tool_calls[0]
    return all(SIZE in json.loads(one.function.arguments)["description"] for one in (call, whole))


@check("usage")
def _() -> bool:
    return complete().usage.total_tokens > 0


@check("responses")
def _() -> bool:
    return SIZE in litellm.responses(**COMMON, input=response_input()).output_text


@check("responses, streamed")
def _() -> bool:
    events = list(litellm.responses(**COMMON, input=response_input(), stream=True))
    return events[-1].type == "response.completed"


@check("parameters that are dropped or passed")
def _() -> bool:
    told = complete(seed=7, user="u", max_tokens=500, max_retries=1)
    return SIZE in told.choices[0].message.content


@refused("wrong key", "AuthenticationError")
def _() -> None:
    complete(api_key="wrong")


@refused("spent budget", "RateLimitError", "budget")
def _() -> None:
    complete(api_key=POOR_KEY, max_retries=0)


@refused("unknown model", "NotFoundError", "no-such-model")
def _() -> None:
    complete(model="openai/no-such-model")


@refused("bad picture", "BadRequestError", "picture")
def _() -> None:
    complete(messages=chat_messages("data:image/png;base64,aGVsbG8="))


@refused("text alone", "no picture")
def _() -> None:
    complete(messages=[{"role": "user", "content": "What is it?"}])


@refused("several tools", "several tools are not supported")
def _() -> None:
    other = {"type": "function", "function": {"name": "other", "parameters": SCHEMA}}
    complete(tools=[TOOL, other])


tell("litellm", "openai")
