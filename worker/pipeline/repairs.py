"""Answers that are not of the form asked for: kept, mended once, and never lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from visionq.contract import DelayReason, InvalidAnswer, Usage
from visionq.errors import InvalidOutput
from visionq.ledger import Billing, Ending, Waiting
from worker.pipeline.answers import rate_limit_feedback, report
from worker.pipeline.context import Picture
from worker.pipeline.costs import cost_of
from worker.pipeline.forecast import usage_note
from worker.provider.repair import build_repair
from worker.provider.usage import told

if TYPE_CHECKING:
    from visionq.contract import ErrorDocument
    from worker.pipeline.context import Attempt
    from worker.provider.answer import ProviderAnswer


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
        usage=told(answer.usage),
        request_id=answer.request_id,
        cache_key=attempt.cache_key if attempt.shares_answer else "",
        images=tuple(report(picture) for picture in attempt.pictures),
    )
    waits = Waiting(DelayReason.REPAIR, 0, counted=True, faulty=faulty)
    cost, usage = cost_of(attempt, answer.usage), usage_note(attempt, answer.usage)
    return Ending(waits, Billing.SETTLED, cost, usage, rate_limit_feedback(attempt, answer.usage))


def take_up(attempt: Attempt, faulty: InvalidAnswer) -> None:
    """Prepare the question about an answer of an earlier attempt, with what was known then."""
    attempt.cache_key = faulty.cache_key
    attempt.pictures += [
        Picture(
            name=image.name,
            sha256=image.sha256,
            source=image.source,
            sent=image.sent,
            crops=image.crops,
            warnings=image.warnings,
            forecast_tokens=image.forecast_tokens or 0,
        )
        for image in faulty.images
    ]
    attempt.request = build_repair(attempt.job, faulty, attempt.tools.settings.prompt_cache)


def in_vain(faulty: InvalidAnswer, error: ErrorDocument) -> InvalidOutput:
    """Return the error of a job whose answer could not be mended: its first text was paid for."""
    return InvalidOutput(
        f"the answer is not of the form asked for: {faulty.validation_error};"
        f" the question to mend it failed ({error.code}: {error.message})",
        usage=together(faulty.usage, error.usage),
        text=faulty.text,
        request_id=faulty.request_id,
    )


def together(first: Usage | None, second: Usage | None) -> Usage | None:
    """Return what both calls counted; None where one did not say."""
    return None if first is None or second is None else first + second
