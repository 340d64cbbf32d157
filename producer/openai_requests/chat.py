"""A request to `/v1/chat/completions`."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import BeforeValidator, ConfigDict, Field, StrictBool, StrictInt

from producer.openai_requests.answer_forms import (
    JSON_OBJECT,
    TEXT,
    AnswerForm,
    ChatChoice,
    ChatTool,
    KnownChoice,
    NamedSchema,
    ObjectFormat,
    OneFunction,
    TextFormat,
    WordOfChoice,
    form_of_call,
    form_of_schema,
)
from producer.openai_requests.parts import (
    LOG_PROBABILITIES,
    Breakpoint,
    Common,
    DetailName,
    Image,
    MaxTokens,
    PictureUrl,
    ShortText,
    StreamOptions,
    Text,
    Turn,
    as_parts,
    question_in,
)
from producer.openai_requests.unsupported import NotSupported, Part
from visionq.contract import Api

_OLD_FUNCTIONS: Final = "the old form of tools is not supported: give one function as `tools`"
Penalty = Annotated[float, Field(ge=-2, le=2, strict=True)]


class TextPart(Part):
    """A part with text."""

    type: Literal["text"]
    text: str
    prompt_cache_breakpoint: Breakpoint | None = None

    def to_message_part(self) -> Text:
        """Convert to the form of both APIs."""
        return Text(self.text, ends_prefix=self.prompt_cache_breakpoint is not None)


class PicturePart(Part):
    """The address and `detail` of a picture."""

    url: PictureUrl
    detail: DetailName | None = None


class ImagePart(Part):
    """A part with a picture."""

    type: Literal["image_url"]
    image_url: PicturePart

    def to_message_part(self) -> Image:
        """Convert to the form of both APIs."""
        return Image(self.image_url.url, self.image_url.detail)


Content = Annotated[TextPart | ImagePart, Field(discriminator="type")]


class ChatMessage(Turn):
    """A message."""

    name: Annotated[
        None, NotSupported("names of speakers are not supported: give them as text")
    ] = None

    content: Annotated[
        list[Content],
        Field(min_length=1),
        BeforeValidator(as_parts("text"), json_schema_input_type=str | list[Content]),
    ]


class ChatSchemaFormat(Part):
    """JSON with a schema."""

    type: Literal["json_schema"]
    json_schema: NamedSchema


class ChatStreamOptions(StreamOptions):
    """Options of a stream."""

    #: Send the usage in a last chunk.
    include_usage: StrictBool | None = None


Format = Annotated[TextFormat | ObjectFormat | ChatSchemaFormat, Field(discriminator="type")]


class ChatRequest(Common):
    """A request for a completion: one question about one or several pictures."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "model": "gpt-6-luna",
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
    response_format: Format | None = None
    tools: Annotated[list[ChatTool] | None, OneFunction] = None
    tool_choice: Annotated[WordOfChoice | ChatChoice | None, KnownChoice] = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    logit_bias: dict[str, float] | None = None
    seed: StrictInt | None = None
    stream_options: ChatStreamOptions | None = None
    stop: str | Annotated[list[str], Field(min_length=1, max_length=4)] | None = None
    reasoning_effort: ShortText | None = None
    verbosity: ShortText | None = None
    n: Annotated[
        None,
        NotSupported("several answers to a request are not supported: send it again", but=(1,)),
    ] = None
    logprobs: Annotated[None, NotSupported(LOG_PROBABILITIES, but=(False,))] = None
    modalities: Annotated[
        None, NotSupported("answers in audio are not supported", but=(["text"],))
    ] = None
    audio: Annotated[None, NotSupported("answers in audio are not supported")] = None
    prediction: Annotated[None, NotSupported("predicted outputs are not supported")] = None
    web_search_options: Annotated[None, NotSupported("searching the web is not supported")] = None
    functions: Annotated[None, NotSupported(_OLD_FUNCTIONS, but=([],))] = None
    function_call: Annotated[None, NotSupported(_OLD_FUNCTIONS, but=("none", "auto"))] = None

    def _question(self) -> dict[str, Any]:
        return question_in([one.to_message() for one in self.messages], "messages")

    def _most_tokens(self) -> int | None:
        return self.max_completion_tokens or self.max_tokens

    def _text_form(self) -> AnswerForm:
        form = self.response_format
        if isinstance(form, ChatSchemaFormat):
            return form_of_schema(form.json_schema, "response_format.json_schema.schema")
        return JSON_OBJECT if isinstance(form, ObjectFormat) else TEXT

    def _call(self) -> AnswerForm | None:
        choice = self.tool_choice
        name = choice.function.name if isinstance(choice, ChatChoice) else choice
        function = self.tools[0].function if self.tools else None
        return form_of_call(function, name, "tools.0.function.parameters")
