"""Run one attempt, from the hint to the recorded outcome."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import suppress
from contextvars import Context
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import structlog
from pydantic import ValidationError
from redis.exceptions import ResponseError

from visionq.contract import DelayReason
from visionq.contract.states import MISSING
from visionq.errors import InternalError, QueueUnavailable
from visionq.input_errors import describe
from visionq.ledger import (
    Billing,
    ClaimRefusal,
    Completed,
    Ending,
    Failed,
    Held,
    Moved,
    Parked,
    RateLimitFeedback,
    RefusalReason,
    Waiting,
    Written,
    failed,
)
from visionq.pricing.money import rubles
from visionq.redaction import brief, field_in
from visionq.redis_connection import TRANSIENT_ERRORS
from worker.pipeline import Attempt, FencedError, GivenBackError, run_attempt
from worker.pipeline.telemetry import counted_by, of_job
from worker.redis_retry import retry_until_redis_returns_async
from worker.tracing import Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from visionq.ledger import AsyncLedger, Claim, Outcome, Registration
    from worker.pipeline import BatchFiller, Dependencies
    from worker.pipeline.together import SharedCall
    from worker.threads.heartbeat import Lease, Leases

log = structlog.get_logger(__name__)

#: Seconds for the work between the claim and the first step, and after the last.
_BETWEEN_STEPS = 60
#: Seconds for which a slot takes no other hint where its key's gate is closed: the hints are for
#: workers with another key, who share the queue.
_REST = 1.0


@dataclass(frozen=True, slots=True)
class Stale:
    """The hint needs no work: the job is in another state, or another worker has it."""

    state: str


async def work(
    job_id: str,
    dependencies: Dependencies,
    leases: Leases,
    registration: Registration,
    batch: BatchFiller | None = None,
    *,
    joins: tuple[SharedCall, Callable[[], None]] | None = None,
) -> Outcome | Stale:
    """Claim the job, work on it, and record the outcome.

    With `batch`, its request gets a place there instead of being sent: the job then waits for that.
    With `joins`, its question goes into that call; the function is called once it is in.
    """
    claim = await _claim(job_id, dependencies.ledger, registration)
    if isinstance(claim, Stale):
        if claim.state == RefusalReason.GATE_CLOSED:
            await dependencies.sleep(_REST)
        return claim
    with (
        structlog.contextvars.bound_contextvars(
            job=job_id, tenant=claim.document.tenant, attempt=claim.attempts + 1
        ),
        leases.hold(claim, _BETWEEN_STEPS) as lease,
    ):
        attempt = Attempt(claim, dependencies, batch, in_batch=batch is not None)
        if joins is not None:
            attempt.joins, attempt.on_joined = joins
        elif batch is None:
            attempt.start_other = _starter(dependencies, leases, registration)
        try:
            return await _recorded(attempt, lease)
        finally:
            if attempt.leads:
                with suppress(*TRANSIENT_ERRORS, QueueUnavailable):  # it expires
                    await dependencies.ledger.release_together(attempt.together_key, claim.id)
            if attempt.shared_call is not None:
                attempt.shared_call.abandon()
                await attempt.shared_call.finished()


async def _recorded(attempt: Attempt, lease: Lease) -> Outcome | Stale:
    """Run the attempt and write how it ended."""
    claim, dependencies = attempt.claim, attempt.dependencies
    try:
        ending = await _counted_attempt(attempt, lease)
    except FencedError as fenced:
        log.info("attempt.fenced", state=str(fenced))
        return Stale(str(fenced))
    except GivenBackError as given_back:
        _log_outcome(claim, given_back.outcome)
        if given_back.outcome.reason is DelayReason.RATE_LIMITED:
            return Stale("put back")  # at the head of its lane: no try of its own was made
        return given_back.outcome
    outcome = await write_ending(claim, ending, dependencies)
    dependencies.statistics.add(claim.document, ending)
    if outcome is None:
        log.warning("attempt.late", outcome=type(ending.outcome).__name__)
        return Stale("taken over")
    _log_outcome(claim, outcome)
    return outcome


def _starter(
    dependencies: Dependencies, leases: Leases, registration: Registration
) -> Callable[[str, SharedCall, Callable[[], None]], None]:
    def start(job_id: str, call: SharedCall, on_joined_or_left: Callable[[], None]) -> None:
        works = work(job_id, dependencies, leases, registration, joins=(call, on_joined_or_left))
        task = asyncio.get_running_loop().create_task(works, context=Context())
        call.tasks.append(task)
        task.add_done_callback(lambda _: on_joined_or_left())

    return start


async def _counted_attempt(attempt: Attempt, lease: Lease) -> Ending:
    """Run the attempt and attach its metrics."""
    clock = attempt.dependencies.monotonic
    started = clock()
    with attempt.dependencies.tracing.span(
        "process visionq", Kind.CONSUMER, of_job(attempt.claim), attempt.claim.trace
    ) as note:
        ending = await run_attempt(attempt, lease)
        note({"visionq.outcome": type(ending.outcome).__name__.lower()})
    attempt.seconds = clock() - started
    try:
        return replace(ending, counted=counted_by(attempt, ending))
    except Exception:
        # An answer that was paid for must not be lost over a number for a chart.
        log.exception("attempt.not_counted")
        return ending


async def _claim(job_id: str, ledger: AsyncLedger, registration: Registration) -> Claim | Stale:
    """Take the job. What can't be taken now the ledger hints at again."""
    try:
        claim = await ledger.claim(job_id, secrets.token_hex(8), registration)
    except TRANSIENT_ERRORS as error:
        log.warning("claim.redis_failed", job=job_id, error=str(error))
        return Stale("not claimed")
    except ValidationError as error:
        # Perhaps of a newer version: the lease lapses, and a newer worker may come by.
        log.error("claim.unreadable", job=job_id, field=field_in(describe(error)))  # noqa: TRY400  # where it arose says nothing
        return Stale("unreadable")
    if isinstance(claim, ClaimRefusal):
        return Stale(claim.reason or claim.state or MISSING)
    return claim


