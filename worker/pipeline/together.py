"""Jobs that ask about the same pictures, answered by one call that each pays its share of.

Each stays a job of its own, admitted, paid for and finished by itself: the ledger knows nothing of
the call that they share. They are tasks of one process, so its death is that of all of them.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

import structlog

from visionq.cache_key import MOST_QUESTIONS
from visionq.contract import DelayReason, Usage
from visionq.errors import (
    BillingUnknown,
    Incomplete,
    InvalidOutput,
    JobError,
    ModelNotFound,
    QueueUnavailable,
    Refused,
    VisionqError,
)
from visionq.ledger import Billing, Ending, Waiting
from visionq.redis_connection import TRANSIENT_ERRORS
from worker.pipeline.answers import answered, keep_for_repair, rate_limit_feedback
from worker.pipeline.context import Attempt, Share
from worker.pipeline.costs import expected, learn, priced, worst_case
from worker.provider.checked_usage import credible
from worker.provider.combined_questions import combined, framed, parts_of, shares
from worker.provider.request import build_request

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from visionq.contract import JobDocument
    from worker.provider.answer import ProviderAnswer
    from worker.provider.reply import Reply
    from worker.provider.request import ProviderRequest

log = structlog.get_logger(__name__)

#: Seconds after its submission in which a job waits for others to join it.
WINDOW: Final = 0.5
#: Seconds for which nobody else takes up the others, should the process of the one who does die.
_LEADS_FOR: Final = 30
#: Seconds after which a job that nobody took up looks again, and how often it does.
_FOLLOWS_FOR: Final = 2.0
_MOST_FOLLOWS: Final = 3
#: Seconds that the others have to be admitted.
_PATIENCE: Final = 10.0
#: Paid answers that are nobody's: each question is asked alone then.
_SPOILT: Final = (Refused, Incomplete, InvalidOutput)


@dataclass
class SharedCall:
    """One call for the leader and those that joined it."""

    leader: Attempt
    joined: list[Attempt] = field(default_factory=list)
    is_closed: bool = False
    #: From then on it may be paid.
    is_sent: bool = False
    #: The others at work, joined or not.
    tasks: list[asyncio.Task[object]] = field(default_factory=list)
    _ends: dict[str, asyncio.Future[Ending]] = field(default_factory=dict)

    def join(self, attempt: Attempt) -> asyncio.Future[Ending] | None:
        """Add an admitted job; return its end, or None: the call is made without it."""
        if self.is_closed:
            return None
        self.joined.append(attempt)
        end = self._ends[attempt.claim.token] = asyncio.get_running_loop().create_future()
        return end

    @property
    def all(self) -> list[Attempt]:
        """The leader and the others, in the order of their questions."""
        return [self.leader, *self.joined]

    def abandon(self) -> None:
        """Give back those that still wait; their money stays open if the call was made."""
        self.is_closed = True
        for attempt in self.joined:
            future = self._ends[attempt.claim.token]
            if future.done():
                continue
            if self.is_sent:
                future.set_exception(BillingUnknown("the worker failed while the call was out"))
                continue
            attempt.sent = False
            future.set_result(Ending(_again(), Billing.RELEASED))

    async def finished(self) -> None:
        """Wait until the others have written how they ended."""
        if self.tasks:
            await asyncio.wait(self.tasks)

    def settle(self, ends: Sequence[Ending | Exception]) -> Ending:
        """Tell each how it ends; return the leader's end or raise its error."""
        own, *others = ends
        for attempt, end in zip(self.joined, others, strict=True):
            future = self._ends[attempt.claim.token]
            if future.done():
                continue
            if isinstance(end, Exception):
                future.set_exception(end)
            else:
                future.set_result(end)
        if isinstance(own, Exception):
            raise own
        return own


async def lead_or_follow(attempt: Attempt) -> Ending | None:
    """Lead those that may share the call, or wait to be taken up."""
    claim = attempt.claim
    if claim.waits >= _MOST_FOLLOWS:
        attempt.together_key = ""  # it was not taken up: it is asked alone
        return None
    ledger = attempt.dependencies.ledger
    attempt.leads = await ledger.lead_together(attempt.together_key, claim.id, _LEADS_FOR)
    if attempt.leads:
        return None
    return Ending(Waiting(DelayReason.FOLLOWS, _FOLLOWS_FOR, counted=False))


