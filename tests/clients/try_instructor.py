"""instructor, in each of its modes for OpenAI."""

from __future__ import annotations

from typing import Any

import instructor
import openai
from checks import (
    BASE_URL,
    KEY,
    MODEL,
    POOR_KEY,
    SIZE,
    chat_messages,
    check,
    refused,
    response_input,
    tell,
)
from instructor.core.exceptions import InstructorRetryException
from pydantic import BaseModel


class Seen(BaseModel):
    """What is seen in a picture."""

    description: str
    colour: str | None = None


def client(mode: Any = instructor.Mode.TOOLS, key: str = KEY) -> Any:
    return instructor.from_openai(openai.OpenAI(base_url=BASE_URL, api_key=key), mode=mode)


def seen(client: Any, **options: Any) -> Any:
    given = {"model": MODEL, "messages": chat_messages(), "response_model": Seen, **options}
    return client.chat.completions.create(**given)


@check("default")
def _() -> bool:
    default = instructor.from_openai(openai.OpenAI(base_url=BASE_URL, api_key=KEY))
    return SIZE in seen(default).description


for name in ("TOOLS", "TOOLS_STRICT", "JSON", "JSON_SCHEMA", "RESPONSES_TOOLS"):
    if name not in instructor.Mode.__members__:
        continue

    @check(f"mode {name}")
    def _(name: str = name) -> bool:
        messages = response_input() if name.startswith("RESPONSES") else chat_messages()
        told = seen(client(instructor.Mode[name]), messages=messages, max_retries=0)
        return bool(told.description)


@check("mode MD_JSON")
def _() -> bool:
    # It asks for JSON in words, which the simulator does not follow; its answer has to arrive.
    try:
        seen(client(instructor.Mode.MD_JSON), max_retries=0)
    except InstructorRetryException as error:
        return SIZE in str(error)
    return False


@check("with completion and usage")
def _() -> bool:
    told, completion = client().chat.completions.create_with_completion(
        model=MODEL, messages=chat_messages(), response_model=Seen
    )
    return SIZE in told.description and completion.usage.total_tokens > 0


@check("partial objects, streamed")
def _() -> bool:
    stream = client().chat.completions.create_partial(
        model=MODEL, messages=chat_messages(), response_model=Seen
    )
    *_, last = stream
    return SIZE in last.description


@check("asynchronous")
async def _() -> bool:
    made = instructor.from_openai(openai.AsyncOpenAI(base_url=BASE_URL, api_key=KEY))
    return SIZE in (await seen(made)).description


@refused("wrong key", "key")
def _() -> None:
    seen(client(key="wrong"), max_retries=0)


@refused("spent budget", "budget")
def _() -> None:
    seen(client(key=POOR_KEY), max_retries=0)


@refused("text alone", "no picture")
def _() -> None:
    seen(client(), messages=[{"role": "user", "content": "What is it?"}], max_retries=0)


tell("instructor", "openai")
