"""What both of OpenAI's APIs have in common: fields, messages, and the one question in them."""

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
    PictureOptions,
    Priority,
    PromptCache,
    Reuse,
    UnknownBilling,
    UrlMode,
)
from visionq.contract.base import ModelName
from visionq.contract.job import MOST_OUTPUT_TOKENS

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class Text:
    """Words of a message."""

    text: str
    #: Whether the part of the prompt that the provider keeps ends with it.
    ends_prefix: bool = False


@dataclass(frozen=True, slots=True)
class Image:
    """A picture of a message."""

    url: str
    detail: str | None


@dataclass(frozen=True, slots=True)
class Said:
    """A message, whichever API it came by."""

    role: str
    parts: tuple[Text | Image, ...]


def question_in(said: list[Said], field: str, instructions: str | None = None) -> dict[str, Any]:
    """Return prompt, pictures, detail and instructions of a job.

    A job is one question: instructions, then a text, then pictures. What says more than that, and
    would lose its sense when it is put so, is refused.

    Args:
        said: the messages, in order.
        field: what they are called in the request, for errors.
        instructions: those that stand outside the messages.

    Raises:
        ValueError: the messages are more than one question; the text begins with the field.
    """
    asked = [position for position, one in enumerate(said) if one.role == "user"]
    if len(asked) != 1 or asked[0] != len(said) - 1:
        raise ValueError(
            f"{field}: give one user message, as the last; conversations are not supported here"
        )
    where = f"{field}.{asked[0]}.content"
    texts, images = _sorted_out(said[-1].parts, where)
    rules = [instructions] if instructions else []
    rules += [_words(one, f"{field}.{position}") for position, one in enumerate(said[:-1])]
    fields: dict[str, Any] = {
        "prompt": "\n\n".join(texts),
        "images": [{"url": image.url} for image in images],
    }
    if any(image.detail for image in images):
        fields["detail"] = _detail_of(images, where)
    if rules:
        fields["instructions"] = "\n\n".join(rules)
    if _ends_prefix(said, field):
        fields["prompt_cache"] = PromptCache.INSTRUCTIONS
    return fields


def _ends_prefix(said: list[Said], field: str) -> bool:
    """Return whether the provider keeps the instructions; a job knows no other end of a prefix."""
    marked = [
        (position, index)
        for position, one in enumerate(said)
        for index, part in enumerate(one.parts)
        if isinstance(part, Text) and part.ends_prefix
    ]
    last = (len(said) - 2, len(said[-2].parts) - 1) if len(said) > 1 else None
    for place in marked:
        if place != last:
            position, index = place
            raise ValueError(
                f"{field}.{position}.content.{index}.prompt_cache_breakpoint: supported at the end"
                " of the instructions alone"
            )
    return bool(marked)


def _sorted_out(parts: tuple[Text | Image, ...], where: str) -> tuple[list[str], list[Image]]:
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
            f"{where}: text between pictures would lose its place: give the pictures one after the"
            " other"
        )
    return texts, images


def _detail_of(images: list[Image], where: str) -> str:
    details = {image.detail or Detail.AUTO.value for image in images}
    if len(details) > 1:
        raise ValueError(f"{where}: all pictures of a request must have the same detail")
    return details.pop()


def _words(said: Said, where: str) -> str:
    if any(isinstance(part, Image) for part in said.parts):
        raise ValueError(f"{where}.content: only the user's message may hold pictures")
    return "\n\n".join(part.text for part in said.parts if isinstance(part, Text))


#: `auto`, `low`, `high`, `original`.
DetailName = Literal["auto", "low", "high", "original"]
#: Pictures by address: `https:`, `http:`, or the picture itself as `data:<type>;base64,<data>`.
PictureUrl = Annotated[str, Field(min_length=1)]
MaxTokens = Annotated[int, Field(ge=1, le=MOST_OUTPUT_TOKENS, strict=True)]
Share = Annotated[float, Field(ge=0, le=1, strict=True)]
#: What OpenAI calls an effort, a key or a name of somebody.
ShortText = Annotated[str, Field(min_length=1, max_length=512)]
Metadata = Annotated[
    dict[
        Annotated[str, Field(max_length=64)],
        Annotated[str, Field(max_length=512)],
    ],
    Field(max_length=16),
]
LOG_PROBABILITIES: Final = "log probabilities are not supported"
#: Fields of a request that shape the call and that a job has no word for: both APIs pass them on.
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
    """Refuse a time as a number, which pydantic takes for seconds, or milliseconds."""
    if isinstance(time, (int, float)):
        raise ValueError("give a time with its zone: 2030-01-01T12:00:00Z")  # noqa: TRY004  # pydantic takes ValueError
    return time


