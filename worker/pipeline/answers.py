"""From an answer, fresh or stored, to the result document."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from visionq.contract import ImageReport, ResultDocument, Usage
from visionq.contract import Picture as PictureFacts
from visionq.ledger import Completed, Ending
from visionq.money import rubles
from visionq.prices import cost_nano_rubles

if TYPE_CHECKING:
    from worker.pipeline.context import Attempt, Picture
    from worker.provider.answer import Answer


def answered(attempt: Attempt, answer: Answer) -> tuple[Completed, int]:
    """Return the outcome of a call that brought an answer, and its cost in nano-rubles."""
    cost, is_estimate, warnings = _cost(attempt, answer.usage)
    result = ResultDocument(
        id=attempt.claim.id,
        tenant=attempt.job.tenant,
        model=attempt.model,
        api=attempt.job.api,
        text=answer.text,
        data=answer.data,
        refusal=answer.refusal,
        usage=answer.usage or Usage(),
        cost_rub=rubles(attempt.claim.cost + cost),
        cost_is_estimate=is_estimate,
        attempts=attempt.claim.attempts + 1,
        request_id=answer.request_id,
        images=tuple(_report(picture) for picture in attempt.pictures),
        warnings=warnings,
        timings_ms=attempt.timings_ms,
        metadata=attempt.job.metadata,
        batch_id=attempt.job.batch_id,
        finished_at=_now(),
    )
    return Completed(result, attempt.content_key), cost


def reused(attempt: Attempt, stored: str) -> Ending:
    """Return the end of an attempt that needs no call: somebody asked the same before."""
    answer = ResultDocument.model_validate_json(stored)
    own = answer.id == attempt.claim.id  # paid for by this very job, but came late
    result = answer.model_copy(
        update={
            "id": attempt.claim.id,
            "cached": not own,
            "cost_rub": rubles(attempt.claim.cost) if own else Decimal(0),
            "attempts": attempt.claim.attempts + 1,
            "images": tuple(_report(picture) for picture in attempt.pictures)
            if not own
            else answer.images,
            "timings_ms": attempt.timings_ms,
            "metadata": attempt.job.metadata,
            "batch_id": attempt.job.batch_id,
            "finished_at": _now(),
        }
    )
    return Ending(Completed(result))


def cost_of(attempt: Attempt, usage: Usage | None) -> int:
    """Return nano-rubles for a paid call: what was counted, else the most that it can be."""
    return _cost(attempt, usage)[0]


def _cost(attempt: Attempt, usage: Usage | None) -> tuple[int, bool, tuple[str, ...]]:
    price = attempt.tools.prices.for_model(attempt.model)
    if price is None:
        return 0, True, (f"no price is known for {attempt.model}: the cost is not counted",)
    if usage is None:
        warning = "the provider did not say what it counted: the cost is the most it can be"
        return attempt.worst_case, True, (warning,)
    return cost_nano_rubles(price, usage), not price.confirmed, ()


def _report(picture: Picture) -> ImageReport:
    checked, encoded = picture.checked, picture.encoded
    source = sent = None
    if checked is not None:
        source = PictureFacts(
            format=checked.format, width=checked.width, height=checked.height, bytes=checked.bytes
        )
    if encoded is not None:
        sent = PictureFacts(
            format=encoded.format,
            width=encoded.width,
            height=encoded.height,
            bytes=len(encoded.data),
        )
    return ImageReport(
        name=picture.name,
        sha256=picture.sha256,
        source=source,
        sent=sent,
        forecast_tokens=picture.forecast_tokens or None,
        warnings=(checked.warnings if checked else ()) + (encoded.warnings if encoded else ()),
    )


def _now() -> datetime:
    return datetime.now(UTC)
