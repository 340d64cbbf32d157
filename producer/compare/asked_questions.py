"""The questions that a model was asked lately, drawn from the ledger's finished jobs."""

from __future__ import annotations

import base64
from collections import Counter
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from producer.compare.comparison_plan import KnownAnswer
from producer.run.selection import Sample
from producer.sources import Row
from visionq.cache_key import cache_key
from visionq.contract import State
from visionq.errors import BlobMissing, InvalidJob
from visionq.ledger import NewJob
from visionq.ledger.search import JobFilter, find_jobs
from visionq.ledger.views import job_documents
from visionq.names import CELERY_RESULT
from visionq.sdk.results import answer_in
from visionq.submission import prepare

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from redis import Redis

    from visionq.blobs import BlobStore
    from visionq.contract import JobDocument, ResultDocument
    from visionq.pricing.model_options import OptionTable
    from visionq.settings import Settings

#: Finished jobs that are looked at, and different questions that are drawn from, the latest first.
MOST_LOOKED_AT: Final = 20_000
MOST_QUESTIONS: Final = 500
_PAGE: Final = 200
#: Fields that say what is asked, and of whom it is paid; the rest is about that one job.
_ASKED: Final = (
    "prompt", "instructions", "api", "detail", "answer_schema", "max_output_tokens", "effort",
    "prompt_cache", "prompt_cache_ttl", "temperature", "service_tier", "extra_body", "repair",
    "url_mode", "pictures", "tenant",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class AskedQuestion:
    """A job that a model has answered."""

    id: str
    document: JobDocument
    result: ResultDocument

    @property
    def known(self) -> KnownAnswer:
        """Its answer."""
        return KnownAnswer(NewJob(self.id, self.document), self.result)

    def fields(self, table: OptionTable, settings: Settings) -> dict[str, Any]:
        """Return what was asked, without defaults that belong to its model."""
        document = self.document
        found = document.model_dump(mode="json", include=set(_ASKED), exclude_defaults=True)
        model, effort = document.model or "", document.effort
        if effort == table.effort_of(model, settings.default_effort):
            found.pop("effort", None)
        if document.max_output_tokens == settings.default_max_output_tokens + table.room(
            model, effort
        ):
            found.pop("max_output_tokens", None)
        return found


@dataclass(frozen=True)
class AskedQuestions:
    """The latest different questions to a model."""

    #: Those whose pictures are still there, and how many there are whose pictures are gone.
    available: Sequence[AskedQuestion]
    gone: int

    @property
    def found(self) -> int:
        """All of them."""
        return len(self.available) + self.gone

    def drawn(self, size: int, seed: str) -> list[AskedQuestion]:
        """Return some of those available, by lot."""
        sample = Sample(size, seed)
        for one in self.available:
            sample.note(one.id)
        return [one for one in self.available if one.id in sample.ids]


def asked_questions(
    redis: Redis, blobs: BlobStore, model: str, tenant: str | None
) -> AskedQuestions:
    """Find what a model answered lately, for all tenants or one; each question counts once.

    Raises:
        QueueUnavailable: a store of pictures outside Redis can't be used.
    """
    available: list[AskedQuestion] = []
    gone, known = 0, set[str]()
    for one in islice(_answered(redis, model, tenant), MOST_LOOKED_AT):
        pictures = [image.blob or image.url or "" for image in one.document.images]
        key = cache_key(one.document, pictures)
        if key in known:
            continue
        known.add(key)
        if all(blobs.size(sha256) for sha256 in one.document.blobs):
            available.append(one)
        else:
            gone += 1
        if len(known) >= MOST_QUESTIONS:
            break
    return AskedQuestions(available, gone)


def _answered(redis: Redis, model: str, tenant: str | None) -> Iterator[AskedQuestion]:
    ended = islice(find_jobs(redis, JobFilter(State.COMPLETED, tenant=tenant)), MOST_LOOKED_AT)
    ids = (view.id for view in ended if view.model == model)
    while page := list(islice(ids, _PAGE)):
        stored: Any = redis.mget([CELERY_RESULT + job_id for job_id in page])
        for job_id, document, text in zip(page, job_documents(redis, page), stored, strict=True):
            result = answer_in(text)
            if document is not None and result is not None:
                yield AskedQuestion(job_id, document, result)


def check_takes(model: str, asked: AskedQuestions, table: OptionTable, settings: Settings) -> None:
    """Check that a model takes every option of the questions.

    Raises:
        InvalidJob: it does not; the message has the first reason, and how many it concerns.
    """
    reasons: Counter[str] = Counter()
    for one in asked.available:
        anywhere = [{"url": "https://example.com"}] * len(one.document.images)
        fields = {**one.fields(table, settings), "model": model, "images": anywhere}
        try:
            prepare(fields, settings)
        except InvalidJob as error:
            reasons[error.message] += 1
    if reasons:
        (reason, _), number = reasons.most_common(1)[0], reasons.total()
        raise InvalidJob(
            f"{model} can't be asked {number:,} of these {len(asked.available):,} questions:"
            f" {reason}"
        )


def common(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> dict[str, Any]:
    """Return the fields of `names` that all rows have alike."""
    first = rows[0] if rows else {}
    return {
        name: first[name]
        for name in names
        if name in first and all(row.get(name) == first[name] for row in rows)
    }


def row_of(
    number: int, asked: AskedQuestion, fields: Mapping[str, Any], blobs: BlobStore
) -> Row | None:
    """Return the row of a question with its pictures; None if they have gone meanwhile."""
    images = asked.document.images
    try:
        pictures = tuple(image.url or _data_url(blobs.get(image.blob or "")) for image in images)
    except BlobMissing:
        return None
    names = tuple(image.label(place) for place, image in enumerate(images))
    return Row(number, asked.id, pictures, overrides=dict(fields), given=names)


def _data_url(content: bytes) -> str:
    return f"data:application/octet-stream;base64,{base64.b64encode(content).decode()}"
