"""A job told as a response of `/v1/responses`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, JsonValue

from visionq.contract import State

if TYPE_CHECKING:
    from producer.gateway.desk import Standing

#: A model that was cut off has answered all the same: it was paid for.
_CUT_OFF = "incomplete"
_DECLINED = "refused"
_STATUS = {
    State.QUEUED: "queued",
    State.IN_PROGRESS: "in_progress",
    # Both come back by themselves or by somebody's act: to a client they stand in line.
    State.WAITING: "queued",
    State.PARKED: "queued",
    State.COMPLETED: "completed",
    State.FAILED: "failed",
    State.CANCELLED: "cancelled",
}


class ResponseError(BaseModel):
    """Why there is no answer."""

    code: str
    message: str


class IncompleteDetails(BaseModel):
    """Why the answer is cut off."""

    reason: Literal["max_output_tokens"]


class Own(BaseModel):
    """What we know beyond OpenAI's own fields."""

    state: str
    reason: str | None
    cost_rub: str
    cached: bool
    warnings: list[str]


class ResponseObject(BaseModel):
    """A response, as OpenAI's clients read it."""

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
    #: The one that was asked for.
    service_tier: str | None
    temperature: float | None
    text: dict[str, JsonValue]
    tool_choice: Literal["auto"] = "auto"
    tools: list[JsonValue] = []
    top_p: float | None
    truncation: Literal["disabled"] = "disabled"
    usage: dict[str, JsonValue] | None
    visionq: Own


def response_of(standing: Standing, *, background: bool = True) -> ResponseObject:
    """Tell a job as a response."""
    view, document, result = standing.view, standing.document, standing.result
    error, passed = view.error, dict[str, Any](document.extra_body)
    status: Any = _STATUS[view.state]
    output: list[dict[str, JsonValue]] = []
    told, incomplete = error and ResponseError(code=error.code, message=error.message), None
    if result is not None:
        output = [_message(view.id, "completed", _text(result.text))]
    elif error is not None and error.code == _DECLINED:
        status, told = "completed", None
        output = [_message(view.id, "completed", _refusal(error.text or error.message))]
    elif error is not None and error.code == _CUT_OFF:
        status, told = "incomplete", None
        incomplete = IncompleteDetails(reason="max_output_tokens")
        output = [_message(view.id, "incomplete", _text(error.text or ""))]
    return ResponseObject(
        id=view.id,
        created_at=int(view.submitted_at.timestamp()),
        completed_at=view.finished_at and int(view.finished_at.timestamp()),
        status=status,
        background=background,
        error=told,
        incomplete_details=incomplete,
        instructions=document.instructions,
        max_output_tokens=document.max_output_tokens,
        metadata=document.metadata,
        model=result.model if result else view.model,
        output=output,
        reasoning=passed.get("reasoning"),
        service_tier=document.service_tier,
        temperature=document.temperature,
        top_p=passed.get("top_p", 1),
        text={"format": _format(document.answer_schema)},
        usage=_usage(standing),
        visionq=own_words(standing),
    )


def own_words(standing: Standing) -> Own:
    """Return what OpenAI's forms have no field for."""
    view, result = standing.view, standing.result
    images = result.images if result else ()
    warnings = [f"{image.name}: {said}" for image in images for said in image.warnings]
    return Own(
        state=view.state.value,
        reason=view.reason,
        cost_rub=view.to_public()["cost_rub"],
        cached=bool(result and result.cached),
        warnings=[*(result.warnings if result else ()), *warnings],
    )


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


def _format(schema: dict[str, Any] | None) -> dict[str, JsonValue]:
    if schema is None:
        return {"type": "text"}
    return {"type": "json_schema", "name": "answer", "schema": schema, "strict": True}


def _usage(standing: Standing) -> dict[str, JsonValue] | None:
    if standing.result is None:
        return None
    usage = standing.result.usage
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.total_tokens,
    }
