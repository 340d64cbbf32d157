"""Make the result document of a fresh or cached answer; repair invalid answers once."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import structlog
from pydantic import ValidationError

from visionq.contract import DelayReason, ImageReport, InvalidAnswer, ResultDocument, Usage
from visionq.contract.result import NearDuplicate, is_simulated
from visionq.errors import InvalidOutput
from visionq.input_errors import describe
from visionq.ledger import Billing, Completed, Ending, RateLimitFeedback, Waiting
from visionq.pricing.money import nano_rubles, rubles
from visionq.redaction import field_in
from worker.pipeline.context import JobPicture
from worker.pipeline.costs import cost_of, priced, usage_note
from worker.provider.checked_usage import credible
from worker.provider.request import build_repair

if TYPE_CHECKING:
    from visionq.contract import ErrorDocument
    from visionq.errors import RateLimited
    from visionq.ledger.near_answers import NearPicture
    from worker.pipeline.context import Attempt
    from worker.provider.answer import ProviderAnswer

log = structlog.get_logger(__name__)

#: Warning of a repaired result whose first answer had no credible usage.
_FIRST_NOT_COUNTED: Final = (
    "the provider reported no credible usage of the first answer, which was repaired:"
    " its cost is the most it can be"
)


def answered(attempt: Attempt, answer: ProviderAnswer) -> tuple[Completed, int]:
    """Return the outcome of a call that brought an answer, and its cost in nano-rubles.

    Raises:
        InvalidOutput: the parsed answer can't be written as a document; its text is kept.
    """
    cost, is_estimate, warnings = priced(attempt, answer.usage)
    faulty = attempt.claim.faulty
    if faulty is not None and faulty.usage is None:
        is_estimate, warnings = True, (*warnings, _FIRST_NOT_COUNTED)
    result = ResultDocument(
        id=attempt.claim.id,
        tenant=attempt.job.tenant,
        model=attempt.model,
        api=attempt.job.api,
        text=answer.text,
        data=answer.data,
        refusal=answer.refusal,
        repaired=faulty is not None,
        sureness=answer.sureness,
        usage=(credible(answer.usage) or Usage()) + ((faulty and faulty.usage) or Usage()),
        cost_rub=rubles(attempt.claim.cost + cost),
        cost_is_estimate=is_estimate,
        service_tier="batch"
        if attempt.in_batch
        else attempt.served_tier or attempt.job.service_tier,
        attempts=attempt.claim.attempts + 1,
        simulated=is_simulated(answer.request_id),
        questions=attempt.share.questions if attempt.share else 1,
        request_id=answer.request_id,
        images=tuple(report(picture) for picture in attempt.pictures),
        warnings=warnings,
        timings_ms=attempt.timings_ms,
        metadata=attempt.job.metadata,
        batch_id=attempt.job.batch_id,
        finished_at=_now(),
    )
    try:
        result.to_json()
    except ValueError:  # data that is nested deeper than documents go
        raise InvalidOutput(
            "the answer is nested too deep to be stored as data",
            usage=answer.usage,
            text=answer.text,
            request_id=answer.request_id,
        ) from None
    return Completed(result, attempt.cache_key), cost


def reused(attempt: Attempt, stored: str, near: NearPicture | None = None) -> Ending | None:
    """Return the end of an attempt that a cached answer makes unnecessary.

    `near`: the picture whose answer it is, where it is not the attempt's own. None: the cached
    answer can't be read.
    """
    try:
        # A newer worker may have added fields; not to use its answer would pay for it twice.
        answer = ResultDocument.model_validate_json(stored, extra="ignore")
    except ValidationError as error:
        log.warning("answer.unreadable", field=field_in(describe(error)))
        return None
    own = answer.id == attempt.claim.id  # paid for by this very job, but came late
    result = answer.model_copy(
        update={
            "id": attempt.claim.id,
            "cached": not own,
            # What this job has paid itself: its own late answer, or one that needed a repair.
            "cost_rub": rubles(attempt.claim.cost),
            "tenant": attempt.job.tenant,
            "steps": (),
            "saved_rub": None,
            "sureness": answer.sureness if attempt.job.cascade else None,
            "request_id": answer.request_id if own or answer.tenant == attempt.job.tenant else None,
            "attempts": attempt.claim.attempts + 1,
            "near": near and _near_duplicate(attempt, answer, near),
            "images": tuple(map(report, attempt.pictures))
            if near
            else tuple(
                known.model_copy(update={"name": picture.name})
                for known, picture in zip(answer.images, attempt.pictures, strict=False)
            ),
            "timings_ms": attempt.timings_ms,
            "metadata": attempt.job.metadata,
            "batch_id": attempt.job.batch_id,
            "finished_at": _now(),
        }
    )
    of_answer = answer.cost_rub - sum(step.cost_rub for step in answer.steps)
    saved = 0 if own else nano_rubles(of_answer)
    return Ending(Completed(result, saved=saved))


def _near_duplicate(attempt: Attempt, answer: ResultDocument, near: NearPicture) -> NearDuplicate:
    is_own = answer.tenant == attempt.job.tenant
    return NearDuplicate(
        job_id=answer.id if is_own else None,
        sha256=answer.images[0].sha256 if answer.images else None,
        distance=near.distance,
    )


def rate_limit_feedback(
    attempt: Attempt, usage: Usage | None, *, refused: RateLimited | None = None
) -> RateLimitFeedback:
    """Return the rate-limit feedback of a call's end."""
    limits = attempt.rate_limit_headers
    pause = None
    if refused is not None:
        pause = limits.reset if refused.retry_after is None else refused.retry_after
    return RateLimitFeedback(
        tokens=usage.total_tokens if usage else None,
        requests_limit=limits.requests,
        tokens_limit=limits.tokens,
        refused=refused is not None,
        pause=pause,
    )


