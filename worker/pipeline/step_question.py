"""The question of a job as it is put to the model whose turn it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from visionq.contract import Api
from visionq.submission import asked_of
from visionq.sureness import Sureness

if TYPE_CHECKING:
    from visionq.contract import JobDocument
    from visionq.ledger import Claim
    from visionq.pricing.model_options import OptionTable
    from visionq.settings import Settings

#: What has an API tell the probabilities of an answer's tokens (openai 3.54).
_LOGPROBS: Final[dict[Api, dict[str, Any]]] = {
    Api.RESPONSES: {"include": ["message.output_text.logprobs"]},
    Api.CHAT_COMPLETIONS: {"logprobs": True},
}


def question_now(claim: Claim, table: OptionTable, settings: Settings) -> JobDocument:
    """Return the job with the defaults of the model asked now."""
    job = claim.document
    if claim.steps and job.model is not None:
        job = asked_of(job, job.model, claim.defaulted, table, settings)
    cascade = job.cascade
    if cascade and cascade.sureness is Sureness.LOGPROBS and left_of(cascade.models, claim):
        return job.model_copy(update={"extra_body": {**job.extra_body, **_LOGPROBS[job.api]}})
    return job


def left_of(models: tuple[str, ...], claim: Claim) -> tuple[str, ...]:
    """Return which of the models were not asked yet."""
    asked = {claim.document.model, *(step.model for step in claim.steps)}
    return tuple(model for model in models if model not in asked)
