"""Common parts of OpenAI's two APIs: fields, messages, and the one question."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Literal

from pydantic import AwareDatetime, BeforeValidator, Field, JsonValue, StrictBool

from producer.openai_requests.answer_forms import TEXT, AnswerForm
from producer.openai_requests.unsupported import NotSupported, Part, not_supported
from visionq.contract import (
    Api,
    Detail,
    Lane,
    PictureOptions,
    Priority,
    PromptCache,
    Reuse,
    UnknownBilling,
    UrlMode,
)
from visionq.contract.base import ModelName
from visionq.contract.further_models import Cascade, FurtherModels
from visionq.contract.job import MOST_DISTANCE, MOST_OUTPUT_TOKENS

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class Text:
    """Text in a message."""

    text: str
    #: Whether the prefix of the prompt that the provider caches ends with it.
    ends_prefix: bool = False


@dataclass(frozen=True, slots=True)
class Image:
    """A picture in a message."""

    url: str
    detail: str | None


@dataclass(frozen=True, slots=True)
class ParsedMessage:
    """A message of either API."""

    role: str
    parts: tuple[Text | Image, ...]


def question_in(
    messages: list[ParsedMessage], field: str, instructions: str | None = None
) -> dict[str, Any]:
    """Return prompt, pictures, detail and instructions of a job.

    A job is one question: instructions, then a text, then pictures. Messages that would lose their
    meaning in this form are refused.

    Args:
        messages: in order.
        field: their name in the request, for errors.
        instructions: those outside the messages.

    Raises:
        ValueError: the messages are more than one question; the text begins with the field.
    """
    asked = [position for position, one in enumerate(messages) if one.role == "user"]
    if len(asked) != 1 or asked[0] != len(messages) - 1:
        raise ValueError(
            f"{field}: give one user message, as the last; conversations are not supported here"
        )
    where = f"{field}.{asked[0]}.content"
    texts, images = _texts_and_images(messages[-1].parts, where)
    rules = [instructions] if instructions else []
    rules += [_text_of(one, f"{field}.{position}") for position, one in enumerate(messages[:-1])]
    fields: dict[str, Any] = {
        "prompt": "\n\n".join(texts),
        "images": [{"url": image.url} for image in images],
    }
    if any(image.detail for image in images):
        fields["detail"] = _detail_of(images, where)
    if rules:
        fields["instructions"] = "\n\n".join(rules)
    if _ends_prefix(messages, field):
        fields["prompt_cache"] = PromptCache.INSTRUCTIONS
    return fields


def _ends_prefix(messages: list[ParsedMessage], field: str) -> bool:
    """Return whether to cache the instructions; a job has no other prefix."""
    marked = [
        (position, index)
        for position, one in enumerate(messages)
        for index, part in enumerate(one.parts)
        if isinstance(part, Text) and part.ends_prefix
    ]
    last = (len(messages) - 2, len(messages[-2].parts) - 1) if len(messages) > 1 else None
    for place in marked:
        if place != last:
            position, index = place
            raise ValueError(
                f"{field}.{position}.content.{index}.prompt_cache_breakpoint: supported at the end"
                " of the instructions alone"
            )
    return bool(marked)


def _texts_and_images(parts: tuple[Text | Image, ...], where: str) -> tuple[list[str], list[Image]]:
    texts = [part.text for part in parts if isinstance(part, Text)]
    images = [part for part in parts if isinstance(part, Image)]
    if not any(text.strip() for text in texts):
        raise ValueError(f"{where}: there is no text: ask something about the pictures")
    if not images:
        raise ValueError(
            f"{where}: there is no picture: questions about text alone are not"
            " supported; add a picture, or ask the provider itself"
        )
    kinds = [type(part) for part in parts]
    starts = sum(first is not second is Image for first, second in pairwise([Text, *kinds]))
    if starts > 1:
        raise ValueError(
            f"{where}: text between pictures would lose its place: give all pictures together"
        )
    return texts, images


def _detail_of(images: list[Image], where: str) -> str:
    details = {image.detail or Detail.AUTO.value for image in images}
    if len(details) > 1:
        raise ValueError(f"{where}: all pictures of a request must have the same detail")
    return details.pop()


def _text_of(message: ParsedMessage, where: str) -> str:
    if any(isinstance(part, Image) for part in message.parts):
        raise ValueError(f"{where}.content: only the user's message may contain pictures")
    return "\n\n".join(part.text for part in message.parts if isinstance(part, Text))


#: `auto`, `low`, `high`, `original`.
DetailName = Literal["auto", "low", "high", "original"]
#: Pictures by address: `https:`, `http:`, or the picture itself as `data:<type>;base64,<data>`.
PictureUrl = Annotated[str, Field(min_length=1)]
MaxTokens = Annotated[int, Field(ge=1, le=MOST_OUTPUT_TOKENS, strict=True)]
Share = Annotated[float, Field(ge=0, le=1, strict=True)]
#: An effort, a key or a user's name in OpenAI's APIs.
ShortText = Annotated[str, Field(min_length=1, max_length=512)]
Metadata = Annotated[
    dict[
        Annotated[str, Field(max_length=64)],
        Annotated[str, Field(max_length=512)],
    ],
    Field(max_length=16),
]
LOG_PROBABILITIES: Final = "log probabilities are not supported"
#: Fields that both APIs pass on to the provider, since a job has none for them.
_PASSED_ON: Final = (
    "top_p", "prompt_cache_key", "prompt_cache_retention", "safety_identifier", "user",
)  # fmt: skip


def _with_flags(pictures: object) -> object:
    """Refuse numbers and text for options that are true or false; tables may hold them."""
    for name, field in PictureOptions.model_fields.items():
        if field.annotation is bool and isinstance(pictures, dict):
            value = pictures.get(name, False)
            if not isinstance(value, bool):
                raise ValueError(f"{name} must be true or false")  # pydantic takes ValueError
    return pictures


def _written_out(time: object) -> object:
    """Refuse a time as a number, which pydantic reads as seconds or milliseconds."""
    if isinstance(time, (int, float)):
        raise ValueError("give a time with its zone: 2030-01-01T12:00:00Z")  # noqa: TRY004  # pydantic takes ValueError
    return time


class Extras(Part):
    """Fields of jobs that OpenAI's APIs do not have."""

    pictures: Annotated[PictureOptions | None, BeforeValidator(_with_flags)] = None
    priority: Priority | None = None
    reuse: Reuse | None = None
    together: StrictBool | None = None
    near: Annotated[int, Field(strict=True, ge=0, le=MOST_DISTANCE)] | None = None
    fallback: FurtherModels | None = None
    cascade: Cascade | None = None
    on_unknown_billing: UnknownBilling | None = None
    url_mode: UrlMode | None = None
    deadline: Annotated[AwareDatetime | None, BeforeValidator(_written_out)] = None
    by: Annotated[str | None, Field(max_length=64)] = None
    lane: Lane | None = None
    repair: StrictBool | None = None
    #: Other fields of the provider's request, passed on unchanged.
    extra_body: dict[str, JsonValue] | None = None


