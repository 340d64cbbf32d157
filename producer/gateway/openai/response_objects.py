"""A job as a response of `/v1/responses`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import BaseModel, Field, JsonValue

from visionq.answer_schemas import ANY_OBJECT
from visionq.contract import State, Usage
from visionq.contract.result import NearDuplicate, is_simulated

if TYPE_CHECKING:
    from producer.gateway.job_service import JobRecord
    from visionq.contract import AnswerFormat, JobDocument, ResultDocument


def answer_text(result: ResultDocument, document: JobDocument) -> str:
    """Return the text for the client; of a structured answer, the validated object.

    The model's text may have a code fence, or nulls that only strict schemas need.
    """
    if document.answer_schema is None:
        return result.text
    return json.dumps(result.data, ensure_ascii=False)


def function_of(document: JobDocument) -> AnswerFormat | None:
    """Return the function that the answer calls, if the request has one."""
    asked = document.answer_format
    return asked if asked is not None and asked.type == "function" else None


def call_id(job_id: str) -> str:
    """Return the id of the call for clients."""
    return f"call_{_bare(job_id)}"


def call_item(job_id: str, function: AnswerFormat, arguments: str, status: str) -> dict[str, Any]:
    """Return the call as an output item of a response."""
    return {
        "id": f"fc_{_bare(job_id)}",
        "type": "function_call",
        "call_id": call_id(job_id),
        "name": function.name,
        "arguments": arguments,
        "status": status,
    }


def text_options(document: JobDocument) -> dict[str, JsonValue]:
    """Return the `text` options that the response repeats."""
    options: dict[str, JsonValue] = {"format": _format(document)}
    if "verbosity" in document.extra_body:
        options["verbosity"] = document.extra_body["verbosity"]
    return options


def tool_options(document: JobDocument) -> dict[str, Any]:
    """Return the `tools` that the response repeats."""
    function = function_of(document)
    if function is None:
        return {}
    choice: Any = function.tool_choice
    if choice == "function":
        choice = {"type": "function", "name": function.name}
    tool = {
        "type": "function",
        "name": function.name,
        "description": function.description,
        "parameters": document.answer_schema,
        "strict": function.strict,
    }
    return {"tools": [tool], "tool_choice": choice}


def _format(document: JobDocument) -> dict[str, JsonValue]:
    asked, schema = document.answer_format, document.answer_schema
    if schema is None or function_of(document):
        return {"type": "text"}
    if asked is None:
        if schema == ANY_OBJECT:
            return {"type": "json_object"}
        return {"type": "json_schema", "name": "answer", "schema": schema, "strict": True}
    given = asked.model_dump(include={"name", "description", "strict"}, exclude_none=True)
    return {"type": "json_schema", "schema": schema, **given}


def _bare(job_id: str) -> str:
    return job_id.removeprefix("resp_").removeprefix("chatcmpl-")


#: An answer that was cut off is an answer: it was paid for.
_CUT_OFF = "incomplete"
_DECLINED = "refused"
#: Our code → OpenAI's, which are an enumeration (openai-openapi 2.3.0, 2026-08); all others become
#: `server_error`.
_CODES: Final = {
    "animated_image": "invalid_image_format",
    "blob_missing": "image_file_not_found",
    "corrupt_image": "image_parse_error",
    "download_failed": "failed_to_download_image",
    "empty_file": "empty_image_file",
    "file_not_found": "image_file_not_found",
    "invalid_job": "invalid_prompt",
    "model_not_found": "invalid_prompt",
    "not_an_image": "invalid_image",
    "picture_rejected": "invalid_image",
    "rate_limited": "rate_limit_exceeded",
    "request_rejected": "invalid_prompt",
    "too_large": "image_file_too_large",
    "too_many_pixels": "image_too_large",
    "unsafe_url": "invalid_image_url",
    "unsupported_format": "unsupported_image_media_type",
}
_STATUS = {
    State.QUEUED: "queued",
    State.IN_PROGRESS: "in_progress",
    # Both go on later: clients see them as queued.
    State.WAITING: "queued",
    State.PARKED: "queued",
    State.COMPLETED: "completed",
    State.FAILED: "failed",
    State.CANCELLED: "cancelled",
}


class ResponseError(BaseModel):
    """The error by OpenAI's codes; our code is the `reason` of `visionq`."""

    code: str
    message: str


class IncompleteDetails(BaseModel):
    """The reason why the answer is cut off."""

    reason: Literal["max_output_tokens"]


class Own(BaseModel):
    """Our fields beyond OpenAI's."""

    state: str
    #: Why the job waits or is parked; the error code of a failed job.
    reason: str | None
    cost_rub: str
    cached: bool
    #: Whose answer it is, where it is that of a near-duplicate.
    near: NearDuplicate | None
    #: Whether the simulator answered; null before the end.
    simulated: bool | None
    warnings: list[str]


