"""A request to `/v1/chat/completions`."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, ConfigDict, Field, JsonValue, StrictBool

from producer.openai_requests.parts import (
    Common,
    DetailName,
    MaxTokens,
    NamedSchema,
    Part,
    PictureUrl,
    ShortText,
    StreamOptions,
    TextFormat,
    Turn,
    as_parts,
)
from producer.openai_requests.question import Image, Text, question_in
from visionq.contract import Api

Penalty = Annotated[float, Field(ge=-2, le=2)]


class TextPart(Part):
    """Words."""

    type: Literal["text"]
    text: str

    def said(self) -> Text:
        """Return it as both APIs know it."""
        return Text(self.text)


class Picture(Part):
    """Where a picture is, and how closely to look at it."""

    url: PictureUrl
    detail: DetailName | None = None


class ImagePart(Part):
    """A picture."""

    type: Literal["image_url"]
    image_url: Picture

    def said(self) -> Image:
        """Return it as both APIs know it."""
        return Image(self.image_url.url, self.image_url.detail)


Content = Annotated[TextPart | ImagePart, Field(discriminator="type")]


class ChatMessage(Turn):
    """What somebody says."""

    content: Annotated[
        list[Content],
        Field(min_length=1),
        BeforeValidator(as_parts("text"), json_schema_input_type=str | list[Content]),
    ]


class SchemaFormat(Part):
    """JSON of a given form."""

    type: Literal["json_schema"]
    json_schema: NamedSchema


class ChatStreamOptions(StreamOptions):
    """How a completion is streamed."""

    #: Tell the usage in a last chunk.
    include_usage: StrictBool | None = None


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
    api: ClassVar[Api] = Api.CHAT_COMPLETIONS
    passed_on: ClassVar[tuple[str, ...]] = (
        "frequency_penalty", "logit_bias", "presence_penalty", "reasoning_effort", "seed", "stop",
        "verbosity",
    )  # fmt: skip

    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=100)]
    max_completion_tokens: MaxTokens | None = None
    max_tokens: MaxTokens | None = None
    response_format: Annotated[TextFormat | SchemaFormat, Field(discriminator="type")] | None = None
    n: Annotated[int, Field(ge=1, le=1)] | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    logit_bias: dict[str, float] | None = None
    seed: int | None = None
    stream_options: ChatStreamOptions | None = None
    stop: str | Annotated[list[str], Field(min_length=1, max_length=4)] | None = None
    reasoning_effort: ShortText | None = None
    verbosity: ShortText | None = None

    def _question(self) -> dict[str, Any]:
        return question_in([message.said() for message in self.messages], "messages")

    def _most_tokens(self) -> int | None:
        return self.max_completion_tokens or self.max_tokens

    def _schema(self) -> dict[str, JsonValue] | None:
        form = self.response_format
        return form.json_schema.schema_ if isinstance(form, SchemaFormat) else None