class StreamOptions(Part):
    """Options of a stream."""

    #: Accepted and ignored: this gateway does not pad events.
    include_obfuscation: StrictBool | None = None


class PromptCacheOptions(Part):
    """The provider's cache of prompts; a job has its own fields for it."""

    mode: Literal["implicit", "explicit"] | None = None
    ttl: ShortText | None = None


class Breakpoint(Part):
    """The end of the prefix that the provider caches."""

    mode: Literal["explicit"]


def _one_question(role: object) -> object:
    if role in ("assistant", "tool", "function"):  # it may be unhashable
        raise not_supported(
            f"messages of the {role} are not supported: a request is one question; give earlier"
            " messages in the instructions"
        )
    return role


class Turn(Part):
    """A message; each API has its own forms of `content`."""

    role: Annotated[Literal["user", "system", "developer"], BeforeValidator(_one_question)]
    content: list[Any]

    def to_message(self) -> ParsedMessage:
        """Convert to the form of both APIs."""
        parts: tuple[Text | Image, ...] = tuple(part.to_message_part() for part in self.content)
        return ParsedMessage(self.role, parts)


def as_parts(kind: str) -> Callable[[object], object]:
    """Return a validator that turns a plain text into a part of type `kind`."""
    return lambda content: (
        [{"type": kind, "text": content}] if isinstance(content, str) else content
    )


