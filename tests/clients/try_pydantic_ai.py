"""pydantic-ai, by both APIs and in each of its ways to get an object."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from checks import BASE_URL, FILE, KEY, MODEL, POOR_KEY, QUESTION, SIZE, URL, check, refused, tell
from pydantic import BaseModel
from pydantic_ai import (
    Agent,
    BinaryContent,
    ImageUrl,
    NativeOutput,
    PromptedOutput,
    ToolOutput,
)
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider

provider = OpenAIProvider(base_url=BASE_URL, api_key=KEY)
PICTURE = BinaryContent(data=Path(FILE).read_bytes(), media_type="image/png")


class Seen(BaseModel):
    """What is seen."""

    description: str
    colour: str | None = None


for name, kind in (("completions", OpenAIChatModel), ("responses", OpenAIResponsesModel)):
    model = kind(MODEL, provider=provider)

    @check(f"{name}: text, picture as bytes")
    def _(model: Any = model) -> bool:
        return SIZE in Agent(model).run_sync([QUESTION, PICTURE]).output

    @check(f"{name}: text, picture by address")
    def _(model: Any = model) -> bool:
        return SIZE in Agent(model).run_sync([QUESTION, ImageUrl(url=URL)]).output

    @check(f"{name}: instructions, asynchronous")
    async def _(model: Any = model) -> bool:
        agent = Agent(model, instructions="Be brief.")
        return SIZE in (await agent.run([QUESTION, PICTURE])).output

    @check(f"{name}: usage")
    def _(model: Any = model) -> bool:
        return Agent(model).run_sync([QUESTION, PICTURE]).usage.total_tokens > 0

    @check(f"{name}: streamed")
    async def _(model: Any = model) -> bool:
        async with Agent(model).run_stream([QUESTION, PICTURE]) as run:
            return SIZE in "".join([one async for one in run.stream_text(delta=True)])

    for way, output in (
        ("default", Seen),
        ("ToolOutput", ToolOutput(Seen)),
        ("NativeOutput", NativeOutput(Seen)),
        ("PromptedOutput", PromptedOutput(Seen)),
    ):

        @check(f"{name}: object, {way}")
        def _(model: Any = model, output: Any = output) -> bool:
            told = Agent(model, output_type=output).run_sync([QUESTION, PICTURE])
            return bool(told.output.description)

    @check(f"{name}: object, streamed")
    async def _(model: Any = model) -> bool:
        async with Agent(model, output_type=Seen).run_stream([QUESTION, PICTURE]) as run:
            return SIZE in (await run.get_output()).description

    @refused(f"{name}: several tools", "several tools are not supported")
    def _(model: Any = model) -> None:
        agent = Agent(model, output_type=Seen)

        @agent.tool_plain
        def weather(town: str) -> str:
            """Tell the weather."""
            return town

        agent.run_sync([QUESTION, PICTURE])

    @refused(f"{name}: conversation", "assistant", "not supported")
    def _(model: Any = model) -> None:
        first = Agent(model).run_sync([QUESTION, PICTURE])
        Agent(model).run_sync("And now?", message_history=first.all_messages())

    @refused(f"{name}: text alone", "no picture")
    def _(model: Any = model) -> None:
        Agent(model).run_sync("What is it?")


@refused("wrong key", "401")
def _() -> None:
    wrong = OpenAIProvider(base_url=BASE_URL, api_key="wrong")
    Agent(OpenAIChatModel(MODEL, provider=wrong)).run_sync([QUESTION, PICTURE])


@refused("spent budget", "budget")
def _() -> None:
    poor = OpenAIProvider(base_url=BASE_URL, api_key=POOR_KEY)
    Agent(OpenAIChatModel(MODEL, provider=poor)).run_sync([QUESTION, PICTURE])


@refused("unknown model", "no-such-model")
def _() -> None:
    Agent(OpenAIChatModel("no-such-model", provider=provider)).run_sync([QUESTION, PICTURE])


@refused("bad picture", "not_an_image")
def _() -> None:
    wrong = BinaryContent(data=b"hello", media_type="image/png")
    Agent(OpenAIChatModel(MODEL, provider=provider)).run_sync([QUESTION, wrong])


tell("pydantic-ai-slim", "openai")
