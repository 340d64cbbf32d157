"""LangChain's client, by both APIs."""

from __future__ import annotations

import asyncio
from typing import Any

from checks import (
    BASE_URL,
    DATA,
    KEY,
    MODEL,
    POOR_KEY,
    QUESTION,
    SIZE,
    URL,
    check,
    refused,
    tell,
)
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, Field

chat = ChatOpenAI(model=MODEL, base_url=BASE_URL, api_key=KEY)
responses = ChatOpenAI(model=MODEL, base_url=BASE_URL, api_key=KEY, use_responses_api=True)


class Seen(BaseModel):
    """What is seen in a picture."""

    description: str = Field(description="in one sentence")
    colour: str | None = None


def question(url: str = DATA) -> Any:
    image = {"type": "image_url", "image_url": {"url": url}}
    return [
        SystemMessage("Be brief."),
        HumanMessage(content=[{"type": "text", "text": QUESTION}, image]),
    ]


for name, model in (("completions", chat), ("responses", responses)):

    @check(f"{name}: invoke, picture as data URL")
    def _(model: Any = model) -> bool:
        return SIZE in model.invoke(question()).text

    @check(f"{name}: invoke, picture by address")
    def _(model: Any = model) -> bool:
        return SIZE in model.invoke(question(URL)).text

    @check(f"{name}: ainvoke")
    async def _(model: Any = model) -> bool:
        return SIZE in (await model.ainvoke(question())).text

    @check(f"{name}: astream")
    async def _(model: Any = model) -> bool:
        return SIZE in "".join([chunk.text async for chunk in model.astream(question())])

    @check(f"{name}: batch")
    def _(model: Any = model) -> bool:
        return all(SIZE in one.text for one in model.batch([question(), question(URL)]))

    @check(f"{name}: usage")
    def _(model: Any = model) -> bool:
        return model.invoke(question()).usage_metadata["total_tokens"] > 0

    for method in ("json_schema", "function_calling", "json_mode"):

        @check(f"{name}: with_structured_output, {method}")
        def _(model: Any = model, method: str = method) -> bool:
            told = model.with_structured_output(Seen, method=method).invoke(question())
            return SIZE in told.description

    @check(f"{name}: streamed structured output")
    def _(model: Any = model) -> bool:
        *_, last = model.with_structured_output(Seen, method="function_calling").stream(question())
        return SIZE in last.description

    @check(f"{name}: bind_tools with one tool")
    def _(model: Any = model) -> bool:
        (call,) = model.bind_tools([Seen]).invoke(question()).tool_calls
        return call["name"] == "Seen" and SIZE in call["args"]["description"]

    @refused(f"{name}: several tools", "several tools are not supported")
    def _(model: Any = model) -> None:
        class Other(BaseModel):
            """Another."""

            name: str

        model.bind_tools([Seen, Other]).invoke(question())

    @refused(f"{name}: text alone", "no picture")
    def _(model: Any = model) -> None:
        model.invoke("What is it?")

    @refused(f"{name}: conversation", "assistant", "not supported")
    def _(model: Any = model) -> None:
        model.invoke([*question(), AIMessage("A cat."), HumanMessage("Which?")])


@check("gather of many")
async def _() -> bool:
    told = await asyncio.gather(*(chat.ainvoke(question()) for _ in range(10)))
    return all(SIZE in one.text for one in told)


@check("tokens of a stream")
def _() -> bool:
    model = ChatOpenAI(model=MODEL, base_url=BASE_URL, api_key=KEY, stream_usage=True)
    total = None
    for chunk in model.stream(question()):
        total = chunk if total is None else total + chunk
    return total.usage_metadata["total_tokens"] > 0


@refused("wrong key", "AuthenticationError")
def _() -> None:
    ChatOpenAI(model=MODEL, base_url=BASE_URL, api_key="wrong").invoke(question())


@refused("spent budget", "RateLimitError", "budget")
def _() -> None:
    poor = ChatOpenAI(model=MODEL, base_url=BASE_URL, api_key=POOR_KEY, max_retries=0)
    poor.invoke(question())


@refused("unknown model", "no-such-model")
def _() -> None:
    ChatOpenAI(model="no-such-model", base_url=BASE_URL, api_key=KEY).invoke(question())


@refused("bad picture", "the content is no picture")
def _() -> None:
    chat.invoke(question("data:image/png;base64,aGVsbG8="))


@refused("several answers", "several answers")
def _() -> None:
    ChatOpenAI(model=MODEL, base_url=BASE_URL, api_key=KEY, n=2).invoke(question())


@refused("log probabilities", "log probabilities are not supported")
def _() -> None:
    chat.bind(logprobs=True).invoke(question())


tell("langchain-openai", "langchain-core", "openai")