class Extras(Part):
    """What OpenAI's APIs have no word for: fields of our own jobs."""

    pictures: Annotated[PictureOptions | None, BeforeValidator(_with_flags)] = None
    priority: Priority | None = None
    reuse: Reuse | None = None
    on_unknown_billing: UnknownBilling | None = None
    url_mode: UrlMode | None = None
    deadline: Annotated[AwareDatetime | None, BeforeValidator(_written_out)] = None
    repair: StrictBool | None = None
    #: Fields of the provider's request that are not read here; they are passed on as they are.
    extra_body: dict[str, JsonValue] | None = None


class StreamOptions(Part):
    """How the answer is streamed."""

    #: Accepted for either value: nothing pads the events of this gateway.
    include_obfuscation: StrictBool | None = None


class PromptCacheOptions(Part):
    """What the provider keeps of the prompt; a job has words of its own for it."""

    mode: Literal["implicit", "explicit"] | None = None
    ttl: ShortText | None = None


class Breakpoint(Part):
    """The end of what the provider keeps of the prompt."""

    mode: Literal["explicit"]


def _one_question(role: object) -> object:
    if role in ("assistant", "tool", "function"):  # it may be unhashable
        raise not_supported(
            f"messages of the {role} are not supported: a request is one question; what was said"
            " before can be told in the instructions"
        )
    return role


class Turn(Part):
    """What somebody says; each API has its own forms of `content`."""

    role: Annotated[Literal["user", "system", "developer"], BeforeValidator(_one_question)]
    content: list[Any]

    def said(self) -> Said:
        """Return it as both APIs know it."""
        parts: tuple[Text | Image, ...] = tuple(part.said() for part in self.content)
        return Said(self.role, parts)


def as_parts(kind: str) -> Callable[[object], object]:
    """Return what makes a part of type `kind` of content that is a mere text."""
    return lambda content: (
        [{"type": kind, "text": content}] if isinstance(content, str) else content
    )


class Common(Part):
    """Fields of both. Those of one allowed value are there for clients that spell out defaults."""

    #: Which of the APIs, and the names of its further fields that are passed on.
    api: ClassVar[Api]
    passed_on: ClassVar[tuple[str, ...]] = ()

    model: ModelName | None = None
    metadata: Metadata | None = None
    temperature: Annotated[float, Field(ge=0, le=2, strict=True)] | None = None
    top_p: Share | None = None
    #: How the provider is to schedule the call: `default`, `flex`, `priority`, …
    service_tier: Annotated[str, Field(pattern=r"^[a-z][a-z_]{0,31}$")] | None = None
    prompt_cache_key: ShortText | None = None
    prompt_cache_options: PromptCacheOptions | None = None
    prompt_cache_retention: ShortText | None = None
    safety_identifier: ShortText | None = None
    user: ShortText | None = None
    #: Nothing is stored at the provider, whatever this says.
    store: StrictBool | None = None
    #: Read by whoever answers; it changes nothing about the job.
    stream: StrictBool | None = None
    stream_options: StreamOptions | None = None
    #: One answer is one call at most, whatever this says.
    parallel_tool_calls: StrictBool | None = None
    top_logprobs: Annotated[None, NotSupported(LOG_PROBABILITIES, but=(0,))] = None
    moderation: Annotated[None, NotSupported("moderation by the provider is not supported")] = None
    visionq: Extras | None = None

    def to_fields(self) -> dict[str, Any]:
        """Return the fields of the job, but for those that hold their default.

        Raises:
            ValueError: the request is no single question; the text begins with the field.
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
        """Return what is kept of the prompt beside what its own breakpoint says."""
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
            ValueError: it is asked for twice, or in a form that is none.
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
