"""A request to `/v1/responses`."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, ConfigDict, Field, JsonValue, StrictBool

from producer.openai_requests.parts import (
    Common,
    DetailName,
    MaxTokens,
    NamedSchema,
    Nothing,
    Part,
    PictureUrl,
    ShortText,
    TextFormat,
    Turn,
    as_parts,
)
from producer.openai_requests.question import Image, Text, question_in
from visionq.contract import Api


class InputText(Part):
    """Words."""

    type: Literal["input_text"]
    text: str

    def said(self) -> Text:
        """Return it as both APIs know it."""
        return Text(self.text)


class InputImage(Part):
    """A picture."""

    type: Literal["input_image"]
    image_url: PictureUrl
    detail: DetailName | None = None

    def said(self) -> Image:
        """Return it as both APIs know it."""
        return Image(self.image_url, self.detail)


Content = Annotated[InputText | InputImage, Field(discriminator="type")]


class Message(Turn):
    """What somebody says."""

    type: Literal["message"] | None = None
    content: Annotated[
        list[Content],
        Field(min_length=1),
        BeforeValidator(as_parts("input_text"), json_schema_input_type=str | list[Content]),
    ]


def _as_messages(given: object) -> object:
    return [{"role": "user", "content": given}] if isinstance(given, str) else given


class SchemaFormat(NamedSchema):
    """JSON of a given form."""

    type: Literal["json_schema"]


class TextOptions(Part):
    """The form of the answer."""

    format: Annotated[TextFormat | SchemaFormat, Field(discriminator="type")] | None = None


class Reasoning(Part):
    """How long the model thinks; what it thought is not shown."""

    effort: ShortText | None = None


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
    api: ClassVar[Api] = Api.RESPONSES
    passed_on: ClassVar[tuple[str, ...]] = ("reasoning",)

    input: Annotated[
        list[Message],
        Field(min_length=1, max_length=100),
        BeforeValidator(_as_messages, json_schema_input_type=str | list[Message]),
    ]
    instructions: str | None = None
    max_output_tokens: MaxTokens | None = None
    text: TextOptions | None = None
    reasoning: Reasoning | None = None
    background: StrictBool | None = None
    truncation: Literal["disabled"] | None = None
    include: Nothing | None = None

    def _question(self) -> dict[str, Any]:
        return question_in([message.said() for message in self.input], "input", self.instructions)

    def _most_tokens(self) -> int | None:
        return self.max_output_tokens

    def _schema(self) -> dict[str, JsonValue] | None:
        form = self.text.format if self.text else None
        return form.schema_ if isinstance(form, SchemaFormat) else None
