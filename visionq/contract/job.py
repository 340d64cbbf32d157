"""The job: one question about one or several pictures, which is one provider call."""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    AwareDatetime,
    Field,
    JsonValue,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from visionq.contract.base import (
    SCHEMA_VERSION,
    Document,
    JobId,
    ModelName,
    Sha256,
    TenantName,
)
from visionq.contract.further_models import Cascade, FurtherModels
from visionq.contract.owned import refused_in_extra_body, with_own_fields
from visionq.contract.pictures import PictureOptions
from visionq.errors import InvalidJob, without_secrets
from visionq.input_errors import describe

#: A constraint, however wide, has pydantic see that a text can be written as UTF-8: half a
#: surrogate pair, which JSON can say, can't.
Text = Annotated[str, StringConstraints(max_length=1_000_000)]
#: Of an answer of the Responses API (`integer_below_min_value`, 2026); the other takes 1.
LEAST_OUTPUT_TOKENS: Final = 16
#: Of an answer of any model.
MOST_OUTPUT_TOKENS: Final = 1_000_000
#: Bits, of the 64 of a perceptual hash, in which pictures may differ that count as alike.
MOST_DISTANCE: Final = 10
#: How long the model is to think: `none`, `minimal`, `low`, `medium`, `high`, …, as it takes them.
Effort = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,31}$")]


class Api(StrEnum):
    """The surface of the provider that is called."""

    RESPONSES = "responses"
    CHAT_COMPLETIONS = "chat_completions"


class Detail(StrEnum):
    """The resolution at which the model sees pictures."""

    AUTO = "auto"
    LOW = "low"
    HIGH = "high"
    ORIGINAL = "original"


class Priority(StrEnum):
    """Interactive goes before bulk; bulk is never starved."""

    INTERACTIVE = "interactive"
    BULK = "bulk"


class UrlMode(StrEnum):
    """Who fetches a picture given by URL."""

    DOWNLOAD = "download"
    """The worker fetches and checks it."""
    PASS = "pass"  # noqa: S105  # not a password
    """The provider fetches it, unchecked."""


class Reuse(StrEnum):
    """Whether a stored answer to the same question about the same pictures is reused."""

    USE = "use"
    REFRESH = "refresh"
    """Ask again and store the new answer."""
    OFF = "off"


class PromptCache(StrEnum):
    """The part of a prompt that the provider caches for cheaper later calls."""

    OFF = "off"
    """Nothing is written, and nothing read."""
    INSTRUCTIONS = "instructions"
    """What many jobs share; never a picture."""
    IMPLICIT = "implicit"
    """What the provider likes: all of a long prompt, pictures included."""


class Lane(StrEnum):
    """How the provider is called: online, or in a batch at half the price."""

    AUTO = "auto"
    """What can wait goes through the provider's batches, the rest online."""
    ONLINE = "online"
    BATCH = "batch"


class UnknownBilling(StrEnum):
    """What happens to a job whose call may have been billed without an answer."""

    RETRY = "retry"
    """Asked once more at most, then parked."""
    HOLD = "hold"
    """Parked at once: never called twice."""


class ImageReference(Document):
    """A picture by its address or by the hash of its stored bytes; never the bytes."""

    url: Annotated[str, StringConstraints(min_length=1, max_length=8192)] | None = None
    blob: Sha256 | None = None
    name: Annotated[str, StringConstraints(max_length=1024)] | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.url is None) == (self.blob is None):
            message = "give either url or blob"
            raise ValueError(message)
        return self

    def label(self, position: int) -> str:
        """Return a readable label of the picture; `position` counts from 0."""
        return without_secrets(self.name or self.url or f"image {position + 1}")


class AnswerFormat(Document):
    """The answer form requested by a client of OpenAI's API."""

    type: Literal["json_schema", "function"]
    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
    description: Text | None = None
    strict: bool | None = None
    #: Of a function: whether the model was to call it, any function, or this one by its name.
    tool_choice: Literal["auto", "required", "function"] | None = None