async def wait_for_others(attempt: Attempt) -> None:
    """Wait until others that were submitted at the same time can be found."""
    claim = attempt.claim
    left = max(WINDOW - (claim.now - claim.submitted), WINDOW / 5)
    if left > 0 and attempt.together_key:
        await attempt.dependencies.sleep(left)


async def gather(attempt: Attempt) -> None:
    """Take up jobs with other questions about the pictures, and have them join."""
    key, start = attempt.together_key, attempt.start_other
    if start is None or not key:
        return
    found: tuple[str, ...] = ()
    with suppress(*TRANSIENT_ERRORS, QueueUnavailable):  # it is asked alone then
        ledger, own = attempt.dependencies.ledger, attempt.claim.id
        found = await ledger.gather(key, own, MOST_QUESTIONS - 1)
        attempt.leads = False
    if not found:
        return
    call = attempt.shared_call = SharedCall(attempt)
    settled = asyncio.Event()
    left = len(found)

    def on_joined_or_left() -> None:
        nonlocal left
        left -= 1
        if not left:
            settled.set()

    for job_id in found:
        start(job_id, call, _once(on_joined_or_left))
    try:
        await asyncio.wait_for(settled.wait(), _PATIENCE)
    except TimeoutError:
        log.warning("together.late", jobs=left)
    call.is_closed = True


def _once(call: Callable[[], None]) -> Callable[[], None]:
    called = False

    def once() -> None:
        nonlocal called
        if not called:
            called = True
            call()

    return once


async def take_pictures(attempt: Attempt) -> None:
    """Take what is known of the pictures from the one who asks."""
    if attempt.joins is None:
        raise RuntimeError("there is no call to join")
    leader = attempt.joins.leader
    attempt.cheaper_tier = leader.cheaper_tier
    attempt.pictures += [
        replace(picture, name=image.label(place), content=None, checked=None)
        for place, (picture, image) in enumerate(
            zip(leader.pictures, attempt.job.images, strict=True)
        )
    ]


async def prepare_question(attempt: Attempt) -> None:
    """Build the question without its pictures: what it would cost alone is its share's measure."""
    attempt.request = _alone(attempt, attempt.job)
    await learn(attempt)
    attempt.worst_case = worst_case(attempt)


def _alone(attempt: Attempt, job: JobDocument) -> ProviderRequest:
    """Return the texts of a question inside the frame, as a request without pictures."""
    prompt = framed(job.prompt, MOST_QUESTIONS)
    bare = job.model_copy(update={"prompt": prompt, "images": ()})
    return build_request(bare, (), (), attempt.dependencies.settings.prompt_cache)


async def join(attempt: Attempt) -> Ending:
    """Ride on the call of the one who asks; return what came of this question."""
    call = attempt.joins
    if call is None:
        raise RuntimeError("there is no call to join")
    attempt.request = None
    end = call.join(attempt)
    if attempt.on_joined is not None:
        attempt.on_joined()
    if end is None:
        attempt.sent = False
        return Ending(_again(), Billing.RELEASED)
    return await end


def _again(*, counted: bool = False) -> Waiting:
    reason = DelayReason.REPAIR if counted else DelayReason.RATE_LIMITED
    return Waiting(reason, 0, counted=counted)


def whole_call(attempt: Attempt) -> Attempt | None:
    """Return an attempt that stands for the call of all; None: each is asked alone."""
    call = attempt.shared_call
    if call is None or not call.joined:
        return None
    try:
        return _whole(attempt, call)
    except VisionqError as error:  # a schema of all that is too large
        log.info("together.impossible", error=error.code)
        call.abandon()
        return None