class Common(Part):
    """Fields of both APIs; those with one allowed value serve clients that send defaults."""

    #: The API, and its further fields that are passed on.
    api: ClassVar[Api]
    passed_on: ClassVar[tuple[str, ...]] = ()

    model: ModelName | None = None
    metadata: Metadata | None = None
    temperature: Annotated[float, Field(ge=0, le=2, strict=True)] | None = None
    top_p: Share | None = None
    #: The provider's scheduling: `default`, `flex`, `priority`, …
    service_tier: Annotated[str, Field(pattern=r"^[a-z][a-z_]{0,31}$")] | None = None
    prompt_cache_key: ShortText | None = None
    prompt_cache_options: PromptCacheOptions | None = None
    prompt_cache_retention: ShortText | None = None
    safety_identifier: ShortText | None = None
    user: ShortText | None = None
    #: Ignored: nothing is stored at the provider.
    store: StrictBool | None = None
    #: Read by the gateway; it does not change the job.
    stream: StrictBool | None = None
    stream_options: StreamOptions | None = None
    #: Ignored: an answer is one call at most.
    parallel_tool_calls: StrictBool | None = None
    top_logprobs: Annotated[None, NotSupported(LOG_PROBABILITIES, but=(0,))] = None
    moderation: Annotated[None, NotSupported("moderation by the provider is not supported")] = None
    visionq: Extras | None = None

    def to_fields(self) -> dict[str, Any]:
        """Return the fields of the job that are given.

        Raises:
            ValueError: the request is not one question; the text begins with the field.
        """
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options: only with stream: true")
        own = self.visionq.model_dump(exclude_none=True) if self.visionq else {}
        question = self._question()
        given = {
            **own,
            **question,
            **self._prompt_cache(keeps="prompt_cache" in question),
            "api": self.api,
            "model": self.model,
            "temperature": self.temperature,
            "service_tier": self.service_tier,
            "metadata": self.metadata,
            "max_output_tokens": self._most_tokens(),
            **self._answer_form().to_fields(),
            "extra_body": self._extra_body(own.get("extra_body", {})) or None,
        }
        return {name: value for name, value in given.items() if value is not None}

    def _prompt_cache(self, *, keeps: bool) -> dict[str, Any]:
        """Return the fields for the provider's cache, besides a breakpoint in the messages."""
        options = self.prompt_cache_options
        if options is None:
            return {}
        if not keeps:
            mode = PromptCache.OFF if options.mode == "explicit" else PromptCache.IMPLICIT
            return {"prompt_cache": mode, "prompt_cache_ttl": options.ttl}
        if options.mode == "implicit":
            raise ValueError(
                "prompt_cache_options.mode: a breakpoint beside the implicit one is not supported:"
                " give explicit"
            )
        return {"prompt_cache_ttl": options.ttl}

    def _extra_body(self, own: dict[str, Any]) -> dict[str, Any]:
        for name in own:
            field = type(self).model_fields.get(name)
            if field and not any(isinstance(mark, NotSupported) for mark in field.metadata):
                raise ValueError(f"visionq.extra_body: give {name} as a field of the request")
        return {**own, **self._passed_on()}

    def _passed_on(self) -> dict[str, Any]:
        names = {*_PASSED_ON, *self.passed_on}
        given = self.model_dump(mode="json", include=names, exclude_none=True)
        return {name: value for name, value in given.items() if value != {}}

    def _answer_form(self) -> AnswerForm:
        """Return the form of the answer.

        Raises:
            ValueError: there are two, or one is malformed.
        """
        form, call = self._text_form(), self._call()
        if call is None or call.answer_format is None:
            return form
        if form != TEXT and call.answer_format.tool_choice == "auto":
            raise ValueError(
                "tools: a function beside json_object or json_schema is not supported: each is the"
                " form of the answer; give one of them, or choose the function by tool_choice"
            )
        return call

    def _question(self) -> dict[str, Any]:
        raise NotImplementedError

    def _most_tokens(self) -> int | None:
        raise NotImplementedError

    def _text_form(self) -> AnswerForm:
        raise NotImplementedError

    def _call(self) -> AnswerForm | None:
        raise NotImplementedError
