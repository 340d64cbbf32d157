"""The steps of an attempt, in order. Each returns None to continue, or the outcome."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

from visionq.cache_key import cache_key
from visionq.contract import DelayReason, Detail, Reuse
from visionq.contract.states import MISSING
from visionq.crops import check_count
from visionq.errors import DeadlineExceeded, InternalError, InvalidJob, TooLarge
from visionq.ledger import Billing, Ending, Parked, Verdict, Waiting
from visionq.ledger.near_answers import NearPicture
from visionq.pricing.model_options import check_model_options, check_report
from visionq.pricing.prompt_cache import check_prompt_cache
from worker.pipeline import picture_steps
from worker.pipeline.answers import (
    answered,
    keep_for_repair,
    prepare_repair,
    rate_limit_feedback,
    reused,
)
from worker.pipeline.cheaper_tier import judged
from worker.pipeline.context import FencedError, GivenBackError
from worker.pipeline.costs import (
    expected,
    learn,
    likely_tokens,
    most_believed,
    usage_note,
    worst_case,
)
from worker.pipeline.together import ask_together, whole_call
from worker.provider.aiohttp_transport import OutgoingBody
from worker.provider.checked_usage import read_cost, read_tier
from worker.provider.provider_client import ask as ask_provider
from worker.provider.reply import read_rate_limit_headers
from worker.provider.request import ProviderRequest, build_request

if TYPE_CHECKING:
    from collections.abc import Callable

    from visionq.contract import JobDocument
    from visionq.ledger import Admission
    from visionq.ledger.records import BatchPlace
    from worker.pipeline.context import Attempt
    from worker.provider.answer import ProviderAnswer
    from worker.provider.batch_files import BatchLineResult
    from worker.provider.reply import Reply

#: Copies of the pictures in base64 that there are while the body of the call is built.
_COPIES: Final = 2


async def load(attempt: Attempt) -> None:
    """Get the bytes of pictures by their address, except of those that the provider fetches.

    Options that the model does not take are refused first: the submitter may not have known it.
    """
    check_model_options(attempt.job, attempt.dependencies.options)
    check_prompt_cache(attempt.job, attempt.dependencies.options)
    images = attempt.job.images
    check_count(attempt.dependencies.rules.request_of(attempt.model), len(images), len(images))
    with attempt.dependencies.fetcher.job(len(images)):
        for position, image in enumerate(images):
            attempt.progress()
            name = image.label(position)
            attempt.pictures.append(await picture_steps.load(attempt, image, name))


async def look_up_cached_answer(attempt: Attempt) -> Ending | None:
    """Look for a cached answer before anything is decoded."""
    attempt.accepts_cached = attempt.job.reuse is Reuse.USE
    digests = [picture.sha256 for picture in attempt.pictures if picture.sha256]
    if attempt.job.reuse is Reuse.OFF or len(digests) < len(attempt.pictures):
        return None  # bytes that we never saw have no key
    shared = attempt.dependencies.settings.share_answers
    attempt.cache_key = cache_key(attempt.job, digests, shared=shared)
    if not attempt.accepts_cached:
        return None
    stored = await attempt.dependencies.ledger.cached_answer(attempt.cache_key)
    ending = reused(attempt, stored) if stored else None
    attempt.accepts_cached = stored is None  # one that can't be read would only come again
    return ending


async def check(attempt: Attempt) -> None:
    """Check each picture; a bad one fails the job, by name."""
    if not attempt.reservation.held:  # else it holds what it has downloaded, which is not to wait
        await attempt.prepare_slot.take(waiting=attempt.progress)
    for picture in attempt.pictures:
        attempt.progress()
        await picture_steps.check(attempt, picture)


async def encode(attempt: Attempt) -> None:
    """Encode each picture as the model will see it, then build the call."""
    most, count = attempt.dependencies.limits.max_request_bytes, len(attempt.pictures)
    sources: list[str | bytes] = []
    size = 0
    for picture in attempt.pictures:
        new = await picture_steps.encode(attempt, picture)
        sources += new
        size += sum(map(len, new))
        if size > most:
            raise TooLarge(
                f"the pictures together are more than {most:,} bytes in base64; send fewer at once",
                image=picture.name,
            )
        check_count(attempt.dependencies.rules.request_of(attempt.model), count, len(sources))
    await attempt.reservation.hold(_COPIES * size, waiting=attempt.progress)
    attempt.asked = picture_steps.asked_of_model(attempt)
    check_report(attempt.job, attempt.asked, attempt.dependencies.options)
    build = partial(
        build_request,
        _as_asked(attempt),
        sources,
        attempt.asked,
        attempt.dependencies.settings.prompt_cache,
        parts=attempt.parts,
        takes_detail=attempt.dependencies.options.takes_detail(attempt.model),
    )
    attempt.request = await picture_steps.off_loop(size, build)
    kept = size if attempt.together_key else 0
    if kept:
        attempt.sources += sources
    sources.clear()
    await attempt.reservation.hold(len(attempt.request.body) + kept)
    attempt.prepare_slot.leave()


async def look_up_near_answer(attempt: Attempt) -> Ending | None:
    """Look for the answer of a picture that looks alike; else be found by others."""
    index, wanted = attempt.dependencies.near_answers, attempt.pictures[0].perceptual_hash
    if index is None or wanted is None or not attempt.looks_for_near:
        return None
    question = cache_key(attempt.job, (), shared=attempt.dependencies.settings.share_answers)
    own = NearPicture(attempt.cache_key, attempt.job.near or 0)
    search = await index.find(question, own, wanted)
    match = search.match
    if match is not None and match.answer is not None:
        ending = reused(attempt, match.answer, match.picture)
        if ending is not None:
            return ending
        match = None
    if match is None or not match.is_asked:
        match = await index.enter(search, own, wanted) or match
    attempt.near = match.picture if match is not None else None
    return None


def _as_asked(attempt: Attempt) -> JobDocument:
    """Return the job at its tier, with a `detail` that its model takes."""
    changes: dict[str, str] = {}
    if attempt.cheaper_tier is not None:
        changes["service_tier"] = attempt.cheaper_tier
    family = attempt.dependencies.rules.family_of(attempt.model)
    if attempt.job.detail is Detail.ORIGINAL and family and Detail.ORIGINAL not in family.details:
        changes["detail"] = Detail.HIGH
    return attempt.job.model_copy(update=changes) if changes else attempt.job


async def admit(attempt: Attempt) -> Ending | None:
    """Ask for admission, and mark the attempt as sent."""
    await learn(attempt)
    attempt.worst_case = worst_case(attempt)
    return await _admitted(attempt)


async def join_batch(attempt: Attempt) -> Ending | None:
    """Give the request its place in a batch instead, whose it is from then on."""
    if attempt.batch is None:
        raise RuntimeError("there is no batch to join")
    await learn(attempt)
    attempt.worst_case = worst_case(attempt)
    place = attempt.batch.place_for(attempt)
    if place is None:
        return Ending(Waiting(DelayReason.BATCH, 0, counted=False))
    if (ending := await _admitted(attempt, place)) is not None:
        return ending
    attempt.batch.add(attempt)
    raise GivenBackError(Waiting(DelayReason.BATCH, 0, counted=False))


async def _admitted(attempt: Attempt, place: BatchPlace | None = None) -> Ending | None:
    admission = await _admission(attempt, place)
    match admission.verdict:
        case Verdict.GO:
            attempt.sent = True
            return None
        case Verdict.ANSWER if admission.answer is not None:
            ending = reused(attempt, admission.answer, attempt.near if admission.is_near else None)
            if ending is None:
                raise InternalError("a newer version of the worker has stored the answer")
            return ending
        case Verdict.EXPIRED:
            raise DeadlineExceeded("the deadline passed before the call was sent; nothing was paid")
        case Verdict.FOLLOW:
            raise GivenBackError(Waiting(DelayReason.FOLLOWS, 0, counted=False))
        case Verdict.UNPRICED:
            raise InvalidJob(
                f"model: {attempt.model} has no price, and the job is charged to a budget; enter a"
                " price in the file that VISIONQ_PRICES_FILE names, or choose another model"
            )
        case Verdict.PARK if admission.reason is not None:
            raise GivenBackError(_put_back(admission.reason))
        case _:
            raise FencedError(admission.state or MISSING)


async def _admission(attempt: Attempt, place: BatchPlace | None) -> Admission:
    """Ask for admission until the verdict is not WAIT; keep the call meanwhile."""
    is_priced = attempt.dependencies.prices.for_model(attempt.model) is not None
    tokens = likely_tokens(attempt)
    while True:
        attempt.progress()  # waiting for one's turn is not hanging
        admission = await attempt.dependencies.ledger.admit(
            attempt.claim,
            cache_key=attempt.cache_key if attempt.shares_answer else "",
            reserve=attempt.worst_case if is_priced else None,
            tokens=tokens,
            place=place,
            near=attempt.near.cache_key if attempt.near else "",
        )
        if admission.verdict is not Verdict.WAIT:
            return admission
        attempt.waits += 1
        attempt.waited += admission.wait
        await attempt.dependencies.sleep(admission.wait)


def _put_back(reason: DelayReason) -> Waiting | Parked:
    """Return the ledger's action: a job waits if time or others help, else it parks."""
    if reason in (DelayReason.RATE_LIMITED, DelayReason.BUDGET):
        return Waiting(reason, 0, counted=False)
    return Parked(reason)


