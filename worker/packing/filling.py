"""Fill one batch: the file of its lines, and the data to settle each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from visionq.contract.base import Document, JobId
from visionq.contract.result import ImageReport
from visionq.ledger.records import BatchPlace
from worker.pipeline import Attempt
from worker.pipeline.answers import picture_of, report
from worker.pipeline.costs import expected
from worker.provider.batch_files import line_of
from worker.provider.request import PATHS, ProviderRequest, build_repair

if TYPE_CHECKING:
    from visionq.ledger import Claim
    from worker.pipeline import Dependencies
    from worker.provider.batch_files import BatchFile


class LineDocument(Document):
    """The data for reading a line's answer, kept until it is settled."""

    job: JobId
    images: tuple[ImageReport, ...]
    cache_key: str = ""
    accepts_cached: bool = True
    asked: tuple[str, ...] = ()
    #: Tokens of the pictures and of all texts.
    forecast: tuple[int, int] | None = None
    worst_case: int = 0
    text_bytes: int = 0
    timings_ms: dict[str, float] = Field(default_factory=dict)


class BatchFilling:
    """Takes the requests of attempts, until the file is full."""

    def __init__(self, batch_id: str, holder: str, file: BatchFile) -> None:
        self._batch_id = batch_id
        self._holder = holder
        self._file = file
        self._line = b""
        self._tokens = 0
        self.is_full = False

    def place_for(self, attempt: Attempt) -> BatchPlace | None:
        """Return the place of the attempt's line; None: the file is full."""
        self._line = line_of(attempt.claim.token, _request_of(attempt))
        self._tokens = expected(attempt).input_tokens
        if not self._file.fits(self._line, self._tokens):
            self.is_full = True
            return None
        return BatchPlace(
            self._batch_id, self._holder, line_document(attempt), len(self._line), self._tokens
        )

    def add(self, attempt: Attempt) -> None:
        """Write the line, whose place is in the record already."""
        self._file.write(self._line, self._tokens)
        attempt.request, self._line = None, b""


def _request_of(attempt: Attempt) -> ProviderRequest:
    if attempt.request is None:
        raise RuntimeError("a line comes after encode")
    return attempt.request


def line_document(attempt: Attempt) -> str:
    """Return the data that settles the attempt's line, as JSON."""
    return LineDocument(
        job=attempt.claim.id,
        images=tuple(report(picture) for picture in attempt.pictures),
        cache_key=attempt.cache_key,
        accepts_cached=attempt.accepts_cached,
        asked=attempt.asked,
        forecast=attempt.forecast,
        worst_case=attempt.worst_case,
        text_bytes=_request_of(attempt).text_bytes,
        timings_ms=attempt.timings_ms,
    ).model_dump_json(exclude_defaults=True)


def attempt_of(claim: Claim, text: str, dependencies: Dependencies) -> Attempt:
    """Return the attempt of a line, in its state when it was packed."""
    line = LineDocument.model_validate_json(text)
    attempt = Attempt(claim, dependencies, in_batch=True)
    attempt.pictures += map(picture_of, line.images)
    attempt.cache_key, attempt.accepts_cached = line.cache_key, line.accepts_cached
    attempt.asked, attempt.forecast = line.asked, line.forecast
    attempt.worst_case, attempt.timings_ms = line.worst_case, dict(line.timings_ms)
    attempt.request = _question(attempt, line.text_bytes)
    return attempt


def _question(attempt: Attempt, text_bytes: int) -> ProviderRequest:
    """Return the request without its body, for reading the answer."""
    job = attempt.job
    if attempt.claim.faulty is not None:
        return build_repair(job, attempt.claim.faulty)
    names = [
        image.label(position)
        for position, (image, parts) in enumerate(zip(job.images, attempt.parts, strict=True))
        for _ in range(parts)
    ]
    return ProviderRequest(
        api=job.api,
        path=PATHS[job.api],
        body=b"",
        images=tuple(names),
        answer_schema=job.answer_schema,
        asked=attempt.asked,
        model=attempt.model,
        text_bytes=text_bytes,
        max_output_tokens=job.max_output_tokens,
        effort=job.effort,
    )
