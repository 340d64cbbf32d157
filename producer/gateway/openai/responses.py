"""`/v1/responses`: the request as a job, the job as a response."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue

from producer.gateway.openai.parts import (
    Common,
    DetailName,
    Image,
    MaxTokens,
    Nothing,
    Part,
    PictureUrl,
    Said,
    Text,
    question_in,
)
from visionq.contract import Api, State

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


class InputText(Part):
    """Words."""

    type: Literal["input_text"]
    text: str


class InputImage(Part):
    """A picture."""

    type: Literal["input_image"]
    image_url: PictureUrl
    detail: DetailName | None = None


Content = Annotated[InputText | InputImage, Field(discriminator="type")]


def _as_parts(content: object) -> object:
    return [{"type": "input_text", "text": content}] if isinstance(content, str) else content


class Message(Part):
    """What somebody says."""

    type: Literal["message"] | None = None
    role: Literal["user", "system", "developer"]
    content: Annotated[
        list[Content],
        Field(min_length=1),
        BeforeValidator(_as_parts, json_schema_input_type=str | list[Content]),
    ]

    def said(self) -> Said:
        """Return it as both APIs know it."""
        parts = tuple(
            Text(part.text) if isinstance(part, InputText) else Image(part.image_url, part.detail)
            for part in self.content
        )
        return Said(self.role, parts)


class TextFormat(Part):
    """Free text."""

    type: Literal["text"]


class SchemaFormat(Part):
    """JSON of a given form."""

    type: Literal["json_schema"]
    name: str
    schema_: dict[str, JsonValue] = Field(alias="schema")
    description: str | None = None
    #: The schema is always held to, strictly where its form allows.
    strict: bool | None = None


class TextOptions(Part):
    """The form of the answer."""

    format: Annotated[TextFormat | SchemaFormat, Field(discriminator="type")] | None = None


class ResponseRequest(Common):
    """A request for a response: one question about one or several pictures."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "model": "gpt-4o-mini",
                    "background": True,
                    "input": [
                        {
                            "role": "user",
                            "content": [
                                {"type": "input_text", "text": "What is in this picture?"},
                                {
                                    "type": "input_image",
                                    "image_url": "https://example.org/picture.jpg",
                                    "detail": "low",
                                },
                            ],
                        }
                    ],
                }
            ]
        }
    )

    input: Annotated[list[Message], Field(min_length=1, max_length=100)]
    instructions: str | None = None
    max_output_tokens: MaxTokens | None = None
    text: TextOptions | None = None
    background: bool | None = None
    truncation: Literal["disabled"] | None = None
    include: Nothing | None = None

    def to_fields(self) -> dict[str, Any]:
        """Return the fields of the job; raises `ValueError` for what is no single question."""
        said = [message.said() for message in self.input]
        fields = {
            **self.own_fields(),
            **question_in(said, "input", self.instructions),
            "api": Api.RESPONSES,
            "max_output_tokens": self.max_output_tokens,
        }
        if self.text and isinstance(self.text.format, SchemaFormat):
            fields["answer_schema"] = self.text.format.schema_
        return fields


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
    temperature: float | None
    text: dict[str, JsonValue]
    tool_choice: Literal["auto"] = "auto"
    tools: list[JsonValue] = []
    top_p: float | None = 1
    truncation: Literal["disabled"] = "disabled"
    usage: dict[str, JsonValue] | None
    visionq: Own


def response_of(standing: Standing, *, background: bool = True) -> ResponseObject:
    """Tell a job as a response."""
    view, document, result = standing.view, standing.document, standing.result
    error = view.error
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
        temperature=document.temperature,
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
