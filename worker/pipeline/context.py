"""Shared state of an attempt's steps: dependencies, the attempt, its pictures."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Final, Protocol

from visionq.cache_key import together_key
from visionq.contract import Reuse
from visionq.pricing.model_options import OptionTable, load_option_table
from visionq.providers import ProviderProfile, load_profile
from worker.images import MemoryLimiter, PrepareSlots
from worker.isolated_decode import IsolatedDecoder
from worker.pipeline.step_question import question_now
from worker.provider.checked_usage import ReportedCost
from worker.provider.reply import RateLimitHeaders
from worker.tracing import NoTracing

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from openai import AsyncOpenAI

    from visionq.blobs import AsyncBlobStore
    from visionq.contract import JobDocument, Usage
    from visionq.contract import Picture as PictureFacts
    from visionq.detectors import Detector
    from visionq.images.perceptual_hash import PerceptualHash
    from visionq.ledger import AsyncLedger, Claim, Parked, Waiting
    from visionq.ledger.near_answers import NearAnswers, NearPicture
    from visionq.ledger.records import BatchPlace
    from visionq.ledger.usage import TokenCalibration
    from visionq.pricing.prices import Price, PriceTable
    from visionq.pricing.vision import VisionRules
    from visionq.settings import Settings
    from worker.fetch import Fetcher
    from worker.images import CheckedImage, DecodeSlots, ImageLimits, MemoryReservation, PrepareSlot
    from worker.pipeline.cheaper_tier import FlexVerdicts
    from worker.pipeline.together import SharedCall
    from worker.provider.request import ProviderRequest
    from worker.threads.statistics import StatisticsWriter
    from worker.tracing import Tracing


class FencedError(Exception):
    """Another attempt owns the job: neither call nor write for it."""

    #: Traces do not count it as an error.
    is_fault = False


class GivenBackError(Exception):
    """The ledger did not let the call go and has taken the job back in the same step."""

    #: Likewise.
    is_fault = False

    def __init__(self, outcome: Waiting | Parked) -> None:
        super().__init__(outcome.reason)
        self.outcome = outcome


#: Where nobody says otherwise.
MAX_HELD_BYTES: Final = 96_000_000
#: Deaths of workers, before a call was sent, after which a job is prepared in isolation.
_SUSPECT_AFTER: Final = 2


async def _unknown(*_: object) -> None:
    """Know nothing of earlier answers."""


@dataclass(frozen=True)
class Dependencies:
    """Services and data of which a process has one each, shared by its jobs.

    Jobs are tasks of one event loop: nothing here may block it. What can't be awaited goes to a
    thread where it is used.
    """

    settings: Settings
    ledger: AsyncLedger
    statistics: StatisticsWriter
    blobs: AsyncBlobStore
    fetcher: Fetcher
    client: AsyncOpenAI
    prices: PriceTable
    rules: VisionRules
    limits: ImageLimits
    decode_slots: DecodeSlots
    #: Seconds, for measuring; uniform in [0, 1), for jitter; seconds of patience.
    monotonic: Callable[[], float]
    random: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]]
    #: Which options of a request each model takes.
    options: OptionTable = field(default_factory=load_option_table)
    #: What was learned of how a model counts at one `detail` and effort.
    calibration: Callable[[str, str, str | None], Awaitable[TokenCalibration | None]] = field(
        default=_unknown
    )
    #: The least that answers to a question (`question_of`) counted as input.
    least_input: Callable[[str], Awaitable[int | None]] = field(default=_unknown)
    #: Whom the client asks.
    profile: ProviderProfile = field(default_factory=load_profile)
    #: Local judges of pictures.
    detectors: tuple[Detector, ...] = ()
    #: Spans of attempts.
    tracing: Tracing = field(default_factory=NoTracing)
    #: For pictures that may have killed workers.
    isolated_decoder: IsolatedDecoder = field(default_factory=IsolatedDecoder)
    #: Limit on the bytes of pictures and requests that the process holds.
    memory: MemoryLimiter = field(default_factory=lambda: MemoryLimiter(MAX_HELD_BYTES))
    #: None: nothing is asked at a cheaper tier unless its job names it.
    flex: FlexVerdicts | None = None
    #: None: nobody looks for near-duplicates.
    near_answers: NearAnswers | None = None
    #: Jobs that may have their originals in memory at once.
    prepare_slots: PrepareSlots = field(default_factory=PrepareSlots)


@dataclass
class JobPicture:
    """One picture of the job in the pipeline; steps free data that is done."""

    name: str
    #: Absent for an address that the provider fetches.
    content: bytes | None = field(default=None, repr=False)
    url: str | None = None
    sha256: str | None = None
    checked: CheckedImage | None = None
    #: As it came, and as it is sent: what is left of it while the call is out.
    source: PictureFacts | None = None
    sent: PictureFacts | None = None
    #: In the place of `sent`, where it was cut.
    crops: tuple[PictureFacts, ...] = ()
    warnings: tuple[str, ...] = ()
    forecast_tokens: int = 0
    #: If the job looks for near-duplicates; None: too plain, cut, or not decoded here.
    perceptual_hash: PerceptualHash | None = None

    @property
    def parts(self) -> int:
        """Count of pictures that the call holds for this one."""
        return len(self.crops) or 1


@dataclass(frozen=True, slots=True)
class Share:
    """What one question pays of a call that answers several."""

    #: Nano-rubles, and whether they are an estimate.
    cost: int
    is_estimate: bool
    warnings: tuple[str, ...]
    usage: Usage | None
    #: Questions of the call.
    questions: int


class BatchFiller(Protocol):
    """The batch that takes an attempt's request, in the place of a call."""

    def place_for(self, attempt: Attempt) -> BatchPlace | None:
        """Return the place that the request would have; None: the batch is full."""

    def add(self, attempt: Attempt) -> None:
        """Add the request, which was admitted to its place."""


