"""Run the steps of one attempt and return its outcome."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import structlog

from visionq.contract import DelayReason
from visionq.errors import (
    BillingUnknown,
    InternalError,
    ModelNotFound,
    Quarantined,
    QueueUnavailable,
    RateLimited,
    VisionqError,
)
from visionq.ledger import Billing, Ending, Failed, Parked, Waiting, failed
from visionq.pricing.flex import FLEX
from visionq.pricing.money import rubles
from visionq.pricing.prices import check_tier
from visionq.redis_connection import TRANSIENT_ERRORS
from worker import decision
from worker.isolated_decode import DryRun
from worker.pipeline import steps, together
from worker.pipeline.answers import rate_limit_feedback, repair_failed
from worker.pipeline.cheaper_tier import choose_tier
from worker.pipeline.context import FencedError, GivenBackError
from worker.pipeline.costs import cost_of, usage_note
from worker.pipeline.moving import go_on, tried_before
from worker.pipeline.telemetry import of_call, of_reply
from worker.provider.checked_usage import DISBELIEVED, DisbelievedUsage
from worker.tracing import Kind

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from visionq.ledger import Outcome
    from visionq.ledger.records import UsageNote
    from worker.pipeline.context import Attempt
    from worker.provider.batch_files import BatchLineResult
    from worker.threads.heartbeat import Lease

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Step:
    """A step, and the seconds without progress after which it counts as hung.

    Its lease is then left to lapse. Getting on to the next picture is progress. Results, traces
    and logs know it by its function's name, or by `stage`, where that is older than the function's.
    """

    run: Callable[[Attempt], Awaitable[Ending | None]]
    patience: float
    stage: str = ""

    @property
    def name(self) -> str:
        """Return the name that timings, spans and log lines bear."""
        return self.stage or self.run.__name__


#: More deaths than workers that are killed for other reasons bring upon one job (docs/adr/0012).
_MOST_LAPSES: Final = 15
#: Reading and asking take longer than this only through the timeouts of their own clients.
STEPS: Final = (
    Step(steps.load, 300),
    Step(steps.look_up_cached_answer, 60, "recall"),
    Step(steps.check, 60),
    Step(steps.encode, 600),  # all other jobs may wait for the one that decodes
    Step(steps.admit, 120),
    Step(steps.ask, 60),
)


#: Around `admit`, if other jobs may ask about the same pictures in the same call.
LEAD_OR_FOLLOW: Final = Step(together.lead_or_follow, 60, "lead")
WAIT_FOR_OTHERS: Final = Step(together.wait_for_others, 60, "wait")
GATHER: Final = Step(together.gather, 60)
#: Instead, for a job that joins the call of another.
JOIN_STEPS: Final = (
    Step(together.take_pictures, 60, "load"),
    Step(steps.look_up_cached_answer, 60, "recall"),
    Step(together.prepare_question, 60, "encode"),
    Step(steps.admit, 120),
    Step(together.join, 60, "ask"),
)
#: Before the last two, if the answer of a near-duplicate would do.
LOOK_UP_NEAR: Final = Step(steps.look_up_near_answer, 60, "near")
#: Instead, if an earlier attempt brought an answer that needs only a repair.
REPAIR_STEPS: Final = (Step(steps.build_repair_request, 60, "mend"), *STEPS[-2:])
#: The last step, in the place of the last two, where a batch takes the request.
JOIN_BATCH: Final = Step(steps.join_batch, 120, "admit")


async def run_attempt(attempt: Attempt, lease: Lease) -> Ending:
    """Work on a claimed job until it is answered, moved or refused.

    Raises:
        FencedError: the job was taken away; write nothing for it.
        GivenBackError: `admit` has given it back itself.
    """
    return go_on(attempt, await _end_of(attempt, lease))


async def _end_of(attempt: Attempt, lease: Lease) -> Ending:
    try:
        await _consider_deaths(attempt)
        _consider_interruption(attempt)
        _consider_model(attempt)
        check_tier(attempt.dependencies.prices, attempt.model, attempt.job.service_tier)
        if attempt.joins is None:
            attempt.cheaper_tier = await choose_tier(attempt)
        for step in _steps_of(attempt):
            with _measured(attempt, lease, step):
                ending = await step.run(attempt)
            if ending is not None:
                return ending
    except (FencedError, GivenBackError):
        raise
    except (*TRANSIENT_ERRORS, QueueUnavailable) as error:
        # Nothing was sent, since no step behind `admit` asks Redis or the blobs: an outage
        # uses up no attempt.
        log.warning("attempt.redis_failed", error=str(error))
        pause = decision.backoff(attempt.claim.waits + 1, attempt.dependencies.random)
        return Ending(Waiting(DelayReason.QUEUE_UNAVAILABLE, pause, counted=False))
    except VisionqError as error:
        return _ending(attempt, error)
    except Exception as error:
        log.exception("attempt.crashed")
        return _ending(attempt, _unforeseen(attempt, error))
    finally:
        attempt.reservation.release()
        attempt.prepare_slot.leave()
    raise RuntimeError("the last step ends the attempt")


def _steps_of(attempt: Attempt) -> tuple[Step, ...]:
    usual: tuple[Step, ...] = REPAIR_STEPS if attempt.claim.faulty else STEPS
    if attempt.joins is not None:
        usual = JOIN_STEPS
    if attempt.job.near is not None and not attempt.claim.faulty:
        usual = (*usual[:-2], LOOK_UP_NEAR, *usual[-2:])
    if attempt.together_key and attempt.start_other is not None:
        return (LEAD_OR_FOLLOW, *usual[:-2], WAIT_FOR_OTHERS, usual[-2], GATHER, usual[-1])
    return usual if attempt.batch is None else (*usual[:-2], JOIN_BATCH)


async def settle_line(attempt: Attempt, line: BatchLineResult, now: float) -> Ending:
    """Return the outcome of an attempt whose batch line has been answered."""
    return go_on(attempt, await _end_of_line(attempt, line, now))


async def _end_of_line(attempt: Attempt, line: BatchLineResult, now: float) -> Ending:
    attempt.sent = True
    if not line.was_asked:
        return Ending(Waiting(DelayReason.BATCH, 0, counted=False))
    try:
        return await steps.read_line(attempt, line, now)
    except VisionqError as error:
        return _ending(attempt, error)
    except Exception as error:
        log.exception("line.crashed")
        return _ending(attempt, _unforeseen(attempt, error))


@contextmanager
def _measured(attempt: Attempt, lease: Lease, step: Step) -> Iterator[None]:
    patience = step.patience
    if step.run in (steps.ask, together.join):
        settings = attempt.dependencies.settings
        patience += settings.connect_timeout + (attempt.patience or settings.request_timeout)
    attempt.progress = lambda: lease.extend(patience)
    attempt.progress()
    clock = attempt.dependencies.monotonic
    name = step.name
    started = clock()
    with _span(attempt, step), structlog.contextvars.bound_contextvars(stage=name):
        try:
            yield
        finally:
            attempt.timings_ms[name] = round((clock() - started) * 1000, 3)


@contextmanager
def _span(attempt: Attempt, step: Step) -> Iterator[None]:
    tracing = attempt.dependencies.tracing
    if step.run is not steps.ask:
        with tracing.span(step.name):
            yield
        return
    name, facts = f"chat {attempt.model}", of_call(attempt)
    with tracing.span(name, Kind.CLIENT, facts) as note:
        try:
            yield
        finally:
            note(of_reply(attempt))


async def _consider_deaths(attempt: Attempt) -> None:
    """Try a job that may have killed its workers in an isolated process first.

    Its pictures are prepared there as well, each in its turn. What lives through that has had bad
    neighbours; still nobody goes on with it for ever.
    """
    claim, deaths = attempt.claim, f"{attempt.claim.lapses} workers died with this job"
    if claim.lapses >= _MOST_LAPSES:
        raise Quarantined(f"{deaths} before they had sent its call")
    if not attempt.is_suspect:
        return
    faulty = claim.faulty.model_dump_json() if claim.faulty else None
    try:
        task = DryRun(attempt.job.to_compact_json(), faulty)
        await asyncio.to_thread(attempt.dependencies.isolated_decoder.dry_run, task)
    except Quarantined as error:
        raise Quarantined(f"{deaths}, and then, its question alone: {error.message}") from error


def _consider_interruption(attempt: Attempt) -> None:
    """Apply the job's policy if an earlier worker's call may have been paid."""
    if not attempt.claim.interrupted:
        return
    error = BillingUnknown("the worker died while its call was out")
    if isinstance(_decide(attempt, error), Parked):
        raise error


def _consider_model(attempt: Attempt) -> None:
    """Fail a job whose model the provider has just refused as unknown."""
    known = attempt.claim.missing_model
    if known is not None:
        raise ModelNotFound(
            f"{known.message} (reported to another job a moment ago; nothing was sent)"
        )


def _picture_at_fault(attempt: Attempt, name: str | None) -> int | None:
    labels = (image.label(position) for position, image in enumerate(attempt.job.images))
    return next((n for n, label in enumerate(labels, 1) if label == name), None)


def _unforeseen(attempt: Attempt, error: Exception) -> VisionqError:
    if attempt.sent:
        return BillingUnknown(f"the worker failed while its call was out: {type(error).__name__}")
    # Its text may quote what it failed on: a prompt, a picture. The log has it.
    return InternalError(f"the worker failed: {type(error).__name__}")


def _decide(attempt: Attempt, error: VisionqError) -> Outcome:
    return decision.decide(error, _facts(attempt), random=attempt.dependencies.random)


def _facts(attempt: Attempt) -> decision.AttemptFacts:
    claim = attempt.claim
    # The ledger has counted an interrupted call already; the rules ask for those before it.
    counted = 1 if claim.interrupted and not attempt.sent else 0
    # A deadline is for the first call, and that was sent.
    deadline = None if claim.faulty else attempt.job.deadline
    return decision.AttemptFacts(
        number=claim.attempts + 1 - tried_before(claim),
        max_attempts=attempt.dependencies.settings.max_attempts,
        unknown_calls=claim.unknown_calls - counted,
        on_unknown_billing=attempt.job.on_unknown_billing,
        waits=claim.waits,
        deadline_left=deadline.timestamp() - claim.now if deadline else None,
    )


def _ending(attempt: Attempt, error: VisionqError) -> Ending:
    """Turn an error into the outcome of job and money."""
    attempt.fault = error.code
    if attempt.sent:
        attempt.counted = error.usage
    # What is refused at flex has no room there; it says nothing of how fast others may be asked.
    refused = error if isinstance(error, RateLimited) and attempt.tier != FLEX else None
    rate_limit = rate_limit_feedback(attempt, error.usage, refused=refused)
    billing, cost, usage = _charge(attempt, error)
    may_be_put_off = attempt.sent and decision.may_be_put_off(error, _facts(attempt))
    if isinstance(error.usage, DisbelievedUsage):
        error.usage = None
        if attempt.reported_cost.nano_rubles is None:
            error.message = f"{error.message}; {DISBELIEVED}"
    paid = cost if billing is Billing.SETTLED else 0
    outcome = _outcome(attempt, error, paid)
    return Ending(outcome, billing, cost, usage, rate_limit, may_be_put_off=may_be_put_off)


def _charge(attempt: Attempt, error: VisionqError) -> tuple[Billing, int, UsageNote | None]:
    """Return the cost of the attempt, or its upper bound, and the observation."""
    billing, reported = decision.billing_of(error), attempt.reported_cost
    if reported.nano_rubles:
        billing = Billing.SETTLED
    elif reported.is_disbelieved and billing is Billing.RELEASED:
        billing = Billing.UNKNOWN  # a cost that can't be read is no word that there is none
    if billing is Billing.SETTLED:
        return billing, cost_of(attempt, error.usage), usage_note(attempt, error.usage)
    is_open = billing is Billing.UNKNOWN and attempt.sent
    return billing, attempt.worst_case if is_open else 0, None


def _outcome(attempt: Attempt, error: VisionqError, paid: int) -> Outcome:
    outcome = _decide(attempt, error)
    if not isinstance(outcome, Failed):
        return outcome
    faulty = attempt.claim.faulty
    failure = outcome if faulty is None else failed(repair_failed(faulty, outcome.error))
    cost = rubles(attempt.claim.cost + paid)
    document = failure.error.model_copy(update={"cost_rub": cost})
    return replace(failure, error=document, picture=_picture_at_fault(attempt, document.image))
