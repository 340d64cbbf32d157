"""A job as a completion of `/v1/chat/completions`, whole or in chunks."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, Field, JsonValue

from producer.gateway.http_errors import Fault, fault_of
from producer.gateway.openai.response_objects import (
    Own,
    UsageIfAny,
    answer_text,
    billed,
    call_id,
    function_of,
    own_words,
)
from visionq.errors import BY_CODE, InternalError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from producer.gateway.job_service import Standing
    from visionq.contract import ErrorDocument, JobDocument


class CalledFunction(BaseModel):
    """A function and what it is called with, as JSON."""

    name: str
    arguments: str


class ToolCall(BaseModel):
    """The answer as the call of a function."""

    id: str
    type: Literal["function"] = "function"
    function: CalledFunction


class ChoiceMessage(BaseModel):
    """What the model says."""

    role: Literal["assistant"] = "assistant"
    content: str | None
    refusal: str | None = None
    tool_calls: Annotated[list[ToolCall] | None, Field(exclude_if=lambda calls: calls is None)] = (
        None
    )


class Choice(BaseModel):
    """The one answer."""

    index: Literal[0] = 0
    message: ChoiceMessage
    finish_reason: Literal["stop", "length", "tool_calls"]
    logprobs: None = None


class ChatCompletion(BaseModel):
    """A completion, as OpenAI's clients read it."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    #: The one that was asked for.
    service_tier: str | None
    usage: UsageIfAny = None
    visionq: Own


def completion_of(standing: Standing) -> ChatCompletion:
    """Tell a job that has ended as a completion.

    Raises:
        Fault: it has no answer, or none yet.
    """
    view, result, error = standing.view, standing.result, standing.view.error
    why: Literal["stop", "length", "tool_calls"] = "stop"
    if result is not None:
        message = _message(standing, answer_text(result, standing.document))
        why = _reason(standing.document)
    elif error is not None and error.code == "refused":
        message = ChoiceMessage(content=None, refusal=error.text or error.message)
    elif error is not None and error.code == "incomplete":
        message, why = _message(standing, error.text or ""), "length"
    elif error is not None:
        raise fault_in(error)
    else:
        raise not_yet(standing)
    return ChatCompletion(
        id=view.id,
        created=int(view.submitted_at.timestamp()),
        model=result.model if result else view.model,
        choices=[Choice(message=message, finish_reason=why)],
        service_tier=result.service_tier if result else standing.document.service_tier,
        usage=_usage(standing),
        visionq=own_words(standing),
    )


def _message(standing: Standing, text: str) -> ChoiceMessage:
    function = function_of(standing.document)
    if function is None:
        return ChoiceMessage(content=text)
    called = CalledFunction(name=function.name, arguments=text)
    call = ToolCall(id=call_id(standing.view.id), function=called)
    return ChoiceMessage(content=None, tool_calls=[call])


def _reason(document: JobDocument) -> Literal["stop", "tool_calls"]:
    """Return why a whole answer ends; for a function that was named OpenAI says `stop`."""
    function = function_of(document)
    return "stop" if function is None or function.tool_choice == "function" else "tool_calls"


def fault_in(error: ErrorDocument, *, native: bool = False) -> Fault:
    """Return how HTTP tells why a job has failed. Asking again would be another job."""
    kind = BY_CODE.get(error.code, InternalError)
    fault = fault_of(kind(error.message, image=error.image), native=native)
    return Fault(fault.status, error.code, fault.message, param=fault.param)


def not_yet(standing: Standing) -> Fault:
    """Say that a job has not ended in time; it goes on, so that asking again is no new job."""
    view = standing.view
    why = f" ({view.reason})" if view.reason else ""
    return Fault(
        HTTPStatus.GATEWAY_TIMEOUT,
        "wait_timeout",
        f"job {view.id} is {view.state.value}{why} and goes on: see GET /v1/responses/{view.id}",
    )


def _usage(standing: Standing) -> dict[str, JsonValue] | None:
    usage = billed(standing)
    if usage is None:
        return None
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {
            "cached_tokens": usage.cached_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
        },
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }


Chunk = dict[str, Any]


def chunks_of(completion: ChatCompletion, *, with_usage: bool) -> Iterator[Chunk]:
    """Yield the chunks: the role, what the model says, why it ends, and the usage if wanted."""
    whole = completion.model_dump(mode="json")
    usage, own = whole.pop("usage", None), whole.pop("visionq")
    (choice,) = whole.pop("choices")
    message = choice["message"]
    head = {**whole, "object": "chat.completion.chunk"}
    if with_usage:
        head["usage"] = None
    yield _chunk(head, {"role": message["role"], "content": "", "refusal": None})
    yield from (_chunk(head, delta) for delta in _deltas(message))
    yield {**_chunk(head, {}, choice["finish_reason"]), "visionq": own}
    if with_usage and usage:
        yield {**head, "choices": [], "usage": usage}


def _deltas(message: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for field in ("content", "refusal"):
        if message[field]:
            yield {field: message[field]}
    calls = message.get("tool_calls") or []
    if calls:
        yield {"tool_calls": [{"index": place, **call} for place, call in enumerate(calls)]}


def _chunk(head: Chunk, delta: dict[str, Any], finish_reason: str | None = None) -> Chunk:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
    return {**head, "choices": [choice]}