@dataclass
class Attempt:
    """One attempt of a claimed job: its steps fill it in, in order."""

    claim: Claim
    dependencies: Dependencies
    #: None: the provider is asked online.
    batch: BatchFiller | None = None
    #: Whether the call is charged as one of a batch.
    in_batch: bool = False
    #: At which it is made in the place of the job's own; None: it is not.
    cheaper_tier: str | None = None
    pictures: list[JobPicture] = field(default_factory=list)
    cache_key: str = ""
    #: A picture that looks alike, whose answer would do.
    near: NearPicture | None = None
    #: Whether a cached answer to the same question is accepted.
    accepts_cached: bool = True
    request: ProviderRequest | None = None
    #: The pictures as they are sent, kept while others may join the call.
    sources: list[str | bytes] = field(default_factory=list, repr=False)
    #: Starts another job that joins the call, and calls back once it has joined or left.
    start_other: Callable[[str, SharedCall, Callable[[], None]], None] | None = None
    #: The call that this attempt makes for others as well, or the other's call that it joins.
    shared_call: SharedCall | None = None
    joins: SharedCall | None = None
    #: Whether it is the one that takes up the others, and has not done so yet.
    leads: bool = False
    on_joined: Callable[[], None] | None = None
    #: What this question pays of it.
    share: Share | None = None
    #: Requirements of the pictures that the model is asked about.
    asked: tuple[str, ...] = ()
    #: Tokens of the pictures and of all texts, by the tables, once they were counted.
    forecast: tuple[int, int] | None = None
    #: What was learned of how the model counts, and the least that the question counted as input.
    calibration: TokenCalibration | None = None
    least_input: int | None = None
    #: The most that the call can cost, in nano-rubles.
    worst_case: int = 0
    #: Whether `admit` let the call go: from then on it may be paid.
    sent: bool = False
    #: HTTP status of the call's reply, what it counted, and the code of the error that it was.
    status: int | None = None
    #: The service tier that served the call, as the reply says; None: it did not.
    served_tier: str | None = None
    #: What the call cost, as the reply says.
    reported_cost: ReportedCost = field(default_factory=ReportedCost)
    counted: Usage | None = None
    fault: str | None = None
    #: Seconds and times that the call waited for its turn.
    waited: float = 0
    waits: int = 0
    #: Seconds that the attempt took.
    seconds: float = 0
    #: Limits in the provider's reply.
    rate_limit_headers: RateLimitHeaders = field(default_factory=RateLimitHeaders)
    timings_ms: dict[str, float] = field(default_factory=dict)
    #: To be called by a step that has come on, so that it does not count as hung.
    progress: Callable[[], None] = field(default=lambda: None, repr=False)

    @cached_property
    def reservation(self) -> MemoryReservation:
        """The bytes that this attempt holds, of those that the process may."""
        return self.dependencies.memory.reservation(self.job.tenant)

    @cached_property
    def prepare_slot(self) -> PrepareSlot:
        """Its place among those that prepare their pictures."""
        return self.dependencies.prepare_slots.slot(self.job.tenant)

    @property
    def price(self) -> Price | None:
        """The price of the model's tokens, online or in a batch; None if unknown."""
        prices = self.dependencies.prices
        return prices.of_batch(self.model) if self.in_batch else prices.for_model(self.model)

    @property
    def tier(self) -> str | None:
        """The service tier that is asked for."""
        return self.cheaper_tier or self.job.service_tier

    @property
    def patience(self) -> float | None:
        """Seconds that the call may take, where they are not those of any call."""
        flex = self.dependencies.profile.flex
        return None if flex is None or self.cheaper_tier is None else flex.longest_seconds

    @property
    def is_suspect(self) -> bool:
        """Whether the job's pictures may be what its workers died of."""
        return self.claim.lapses >= _SUSPECT_AFTER

    @property
    def parts(self) -> tuple[int, ...]:
        """Count of pictures that the call holds for each of the job."""
        return tuple(picture.parts for picture in self.pictures)

    @property
    def shares_answer(self) -> bool:
        """Whether others that ask the same may wait for this answer, and find it."""
        return self.accepts_cached or self.job.reuse is Reuse.REFRESH

    @cached_property
    def together_key(self) -> str:
        """The key of jobs that may share its call; empty: asked alone."""
        is_first = not (self.claim.attempts or self.claim.faulty or self.is_suspect)
        is_online = self.batch is None and self.cheaper_tier is None and not self.claim.tier
        if self.joins is not None or not (is_first and is_online):
            return ""
        return together_key(self.job)

    @property
    def looks_for_near(self) -> bool:
        """Whether the answer of a near-duplicate would do."""
        has_index = self.dependencies.near_answers is not None
        is_one = self.job.near is not None and len(self.job.images) == 1
        return is_one and has_index and self.accepts_cached and bool(self.cache_key)

    @cached_property
    def job(self) -> JobDocument:
        """The job's document, as it is asked of the model whose turn it is."""
        return question_now(self.claim, self.dependencies.options, self.dependencies.settings)

    @property
    def model(self) -> str:
        """The model asked; submission has filled it in."""
        return self.job.model or self.dependencies.settings.default_model
