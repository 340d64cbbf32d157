"""Decide whether a job goes on to another of its models after an attempt, and say what it cost."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from visionq.contract import UNSURE
from visionq.errors import Incomplete, InvalidOutput, ModelNotFound, ProviderUnavailable, Refused
from visionq.ledger import Completed, Failed, Moved
from visionq.ledger.claims import job_steps
from visionq.pricing.money import rubles
from visionq.pricing.prices import cost_nano_rubles
from visionq.pricing.vision import image_tokens
from visionq.sureness import Sureness, agreement_sureness, field_sureness, is_sure
from worker.pipeline.step_question import left_of

if TYPE_CHECKING:
    from decimal import Decimal

    from visionq.contract import Cascade, ResultDocument
    from visionq.ledger import Claim, Ending, Outcome
    from worker.pipeline.context import Attempt

#: Errors of an answer that is not good enough.
_NOT_GOOD_ENOUGH: Final = frozenset({InvalidOutput.code, Incomplete.code, Refused.code})
#: Errors of a model that is away, or does not take the picture.
_AWAY: Final = frozenset({ModelNotFound.code, ProviderUnavailable.code, Refused.code})


def go_on(attempt: Attempt, ending: Ending) -> Ending:
    """Return the ending, or a move to the next model in its place."""
    outcome = ending.outcome
    if not attempt.claim.document.further_models:
        return ending
    if isinstance(outcome, Completed):
        return replace(ending, outcome=_judged(attempt, outcome, ending.cost))
    if isinstance(outcome, Failed):
        return replace(ending, outcome=_elsewhere(attempt.claim, outcome))
    return ending


def _elsewhere(claim: Claim, failure: Failed) -> Outcome:
    """Return a move to the next model, or the failure.

    A job with a call of unknown billing takes no fallback.
    """
    code, job = failure.error.code, claim.document
    further = left_of(job.cascade.models, claim)[:1] if job.cascade else ()
    if code not in _NOT_GOOD_ENOUGH or not further:
        further = left_of(job.fallback, claim) if code in _AWAY and not claim.unknown_calls else ()
    if not further:
        return failure
    return Moved(further, code, text=failure.error.text or "", error=failure.error)


def _judged(attempt: Attempt, completed: Completed, cost: int) -> Outcome:
    """Return the outcome of an answer: good enough, or the next model's turn."""
    job, claim, result = attempt.job, attempt.claim, completed.result
    sureness = _sureness(job.cascade, claim, result) if job.cascade else None
    further = left_of(job.cascade.models, claim) if job.cascade else ()
    changes: dict[str, Any] = {"sureness": sureness, "steps": job_steps(claim.steps)}
    if not further or (job.cascade and is_sure(sureness, job.cascade.sure_at)):
        changes["saved_rub"] = _saved(attempt, result, cost)
        return replace(completed, result=result.model_copy(update=changes))
    return Moved(
        further[:1],
        UNSURE,
        sureness=sureness,
        text=result.text,
        result=result.model_copy(update=changes),
        cache_key=completed.cache_key,
        saved=completed.saved,
    )


def _sureness(cascade: Cascade, claim: Claim, result: ResultDocument) -> float | None:
    match cascade.sureness:
        case Sureness.FIELD:
            return field_sureness(result.data, cascade.field)
        case Sureness.LOGPROBS:
            return result.sureness
        case Sureness.AGREEMENT:
            before = claim.steps[-1].text if claim.steps else ""
            return agreement_sureness(before, result.text, cascade.field) if before else None


def _saved(attempt: Attempt, result: ResultDocument, cost: int) -> Decimal | None:
    """Return the rubles saved against asking the last model at once; None: not known."""
    cascade, claim = attempt.job.cascade, attempt.claim
    if cascade is None:
        return None
    strong = cascade.models[-1]
    if attempt.model == strong:
        return -rubles(claim.steps[-1].cost if claim.steps else 0)
    alone = None if result.cached else _cost_of_other(attempt, result, strong)
    return None if alone is None else rubles(alone - claim.cost - cost)


def _cost_of_other(attempt: Attempt, result: ResultDocument, model: str) -> int | None:
    """Return what another model would take for an answer of the same length."""
    dependencies, detail = attempt.dependencies, attempt.job.detail
    price = dependencies.prices.for_model(model)
    sizes = [picture.source for picture in attempt.pictures if not picture.crops]
    is_seen = all(picture.forecast_tokens for picture in attempt.pictures)
    known = [size for size in sizes if size is not None]
    if price is None or not is_seen or len(known) < len(attempt.pictures):
        return None
    pictures = sum(picture.forecast_tokens for picture in attempt.pictures)
    there = sum(
        image_tokens(dependencies.rules, model, detail, size.width, size.height) for size in known
    )
    usage = result.usage.model_copy(
        update={"input_tokens": max(0, result.usage.input_tokens - pictures) + there}
    )
    return cost_nano_rubles(price, usage, attempt.job.service_tier)


def tried_before(claim: Claim) -> int:
    """Return the attempts at models before: each model has its own."""
    return claim.steps[-1].attempts if claim.steps else 0