async def build_repair_request(attempt: Attempt) -> None:
    """Build the request that repairs an invalid answer, in place of the pictures."""
    if attempt.claim.faulty is None:
        raise RuntimeError("there is nothing to repair")
    prepare_repair(attempt, attempt.claim.faulty)


async def ask(attempt: Attempt) -> Ending:
    """Make the one call."""
    if attempt.request is None:
        raise RuntimeError("ask comes after encode")
    clock = attempt.dependencies.monotonic
    started = clock()
    profile = attempt.dependencies.profile
    if (whole := whole_call(attempt)) is not None:
        return await ask_together(attempt, whole, _ask_for_all, _note_online)
    attempt.sources.clear()
    body = OutgoingBody(attempt.request.body, attempt.reservation.release)
    # From here the body alone holds its bytes, until they are sent.
    attempt.request = request = replace(
        attempt.request,
        body=b"",
        expected=expected(attempt),
        profile=profile,
        patience=attempt.patience,
    )
    on_reply = partial(_note_online, attempt)
    call = ask_provider(attempt.dependencies.client, request, body=body, on_reply=on_reply)
    answer = await judged(attempt, call)
    # The result tells it, so it can't wait for the end of the step.
    attempt.timings_ms["ask"] = round((clock() - started) * 1000, 3)
    return await _answer(attempt, answer)


