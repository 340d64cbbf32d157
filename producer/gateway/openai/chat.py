"""`/v1/chat/completions`: the request as a job, the job as a completion."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue

from producer.gateway.faults import Fault, fault_of
from producer.gateway.openai.parts import (
    Common,
    DetailName,
    Image,
    MaxTokens,
    Part,
    PictureUrl,
    Said,
    Text,
    question_in,
)
from producer.gateway.openai.responses import Own, own_words
from visionq.contract import Api
from visionq.errors import BY_CODE, InternalError

if TYPE_CHECKING:
    from producer.gateway.desk import Standing
    from visionq.contract import ErrorDocument


class TextPart(Part):
    """Words."""

    type: Literal["text"]
    text: str


class Picture(Part):
    """Where a picture is, and how closely to look at it."""

    url: PictureUrl
    detail: DetailName | None = None


class ImagePart(Part):
    """A picture."""

    type: Literal["image_url"]
    image_url: Picture


Content = Annotated[TextPart | ImagePart, Field(discriminator="type")]


def _as_parts(content: object) -> object:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


class ChatMessage(Part):
    """What somebody says."""

    role: Literal["user", "system", "developer"]
    content: Annotated[
        list[Content],
        Field(min_length=1),
        BeforeValidator(_as_parts, json_schema_input_type=str | list[Content]),
    ]

    def said(self) -> Said:
        """Return it as both APIs know it."""
        parts = tuple(
            Text(part.text)
            if isinstance(part, TextPart)
            else Image(part.image_url.url, part.image_url.detail)
            for part in self.content
        )
        return Said(self.role, parts)


class TextFormat(Part):
    """Free text."""

    type: Literal["text"]


class NamedSchema(Part):
    """A JSON Schema under a name."""

    name: str
    schema_: dict[str, JsonValue] = Field(alias="schema")
    description: str | None = None
    #: The schema is always held to, strictly where its form allows.
    strict: bool | None = None


class SchemaFormat(Part):
    """JSON of a given form."""

    type: Literal["json_schema"]
    json_schema: NamedSchema


class ChatRequest(Common):
    """A request for a completion: one question about one or several pictures."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "model": "gpt-4o-mini",
                    "messages": [
                        {
                            "role": "user",
                            "content": [
                                {"type": "text", "text": "What is in this picture?"},
                                {
                                    "type": "image_url",
                                    "image_url": {"url": "https://example.org/picture.jpg"},
                                },
                            ],
                        }
                    ],
                }
            ]
        }
    )

    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=100)]
    max_completion_tokens: MaxTokens | None = None
    max_tokens: MaxTokens | None = None
    response_format: Annotated[TextFormat | SchemaFormat, Field(discriminator="type")] | None = None
    n: Annotated[int, Field(ge=1, le=1)] | None = None

    def to_fields(self) -> dict[str, Any]:
        """Return the fields of the job; raises `ValueError` for what is no single question."""
        said = [message.said() for message in self.messages]
        fields = {
            **self.own_fields(),
            **question_in(said, "messages"),
            "api": Api.CHAT_COMPLETIONS,
            "max_output_tokens": self.max_completion_tokens or self.max_tokens,
        }
        if isinstance(self.response_format, SchemaFormat):
            fields["answer_schema"] = self.response_format.json_schema.schema_
        return fields


class ChoiceMessage(BaseModel):
    """What the model says."""

    role: Literal["assistant"] = "assistant"
    content: str | None
    refusal: str | None


class Choice(BaseModel):
    """The one answer."""

    index: Literal[0] = 0
    message: ChoiceMessage
    finish_reason: Literal["stop", "length"]
    logprobs: None = None


class ChatCompletion(BaseModel):
    """A completion, as OpenAI's clients read it."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: dict[str, JsonValue] | None
    visionq: Own


def completion_of(standing: Standing) -> ChatCompletion:
    """Tell a job that has ended as a completion.

    Raises:
        Fault: it has no answer, or none yet.
    """
    view, result, error = standing.view, standing.result, standing.view.error
    if result is not None:
        message, why = ChoiceMessage(content=result.text, refusal=None), "stop"
    elif error is not None and error.code == "refused":
        message, why = ChoiceMessage(content=None, refusal=error.text or error.message), "stop"
    elif error is not None and error.code == "incomplete":
        message, why = ChoiceMessage(content=error.text or "", refusal=None), "length"
    elif error is not None:
        raise fault_in(error)
    else:
        raise not_yet(standing)
    return ChatCompletion(
        id=view.id,
        created=int(view.submitted_at.timestamp()),
        model=result.model if result else view.model,
        choices=[Choice(message=message, finish_reason=why)],
        usage=_usage(standing),
        visionq=own_words(standing),
    )


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
    if standing.result is None:
        return None
    usage = standing.result.usage
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }
