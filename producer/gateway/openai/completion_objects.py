"""A job as a completion of `/v1/chat/completions`, whole or in chunks."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, Field, JsonValue

from producer.gateway.http_errors import ApiError, api_error_of
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

    from producer.gateway.job_service import JobRecord
    from visionq.contract import ErrorDocument, JobDocument


class CalledFunction(BaseModel):
    """A called function and its arguments as JSON."""

    name: str
    arguments: str


class ToolCall(BaseModel):
    """The answer as the call of a function."""

    id: str
    type: Literal["function"] = "function"
    function: CalledFunction


class ChoiceMessage(BaseModel):
    """The message of the model."""

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
    """A completion in OpenAI's form."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    #: The requested tier.
    service_tier: str | None
    usage: UsageIfAny = None
    visionq: Own


def completion_of(job: JobRecord) -> ChatCompletion:
    """Return a job that has ended as a completion.

    Raises:
        ApiError: it has no answer, or no answer yet.
    """
    view, result, error = job.view, job.result, job.view.error
    why: Literal["stop", "length", "tool_calls"] = "stop"
    if result is not None:
        message = _message(job, answer_text(result, job.document))
        why = _reason(job.document)
    elif error is not None and error.code == "refused":
        message = ChoiceMessage(content=None, refusal=error.text or error.message)
    elif error is not None and error.code == "incomplete":
        message, why = _message(job, error.text or ""), "length"
    elif error is not None:
        raise job_error(error)
    else:
        raise not_yet(job)
    return ChatCompletion(
        id=view.id,
        created=int(view.submitted_at.timestamp()),
        model=result.model if result else view.model,
        choices=[Choice(message=message, finish_reason=why)],
        service_tier=result.service_tier if result else job.document.service_tier,
        usage=_usage(job),
        visionq=own_words(job),
    )


def _message(job: JobRecord, text: str) -> ChoiceMessage:
    function = function_of(job.document)
    if function is None:
        return ChoiceMessage(content=text)
    called = CalledFunction(name=function.name, arguments=text)
    call = ToolCall(id=call_id(job.view.id), function=called)
    return ChoiceMessage(content=None, tool_calls=[call])


def _reason(document: JobDocument) -> Literal["stop", "tool_calls"]:
    """Return the reason why a complete answer ends; `stop` for a function chosen by name."""
    function = function_of(document)
    return "stop" if function is None or function.tool_choice == "function" else "tool_calls"


def job_error(error: ErrorDocument, *, native: bool = False) -> ApiError:
    """Return the HTTP error of a failed job; a repeated request is another job."""
    kind = BY_CODE.get(error.code, InternalError)
    fault = api_error_of(kind(error.message, image=error.image), native=native)
    return ApiError(fault.status, error.code, fault.message, param=fault.param)


def not_yet(job: JobRecord) -> ApiError:
    """Return the error for a job that has not ended in time, and goes on."""
    view = job.view
    why = f" ({view.reason})" if view.reason else ""
    return ApiError(
        HTTPStatus.GATEWAY_TIMEOUT,
        "wait_timeout",
        f"job {view.id} is {view.state.value}{why} and goes on: see GET /v1/responses/{view.id}",
    )


def _usage(job: JobRecord) -> dict[str, JsonValue] | None:
    usage = billed(job)
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
    """Yield the chunks: role, message, finish reason, and usage if wanted."""
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