async def _ask_for_all(
    attempt: Attempt, request: ProviderRequest, on_reply: Callable[[Reply], None]
) -> ProviderAnswer:
    """Make a call that several share."""
    clock = attempt.dependencies.monotonic
    started = clock()
    answer = await ask_provider(attempt.dependencies.client, request, on_reply=on_reply)
    attempt.timings_ms["ask"] = round((clock() - started) * 1000, 3)
    return answer


async def read_line(attempt: Attempt, line: BatchLineResult, now: float) -> Ending:
    """Read the result line of a batch, as `ask` reads a reply."""
    if attempt.request is None:
        raise RuntimeError("a line answers a request")
    profile = attempt.dependencies.profile
    request = replace(attempt.request, expected=expected(attempt), profile=profile)
    if line.reply is not None:
        _note_reply(attempt, line.reply)
    return await _answer(attempt, line.answer(request, now=now))


def _note_online(attempt: Attempt, reply: Reply) -> None:
    attempt.rate_limit_headers = read_rate_limit_headers(reply.headers)
    _note_reply(attempt, reply)


def _note_reply(attempt: Attempt, reply: Reply) -> None:
    attempt.status = reply.status
    attempt.served_tier = read_tier(reply.json)
    cost = attempt.dependencies.profile.cost
    attempt.reported_cost = read_cost(reply.json, cost, most_believed(attempt))


async def _answer(attempt: Attempt, answer: ProviderAnswer) -> Ending:
    attempt.counted = answer.usage
    attempt.request = None
    attempt.reservation.release()
    picture_steps.take_findings(attempt, answer, attempt.asked)
    if answer.validation_error is not None:
        return keep_for_repair(attempt, answer)
    completed, cost = answered(attempt, answer)
    usage = usage_note(attempt, answer.usage)
    return Ending(
        completed, Billing.SETTLED, cost, usage, rate_limit_feedback(attempt, answer.usage)
    )