async def ask_together(
    attempt: Attempt,
    whole: Attempt,
    ask: Callable[[Attempt, ProviderRequest, Callable[[Reply], None]], Awaitable[ProviderAnswer]],
    note_reply: Callable[[Attempt, Reply], None],
) -> Ending:
    """Make the one call, and settle each question with its share of it."""
    call = attempt.shared_call
    if call is None or whole.request is None:
        raise RuntimeError("the call was not built")
    request = replace(
        whole.request,
        # Each part is checked by its own schema.
        answer_schema={"type": "object"},
        expected=expected(whole),
        profile=attempt.dependencies.profile,
        patience=attempt.patience,
    )
    call.is_sent = True
    try:
        answer = await ask(attempt, request, lambda reply: note_reply(whole, reply))
    except _SPOILT as error:
        _share(whole, call, error.usage)
        return call.settle([_alone_next(one) for one in call.all])
    except BillingUnknown as error:
        others = [BillingUnknown(error.message, request_id=error.request_id) for _ in call.joined]
        return call.settle([error, *others])
    except VisionqError as error:
        return await _refused(whole, call, error)
    finally:
        attempt.request = None
        attempt.sources.clear()
        await attempt.reservation.hold(0)
    _share(whole, call, answer.usage)
    parts = parts_of(answer, [one.job for one in call.all])
    return call.settle([_end(one, part) for one, part in zip(call.all, parts, strict=True)])


def _whole(attempt: Attempt, call: SharedCall) -> Attempt:
    """Return an attempt that stands for the call itself."""
    document = combined([one.job for one in call.all])
    whole = Attempt(replace(attempt.claim, document=document), attempt.dependencies)
    whole.cheaper_tier = attempt.cheaper_tier
    whole.pictures, whole.calibration = attempt.pictures, attempt.calibration
    whole.worst_case = sum(one.worst_case for one in call.all)
    whole.request = build_request(
        document,
        attempt.sources,
        (),
        attempt.dependencies.settings.prompt_cache,
        parts=attempt.parts,
        takes_detail=attempt.dependencies.options.takes_detail(attempt.model),
    )
    return whole


def _share(whole: Attempt, call: SharedCall, usage: Usage | None) -> None:
    """Give each question its share, by what each would have cost alone."""
    every = call.all
    weights = [one.worst_case for one in every]
    cost, is_estimate, warnings = priced(whole, usage)
    counted = credible(usage)
    tokens = {name: shares(getattr(counted, name), weights) if counted else () for name in _COUNTS}
    for place, (one, amount) in enumerate(zip(every, shares(cost, weights), strict=True)):
        own = Usage(**{name: each[place] for name, each in tokens.items()}) if counted else None
        one.share = Share(amount, is_estimate, warnings, own, len(every))
        one.counted = own
        one.status, one.served_tier = whole.status, whole.served_tier
    call.leader.rate_limit_headers = whole.rate_limit_headers


_COUNTS: Final = tuple(Usage.model_fields)


def _end(attempt: Attempt, part: ProviderAnswer | None) -> Ending | Exception:
    if part is None:
        return _alone_next(attempt)
    usage = attempt.share.usage if attempt.share else None
    own = replace(part, usage=usage)
    try:
        if own.validation_error is not None:
            return keep_for_repair(attempt, own)
        completed, cost = answered(attempt, own)
    except Exception as error:  # noqa: BLE001  # the others' answers are paid as well
        return error
    return Ending(completed, Billing.SETTLED, cost, None, rate_limit_feedback(attempt, usage))


def _alone_next(attempt: Attempt) -> Ending:
    """Return the end of a question that got no answer: it is asked again, alone."""
    share = attempt.share
    cost, usage = (share.cost, share.usage) if share else (0, None)
    feedback = rate_limit_feedback(attempt, usage)
    return Ending(_again(counted=True), Billing.SETTLED, cost, None, feedback)


async def _refused(whole: Attempt, call: SharedCall, error: VisionqError) -> Ending:
    """Let the leader learn from a refusal that cost nothing; the others try again.

    Of a request that is refused for what it says nobody knows whose question is at fault: each is
    asked again, alone.
    """
    leader, cost = call.leader, whole.reported_cost
    leader.status, leader.rate_limit_headers = whole.status, whole.rate_limit_headers
    leader.reported_cost = cost  # a refusal that is billed all the same is the leader's
    is_free = not (cost.nano_rubles or cost.is_disbelieved)
    is_of_request = isinstance(error, JobError) and not isinstance(error, ModelNotFound)
    if error.retryable and call.leader.together_key:
        ids = [one.claim.id for one in call.all]
        with suppress(*TRANSIENT_ERRORS, QueueUnavailable):  # each is asked alone then
            await call.leader.dependencies.ledger.list_together(call.leader.together_key, ids)
    for one in call.joined:
        one.sent = False
    back = Ending(_again(counted=is_of_request), Billing.RELEASED)
    own = back if is_of_request and is_free else error
    return call.settle([own, *(back for _ in call.joined)])