def report(picture: JobPicture) -> ImageReport:
    """Return the result entry of a picture."""
    return ImageReport(
        name=picture.name,
        sha256=picture.sha256,
        source=picture.source,
        sent=picture.sent,
        crops=picture.crops,
        forecast_tokens=picture.forecast_tokens or None,
        warnings=picture.warnings,
    )


def picture_of(known: ImageReport) -> JobPicture:
    """Return a picture whose bytes are gone, with what `report` said of it."""
    return JobPicture(
        name=known.name,
        sha256=known.sha256,
        source=known.source,
        sent=known.sent,
        crops=known.crops,
        warnings=known.warnings,
        forecast_tokens=known.forecast_tokens or 0,
    )


def _now() -> datetime:
    return datetime.now(UTC)


def keep_for_repair(attempt: Attempt, answer: ProviderAnswer) -> Ending:
    """End an attempt whose answer is not of the form asked for.

    The first time, answer and fault are kept with the job, which comes back at once: so the second
    question is a call like any other, before limits, budgets and gates.

    Raises:
        InvalidOutput: the job wants no repair, none would help, or this was it; the text is kept.
    """
    validation_error = answer.validation_error or ""
    if attempt.claim.faulty is not None or not (attempt.job.repair and answer.is_repairable):
        raise InvalidOutput(
            f"the answer is not of the form asked for: {validation_error}",
            usage=answer.usage,
            text=answer.text,
            request_id=answer.request_id,
        )
    faulty = InvalidAnswer(
        text=answer.text,
        validation_error=validation_error,
        usage=credible(answer.usage),
        request_id=answer.request_id,
        cache_key=attempt.cache_key if attempt.shares_answer else "",
        images=tuple(report(picture) for picture in attempt.pictures),
    )
    waits = Waiting(DelayReason.REPAIR, 0, counted=True, faulty=faulty)
    cost, usage = cost_of(attempt, answer.usage), usage_note(attempt, answer.usage)
    return Ending(waits, Billing.SETTLED, cost, usage, rate_limit_feedback(attempt, answer.usage))


def prepare_repair(attempt: Attempt, faulty: InvalidAnswer) -> None:
    """Prepare the repair of an earlier attempt's answer, in its state then."""
    attempt.cache_key = faulty.cache_key
    attempt.pictures += map(picture_of, faulty.images)
    attempt.request = build_repair(attempt.job, faulty, attempt.dependencies.settings.prompt_cache)


def repair_failed(faulty: InvalidAnswer, error: ErrorDocument) -> InvalidOutput:
    """Return the error of a job whose repair failed, with its first, paid text."""
    return InvalidOutput(
        f"the answer is not of the form asked for: {faulty.validation_error};"
        f" its repair failed ({error.code}: {error.message})",
        usage=combined_usage(faulty.usage, error.usage),
        text=faulty.text,
        request_id=faulty.request_id,
    )


def combined_usage(first: Usage | None, second: Usage | None) -> Usage | None:
    """Add the usage of both calls; None if one has none."""
    return None if first is None or second is None else first + second