async def write_ending(claim: Claim, ending: Ending, dependencies: Dependencies) -> Outcome | None:
    """Write the ending; return its outcome, or None if the claim is no longer valid.

    An ending that can't be written must not leave the job, and the money, open: what is refused
    is written with less in it, and at last as a call of unknown billing, which nobody repeats.
    From the first refusal on the job is blocked, so that no other call follows.
    """
    for one in (ending, *_plainer(claim, ending)):
        try:
            written = await retry_until_redis_returns_async(
                partial(dependencies.ledger.finish, claim, one), dependencies.sleep
            )
        except (TypeError, ValueError, ResponseError):
            log.exception("attempt.unwritable", outcome=type(one.outcome).__name__)
            await _block(claim, dependencies)
        else:
            if written is Written.PUT_OFF:
                return Parked(DelayReason.PROVIDER_UNAVAILABLE)
            return one.outcome if written else None
    return None


async def _block(claim: Claim, dependencies: Dependencies) -> None:
    try:
        await retry_until_redis_returns_async(
            partial(dependencies.ledger.block, claim), dependencies.sleep
        )
    except ResponseError:
        # The job's own record, or Redis's every script, is closed to us: no worker can take it up.
        log.exception("attempt.not_blocked")


def _plainer(claim: Claim, ending: Ending) -> Iterator[Ending]:
    yield replace(ending, usage=None, rate_limit=RateLimitFeedback(), counted={})
    cost = rubles(claim.cost + ending.cost)
    error = InternalError("the outcome could not be written", cost_rub=cost)
    yield Ending(failed(error), ending.billing, ending.cost)
    if ending.billing is not Billing.RELEASED:
        yield Ending(Parked(DelayReason.BILLING_UNKNOWN), Billing.UNKNOWN)


def _log_outcome(claim: Claim, outcome: Outcome) -> None:
    match outcome:
        case Completed(result):
            log.info("job.completed", cost_rub=str(result.cost_rub), cached=result.cached)
        case Failed(error, _, picture):
            log.info("job.failed", error=brief(error.code, error.message, picture))
        case Waiting(reason, delay):
            log.info("job.waiting", reason=reason, delay=round(delay, 3))
        case Parked(reason):
            log.warning("job.parked", reason=reason, unknown_calls=claim.unknown_calls)
        case Moved(models, reason):
            log.info("job.moved", reason=reason, model=models[0])
        case Held(reason, model):
            log.warning("job.held", reason=reason, scope=f"model:{model}" if model else "gate")
