"""A request to `/v1/responses`."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import BeforeValidator, ConfigDict, Field, StrictBool

from producer.openai_requests.answer_forms import (
    JSON_OBJECT,
    TEXT,
    AnswerForm,
    KnownChoice,
    NamedSchema,
    ObjectFormat,
    OneFunction,
    ResponsesChoice,
    ResponsesTool,
    TextFormat,
    WordOfChoice,
    form_of_call,
    form_of_schema,
)
from producer.openai_requests.parts import (
    Breakpoint,
    Common,
    DetailName,
    Image,
    MaxTokens,
    PictureUrl,
    ShortText,
    Text,
    Turn,
    as_parts,
    question_in,
)
from producer.openai_requests.unsupported import NotSupported, Part, not_supported
from visionq.contract import Api

_NO_CONVERSATION: Final = (
    "conversations are not supported: a request is one question, and says all that it needs"
)
_TURNS: Final = ("auto", "current_turn", "all_turns")
_NO_SUMMARY: Final = "summaries of what the model thought are not supported"
_NO_OPTIONS_OF_BACKGROUND: Final = (
    "not supported: give visionq.deadline, or use a batch for what has time"
)
_NO_COMPRESSION: Final = "not supported: what the model sees of a picture is decided by its detail"


def _nothing_more(include: object) -> object:
    """Accept additions to parts that answers here never have; refuse the rest."""
    for name in include if isinstance(include, list) else ():
        if isinstance(name, str) and name != "reasoning.encrypted_content":
            raise not_supported("is not supported: answers hold text and nothing more", kind=name)
    return include


_NOTHING_MORE: Final = BeforeValidator(_nothing_more)


class InputText(Part):
    """A part with text."""

    type: Literal["input_text"]
    text: str
    prompt_cache_breakpoint: Breakpoint | None = None

    def to_message_part(self) -> Text:
        """Convert to the form of both APIs."""
        return Text(self.text, ends_prefix=self.prompt_cache_breakpoint is not None)


class InputImage(Part):
    """A part with a picture."""

    type: Literal["input_image"]
    file_id: Annotated[
        None, NotSupported("pictures by the id of a file are not supported: give image_url")
    ] = None
    image_url: PictureUrl
    detail: DetailName | None = None

    def to_message_part(self) -> Image:
        """Convert to the form of both APIs."""
        return Image(self.image_url, self.detail)


Content = Annotated[InputText | InputImage, Field(discriminator="type")]


def _message_alone(kind: object) -> object:
    if isinstance(kind, str) and kind != "message":
        words = "is not supported: a request is one question, in messages; no tool is run here"
        raise not_supported(words, kind=kind)
    return kind


class Message(Turn):
    """A message."""

    type: Annotated[Literal["message"] | None, BeforeValidator(_message_alone)] = None
    status: Literal["in_progress", "completed", "incomplete"] | None = None
    phase: Annotated[None, NotSupported("only messages of the user are read")] = None
    content: Annotated[
        list[Content],
        Field(min_length=1),
        BeforeValidator(as_parts("input_text"), json_schema_input_type=str | list[Content]),
    ]


def _as_messages(given: object) -> object:
    return [{"role": "user", "content": given}] if isinstance(given, str) else given


class SchemaFormat(NamedSchema):
    """JSON with a schema."""

    type: Literal["json_schema"]


Format = Annotated[TextFormat | ObjectFormat | SchemaFormat, Field(discriminator="type")]


class TextOptions(Part):
    """The form of the answer."""

    format: Format | None = None
    verbosity: ShortText | None = None


class Reasoning(Part):
    """The reasoning of a request: its effort."""

    effort: ShortText | None = None
    summary: Annotated[None, NotSupported(_NO_SUMMARY)] = None
    generate_summary: Annotated[None, NotSupported(_NO_SUMMARY)] = None
    #: The turns that the model sees again: there is only one.
    context: Annotated[None, NotSupported(_NO_CONVERSATION, but=_TURNS)] = None
    mode: Annotated[
        None, NotSupported("only the standard mode is supported", but=("standard",))
    ] = None


class ResponseRequest(Common):
    """A request for a response: one question about one or several pictures."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "model": "gpt-6-luna",
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
    tools: Annotated[list[ResponsesTool] | None, OneFunction] = None
    tool_choice: Annotated[WordOfChoice | ResponsesChoice | None, KnownChoice] = None
    include: Annotated[list[Literal["reasoning.encrypted_content"]] | None, _NOTHING_MORE] = None
    truncation: Annotated[
        None,
        NotSupported("cutting a question short is not supported: give disabled", but=("disabled",)),
    ] = None
    previous_response_id: Annotated[None, NotSupported(_NO_CONVERSATION)] = None
    conversation: Annotated[None, NotSupported(_NO_CONVERSATION)] = None
    prompt: Annotated[
        None, NotSupported("stored prompts are not supported: give the text itself")
    ] = None
    max_tool_calls: Annotated[None, NotSupported("no tool is run here")] = None
    context_management: Annotated[None, NotSupported(_NO_CONVERSATION, but=([],))] = None
    background_options: Annotated[None, NotSupported(_NO_OPTIONS_OF_BACKGROUND)] = None
    image: Annotated[None, NotSupported(_NO_COMPRESSION, but=({},))] = None
    access_programs: Annotated[None, NotSupported("access programs are not supported")] = None

    def _question(self) -> dict[str, Any]:
        return question_in([one.to_message() for one in self.input], "input", self.instructions)

    def _most_tokens(self) -> int | None:
        return self.max_output_tokens

    def _passed_on(self) -> dict[str, Any]:
        # A separate field in the other API, and in a job.
        verbosity = self.text.verbosity if self.text else None
        return super()._passed_on() | ({"verbosity": verbosity} if verbosity else {})

    def _text_form(self) -> AnswerForm:
        form = self.text.format if self.text else None
        if isinstance(form, SchemaFormat):
            return form_of_schema(form, "text.format.schema")
        return JSON_OBJECT if isinstance(form, ObjectFormat) else TEXT

    def _call(self) -> AnswerForm | None:
        choice = self.tool_choice
        name = choice.name if isinstance(choice, ResponsesChoice) else choice
        return form_of_call(self.tools[0] if self.tools else None, name, "tools.0.parameters")