class JobDocument(Document):
    """A job as submitted. Everything but prompt and pictures has a default."""

    schema_version: Literal[1] = SCHEMA_VERSION
    prompt: Annotated[str, StringConstraints(min_length=1, max_length=1_000_000)]
    images: Annotated[tuple[ImageReference, ...], Field(min_length=1, max_length=500)]
    instructions: Annotated[str, StringConstraints(max_length=1_000_000)] | None = None
    model: ModelName | None = None
    #: Models to ask if the one before is away, held, retired or refuses the picture, in this order.
    fallback: FurtherModels = ()
    cascade: Cascade | None = None
    api: Api = Api.RESPONSES
    detail: Detail = Detail.AUTO
    #: JSON Schema of the answer wanted; `data` of the result then holds the parsed answer.
    answer_schema: dict[str, Any] | None = None
    #: Set by the gateway, which returns the answer to `function` as a call of it.
    answer_format: AnswerFormat | None = None
    #: Of reasoning and answer together; the Responses API takes 16 and more.
    max_output_tokens: Annotated[int, Field(ge=1, le=MOST_OUTPUT_TOKENS)] | None = None
    effort: Effort | None = None
    #: None: the instructions of bulk jobs, where they are long enough.
    prompt_cache: PromptCache | None = None
    #: How long it is kept at least: `30m`, `12h`, as model and API take it.
    prompt_cache_ttl: Annotated[str, StringConstraints(pattern=r"^[0-9]{1,4}[mh]$")] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    #: How the provider is to schedule the call: `default`, `flex`, `priority`, …
    service_tier: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z_]{0,31}$")] | None = None
    #: Further fields of the provider's request, as they are: `{"seed": 7}`. Those that a field
    #: above stands for are moved there, or refused.
    extra_body: dict[str, JsonValue] = Field(default_factory=dict)
    #: Ask once more, without the pictures, for an answer that does not match `answer_schema`.
    repair: bool = True
    url_mode: UrlMode = UrlMode.DOWNLOAD
    pictures: PictureOptions = PictureOptions()
    tenant: TenantName = "default"
    priority: Priority = Priority.INTERACTIVE
    reuse: Reuse = Reuse.USE
    #: Let one call answer this and other questions about the same pictures that are asked otherwise
    #: alike; each pays its share.
    together: bool = False
    #: Bits of the perceptual hash by which an answered picture may differ and still give its answer
    #: to this one; of jobs with one picture. None: only the same bytes count.
    near: Annotated[int, Field(ge=0, le=MOST_DISTANCE)] | None = None
    on_unknown_billing: UnknownBilling = UnknownBilling.RETRY
    #: Kept with the job and given back with its result; never sent to the provider.
    metadata: dict[Text, Text] = Field(default_factory=dict)
    batch_id: JobId | None = None
    #: The job that ended without an answer and that this one replays.
    replay_of: JobId | None = None
    idempotency_key: Annotated[str, StringConstraints(min_length=1, max_length=1024)] | None = None
    #: A job whose call has not been sent by then fails with `deadline_exceeded`, unpaid.
    deadline: AwareDatetime | None = None
    #: When the answer is needed; None: as soon as can be. A late answer is an answer all the same.
    by: AwareDatetime | None = None
    lane: Lane = Lane.AUTO

    @model_validator(mode="before")
    @classmethod
    def _one_place_each(cls, fields: object) -> object:
        return with_own_fields(fields) if isinstance(fields, Mapping) else fields

    @field_validator("max_output_tokens")
    @classmethod
    def _long_enough(cls, limit: int | None, info: ValidationInfo) -> int | None:
        if limit and limit < LEAST_OUTPUT_TOKENS and info.data.get("api") is Api.RESPONSES:
            message = f"the Responses API takes {LEAST_OUTPUT_TOKENS} and more"
            raise ValueError(message)
        return limit

    @field_validator("near")
    @classmethod
    def _reuses(cls, near: int | None, info: ValidationInfo) -> int | None:
        if near is not None and info.data.get("reuse") is not Reuse.USE:
            message = "it gives stored answers again: leave `reuse` at use"
            raise ValueError(message)
        return near

    @field_validator("extra_body")
    @classmethod
    def _none_of_ours(cls, extra: dict[str, JsonValue]) -> dict[str, JsonValue]:
        if message := refused_in_extra_body(extra):
            raise ValueError(message)
        return extra

    def to_compact_json(self) -> str:
        """Return the stored form, without fields at their default."""
        fields = self.model_dump(mode="json", exclude_defaults=True)
        return json.dumps(
            {"schema_version": self.schema_version, **fields},
            ensure_ascii=False,
            separators=(",", ":"),
        )

    @property
    def further_models(self) -> tuple[str, ...]:
        """All models that may be asked besides the job's own."""
        return (*(self.cascade.models if self.cascade else ()), *self.fallback)

    @property
    def blobs(self) -> tuple[str, ...]:
        """The distinct blobs that the job needs, in order."""
        return tuple(dict.fromkeys(image.blob for image in self.images if image.blob))


def parse_job(fields: Mapping[str, Any]) -> JobDocument:
    """Read a job from plain values; raise `InvalidJob`, which names the first wrong field."""
    try:
        return JobDocument.model_validate(fields)
    except ValidationError as error:
        raise InvalidJob(describe(error)) from None
