"""The result: the answer, what it cost, and what was done with each picture."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final, Literal

from pydantic import AwareDatetime, ConfigDict, Field

from visionq.contract.base import SCHEMA_VERSION, Document, JobId, Rubles, Sha256
from visionq.contract.further_models import JobStep
from visionq.contract.job import Api
from visionq.contract.states import State

#: How the request ids of the simulator begin.
SIMULATED_REQUEST: Final = "simulated-"


def is_simulated(request_id: str | None) -> bool:
    """Return whether the simulator answered, and no model."""
    return request_id is not None and request_id.startswith(SIMULATED_REQUEST)


class Usage(Document):
    """Tokens as the provider billed them."""

    input_tokens: int = 0
    output_tokens: int = 0
    #: Of the input: what was read from the provider's cache.
    cached_tokens: int = 0
    #: Of the output.
    reasoning_tokens: int = 0
    #: Of the input: what was written to the provider's cache, and of that what for 12 hours.
    cache_write_tokens: int = 0
    cache_write_12h_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        """Input and output together."""
        return self.input_tokens + self.output_tokens

    def __add__(self, other: Usage) -> Usage:
        """Return the tokens of both."""
        return Usage(**{name: getattr(self, name) + getattr(other, name) for name in _COUNTS})


_COUNTS = tuple(Usage.model_fields)


class Picture(Document):
    """One form of a picture: as received, or as sent."""

    format: str
    width: int
    height: int
    bytes: int


class ImageReport(Document):
    """The processing of one picture of the job."""

    name: str
    sha256: Sha256 | None = None
    source: Picture | None = None
    sent: Picture | None = None
    #: In the place of `sent`, where the job's option cut it: in order, from its top or left.
    crops: tuple[Picture, ...] = ()
    #: Tokens that the rules of the model foretell for the picture, or all of its crops.
    forecast_tokens: int | None = None
    warnings: tuple[str, ...] = ()


class NearDuplicate(Document):
    """The picture that looked alike, and whose answer was given."""

    #: The job that was paid; None: another tenant's.
    job_id: JobId | None = None
    sha256: Sha256 | None = None
    #: Bits by which the perceptual hashes differ.
    distance: int


class ResultDocument(Document):
    """The answer to a completed job."""

    schema_version: Literal[1] = SCHEMA_VERSION
    id: JobId
    tenant: str = "default"
    #: That answered.
    model: str
    api: Api
    text: str = ""
    #: The parsed answer when the job asked for a JSON Schema.
    data: Any = None
    #: The first answer was not of the form asked for; this one was asked for without the pictures,
    #: and `usage` and `cost_rub` are those of both.
    repaired: bool = False
    refusal: str | None = None
    usage: Usage = Usage()
    cost_rub: Rubles = Decimal(0)
    #: How sure the answer is, if the job has a cascade; None: nothing tells.
    sureness: float | None = None
    #: The models that were asked before.
    steps: tuple[JobStep, ...] = ()
    #: What the job cost less than one that asks the last model of its cascade at once; below 0:
    #: more. None: no cascade, or not known.
    saved_rub: Rubles | None = None
    #: Whether `cost_rub` rests on a price that nobody confirmed.
    cost_is_estimate: bool = False
    #: Which served the call, as the provider says, else the one that was asked for; `batch` of an
    #: answer that came through a batch, at half the price.
    service_tier: str | None = None
    #: Answered from a stored answer, at no cost.
    cached: bool = False
    #: Questions that the call answered: cost and tokens are this one's share.
    questions: int = 1
    #: Whose answer it is, where it is that of a near-duplicate.
    near: NearDuplicate | None = None
    #: The simulator made it up: no model has seen the picture, and nothing was paid.
    simulated: bool = False
    attempts: int = 1
    request_id: str | None = None
    images: tuple[ImageReport, ...] = ()
    warnings: tuple[str, ...] = ()
    #: Milliseconds by stage of the last attempt: load, check, encode, admit, ask.
    timings_ms: dict[str, float] = Field(default_factory=dict)
    metadata: dict[str, str] = Field(default_factory=dict)
    batch_id: str | None = None
    finished_at: AwareDatetime | None = None


class InvalidAnswer(Document):
    """A paid answer that does not fit the schema, kept until the model has repaired it.

    Stored under the field names of earlier releases, whose workers may read it.
    """

    model_config = ConfigDict(populate_by_name=True, serialize_by_alias=True)

    text: str
    validation_error: str = Field(alias="complaint")
    usage: Usage | None = None
    request_id: str | None = None
    #: Under which the repaired answer is stored; empty: not stored.
    cache_key: str = Field(default="", alias="content_key")
    images: tuple[ImageReport, ...] = ()


class ErrorDocument(Document):
    """Why a job has no answer."""

    code: str
    message: str
    retryable: bool = False
    http_status: int = 500
    #: The picture at fault, where there is one.
    image: str | None = None
    cost_rub: Rubles = Decimal(0)
    request_id: str | None = None
    #: What the model wrote all the same: it was paid for.
    text: str | None = None
    #: Tokens as the provider billed them, where it billed any.
    usage: Usage | None = None


class ProviderBatchView(Document):
    """A batch at the provider, or on its way there, as people and programs see it."""

    id: str
    #: `packing`, `uploading`, `creating`, `out`, `cancelling`, `collecting`, `returning` or `done`.
    state: str = ""
    #: As the provider said at the last look.
    status: str = ""
    lines: int = 0
    completed: int = 0
    failed: int = 0
    begun_at: AwareDatetime | None = None
    #: When the provider took it, and by when it is to have answered.
    out_at: AwareDatetime | None = None
    expires_at: AwareDatetime | None = None


class JobView(Document):
    """A job as people and programs see it."""

    id: JobId
    state: State
    #: Why it waits or is parked; the error's code when it failed.
    reason: str | None = None
    tenant: str
    model: str
    priority: str
    images: int
    attempts: int = 0
    unknown_calls: int = 0
    cost_rub: Rubles = Decimal(0)
    #: The models that were asked before `model`.
    steps: tuple[JobStep, ...] = ()
    submitted_at: AwareDatetime
    finished_at: AwareDatetime | None = None
    #: When a waiting job comes back.
    due_at: AwareDatetime | None = None
    worker: str | None = None
    error: ErrorDocument | None = None
    batch_id: str | None = None
    #: The job that stands for this one since it was replayed.
    replayed_by: str | None = None
    #: The batch at the provider in which it waits.
    provider_batch: ProviderBatchView | None = None