#: Left out if nothing was billed: OpenAI's document does not allow null.
UsageIfAny = Annotated[dict[str, JsonValue] | None, Field(exclude_if=lambda usage: usage is None)]


class ResponseObject(BaseModel):
    """A response in OpenAI's form."""

    id: str
    object: Literal["response"] = "response"
    created_at: float
    completed_at: float | None
    status: Literal["queued", "in_progress", "completed", "failed", "cancelled", "incomplete"]
    background: bool
    error: ResponseError | None
    incomplete_details: IncompleteDetails | None
    instructions: str | None
    max_output_tokens: int | None
    metadata: dict[str, str]
    model: str
    output: list[dict[str, JsonValue]]
    parallel_tool_calls: bool = True
    reasoning: dict[str, JsonValue] | None
    #: The requested tier.
    service_tier: str | None
    temperature: float | None
    text: dict[str, JsonValue]
    tool_choice: Literal["auto", "required"] | dict[str, str] = "auto"
    tools: list[JsonValue] = []
    top_p: float | None
    truncation: Literal["disabled"] = "disabled"
    usage: UsageIfAny = None
    visionq: Own


def response_of(job: JobRecord, *, background: bool = True) -> ResponseObject:
    """Return a job as a response."""
    view, document, result = job.view, job.document, job.result
    error, passed = view.error, dict[str, Any](document.extra_body)
    status: Any = _STATUS[view.state]
    output: list[dict[str, JsonValue]] = []
    failure, incomplete = None, None
    if result is not None:
        output = [_answer(job, "completed", answer_text(result, document))]
    elif error is not None and error.code == _DECLINED:
        status = "completed"
        output = [_message(view.id, "completed", _refusal(error.text or error.message))]
    elif error is not None and error.code == _CUT_OFF:
        status = "incomplete"
        incomplete = IncompleteDetails(reason="max_output_tokens")
        output = [_answer(job, "incomplete", error.text or "")]
    elif error is not None and view.state is State.FAILED:
        failure = ResponseError(code=_CODES.get(error.code, "server_error"), message=error.message)
    return ResponseObject(
        id=view.id,
        created_at=int(view.submitted_at.timestamp()),
        completed_at=view.finished_at and int(view.finished_at.timestamp()),
        status=status,
        background=background,
        error=failure,
        incomplete_details=incomplete,
        instructions=document.instructions,
        max_output_tokens=document.max_output_tokens,
        metadata=document.metadata,
        model=result.model if result else view.model,
        output=output,
        reasoning=_reasoning(document),
        service_tier=result.service_tier if result else document.service_tier,
        temperature=document.temperature,
        top_p=passed.get("top_p", 1),
        text=text_options(document),
        **tool_options(document),
        usage=_usage(job),
        visionq=own_words(job),
    )


def own_words(job: JobRecord) -> Own:
    """Return our fields of a job."""
    view, result, error = job.view, job.result, job.view.error
    images = result.images if result else ()
    warnings = [f"{image.name}: {said}" for image in images for said in image.warnings]
    return Own(
        state=view.state.value,
        reason=view.reason,
        cost_rub=view.to_public()["cost_rub"],
        cached=bool(result and result.cached),
        near=result.near if result else None,
        simulated=result.simulated if result else error and is_simulated(error.request_id),
        warnings=[*(result.warnings if result else ()), *warnings],
    )


def billed(job: JobRecord) -> Usage | None:
    """Return the tokens of a job that has ended, with or without a complete answer."""
    end = job.result or job.view.error
    return end.usage if end else None


def _answer(job: JobRecord, status: str, text: str) -> dict[str, JsonValue]:
    function = function_of(job.document)
    if function is None:
        return _message(job.view.id, status, _text(text))
    return call_item(job.view.id, function, text, status)


def _message(job_id: str, status: str, content: dict[str, JsonValue]) -> dict[str, JsonValue]:
    return {
        "id": f"msg_{job_id.removeprefix('resp_')}",
        "type": "message",
        "role": "assistant",
        "status": status,
        "content": [content],
    }


def _text(text: str) -> dict[str, JsonValue]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _refusal(text: str) -> dict[str, JsonValue]:
    return {"type": "refusal", "refusal": text}


def _reasoning(document: JobDocument) -> dict[str, JsonValue] | None:
    asked: Any = document.extra_body.get("reasoning") or {}
    return {**asked, "effort": document.effort} if asked or document.effort else None


def _usage(job: JobRecord) -> dict[str, JsonValue] | None:
    usage = billed(job)
    if usage is None:
        return None
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cached_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
            "cache_write_tokens_details": {
                "ttl_30m_tokens": usage.cache_write_tokens - usage.cache_write_12h_tokens,
                "ttl_12h_tokens": usage.cache_write_12h_tokens,
            },
        },
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.total_tokens,
    }
