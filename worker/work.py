"""From a hint to the ledger's record of what came of it."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from visionq.ledger import Completed, Failed, Parked, Refusal, Waiting
from worker.persistence import persistently
from worker.pipeline import Attempt, FencedError, run_attempt

if TYPE_CHECKING:
    from visionq.ledger import Claim, Outcome, Registration
    from worker.leases import Leases
    from worker.pipeline import Tools

log = structlog.get_logger(__name__)

#: Seconds for what stands between the claim and the first step, and after the last.
_BETWEEN_STEPS = 60


@dataclass(frozen=True, slots=True)
class Stale:
    """The hint led to nothing to do: the job is in another state, or in other hands."""

    state: str


def work(job_id: str, tools: Tools, leases: Leases, registration: Registration) -> Outcome | Stale:
    """Claim the job, work on it, and record the outcome."""
    token = secrets.token_hex(8)
    claim = tools.ledger.claim(job_id, token, registration)
    if isinstance(claim, Refusal):
        return Stale(claim.state)
    with (
        structlog.contextvars.bound_contextvars(
            job=job_id, tenant=claim.document.tenant, attempt=claim.attempts + 1
        ),
        leases.hold(claim, _BETWEEN_STEPS) as lease,
    ):
        try:
            ending = run_attempt(Attempt(claim, tools), lease)
        except FencedError as fenced:
            log.info("attempt.fenced", state=str(fenced))
            return Stale(str(fenced))
        if not persistently(lambda: tools.ledger.finish(claim, ending), tools.sleep):
            log.warning("attempt.late", outcome=type(ending.outcome).__name__)
            return Stale("taken over")
        _tell(claim, ending.outcome)
        return ending.outcome


def _tell(claim: Claim, outcome: Outcome) -> None:
    match outcome:
        case Completed(result):
            log.info("job.completed", cost_rub=str(result.cost_rub), cached=result.cached)
        case Failed(error):
            log.info("job.failed", code=error.code, error=error.message)
        case Waiting(reason, delay):
            log.info("job.waiting", reason=reason, delay=round(delay, 3))
        case Parked(reason):
            log.warning("job.parked", reason=reason, unknown_calls=claim.unknown_calls)
