"""What spans say of an attempt, in OpenTelemetry's words for generative AI where there are any."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from visionq.ledger import Claim
    from worker.pipeline.context import Attempt
    from worker.tracing.spans import Facts


def of_job(claim: Claim) -> Facts:
    """Return what is known of a job when it is taken up."""
    return {
        "messaging.system": "visionq",
        "messaging.operation.type": "process",
        "messaging.message.id": claim.id,
        "visionq.tenant": claim.document.tenant,
        "visionq.attempt": claim.attempts + 1,
        "visionq.pictures": len(claim.document.images),
    }


def of_call(attempt: Attempt) -> Facts:
    """Return what is known of the call before it is made."""
    server = urlsplit(attempt.tools.settings.base_url).hostname or ""
    return {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": attempt.model,
        "gen_ai.request.max_tokens": attempt.job.max_output_tokens or 0,
        "server.address": server,
    }


def of_reply(attempt: Attempt) -> Facts:
    """Return what the reply told: its status, and what it counted."""
    facts: dict[str, str | int | float] = {}
    if attempt.status is not None:
        facts["http.response.status_code"] = attempt.status
    if attempt.counted is not None:
        facts["gen_ai.usage.input_tokens"] = attempt.counted.input_tokens
        facts["gen_ai.usage.cache_read.input_tokens"] = attempt.counted.cached_tokens
        facts["gen_ai.usage.cache_creation.input_tokens"] = attempt.counted.cache_write_tokens
        facts["gen_ai.usage.output_tokens"] = attempt.counted.output_tokens
    return facts
