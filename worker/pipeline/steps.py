"""The steps of an attempt, in order. Each returns nothing to go on, or how the attempt ends."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from visionq.content_key import content_key
from visionq.contract import Detail, Reuse
from visionq.errors import DeadlineExceeded, InternalError, InvalidJob, TooLarge
from visionq.ledger import WAITS_FOR_BUDGET, Billing, Ending, Parked, Verdict, Waiting
from visionq.prices import worst_case_nano_rubles
from visionq.vision import (
    REQUEST_TOKENS,
    forecast_text_tokens,
)
from worker.pipeline import pictures
from worker.pipeline.answers import answered, reused
from worker.pipeline.errors import FencedError, GivenBackError
from worker.provider.ask import ask as ask_provider
from worker.provider.request import build_request, with_report

if TYPE_CHECKING:
    from visionq.contract import JobDocument
    from worker.pipeline.context import Attempt

#: Copies of the pictures in base64 that there are while the body of the call is built.
_COPIES: Final = 4


def load(attempt: Attempt) -> None:
    """Get the bytes of pictures by their address, except of those that the provider fetches."""
    pictures.refuse_too_many(attempt)
    for position, image in enumerate(attempt.job.images):
        attempt.progress()
        attempt.pictures.append(pictures.load(attempt, image, image.label(position)))


def recall(attempt: Attempt) -> Ending | None:
    """Look for a stored answer before anything is decoded."""
    attempt.recalls = attempt.job.reuse is Reuse.USE
    digests = [picture.sha256 for picture in attempt.pictures if picture.sha256]
    if attempt.job.reuse is Reuse.OFF or len(digests) < len(attempt.pictures):
        return None  # bytes that we never saw have no key
    attempt.content_key = content_key(attempt.job, digests)
    if not attempt.recalls:
        return None
    stored = attempt.tools.ledger.stored_answer(attempt.content_key)
    ending = reused(attempt, stored) if stored else None
    attempt.recalls = stored is None  # one that can't be read would only come again
    return ending


def check(attempt: Attempt) -> None:
    """Find out what each picture is; one bad picture fails the job and is named."""
    for picture in attempt.pictures:
        attempt.progress()
        pictures.check(attempt, picture)


def encode(attempt: Attempt) -> None:
    """Bring each picture to what the model will see, then build the call."""
    most = attempt.tools.limits.max_request_bytes
    sources, size = [], 0
    for picture in attempt.pictures:
        sources.append(pictures.encode(attempt, picture))
        size += len(sources[-1])
        if size > most:
            raise TooLarge(
                f"the pictures together are more than {most:,} bytes in base64; send fewer at once",
                image=picture.name,
            )
    attempt.share.hold(_COPIES * size, waiting=attempt.progress)
    attempt.asked = pictures.asked_of_model(attempt)
    attempt.request = build_request(_with_known_detail(attempt), sources, attempt.asked)
    sources.clear()
    attempt.share.hold(len(attempt.request.body))


def _with_known_detail(attempt: Attempt) -> JobDocument:
    """Return the job in words that its model knows: many have no `original`, and refuse it."""
    family = attempt.tools.rules.family_of(attempt.model)
    if attempt.job.detail is Detail.ORIGINAL and family is not None and family.original is None:
        return attempt.job.model_copy(update={"detail": Detail.HIGH})
    return attempt.job


def admit(attempt: Attempt) -> Ending | None:
    """Take leave to call, and mark the attempt as sent."""
    attempt.worst_case = _worst_case(attempt)
    is_priced = attempt.tools.prices.for_model(attempt.model) is not None
    shared = attempt.recalls or attempt.job.reuse is Reuse.REFRESH
    admission = attempt.tools.ledger.admit(
        attempt.claim,
        content_key=attempt.content_key if shared else "",
        reserve=attempt.worst_case if is_priced else None,
    )
    match admission.verdict:
        case Verdict.GO:
            attempt.sent = True
            return None
        case Verdict.ANSWER if admission.answer is not None:
            ending = reused(attempt, admission.answer)
            if ending is None:
                raise InternalError("a newer version of the worker has stored the answer")
            return ending
        case Verdict.EXPIRED:
            raise DeadlineExceeded("the deadline passed before the call was sent; nothing was paid")
        case Verdict.FOLLOW:
            raise GivenBackError(Waiting("follows", 0, counted=False))
        case Verdict.UNPRICED:
            raise InvalidJob(
                f"model: {attempt.model} has no price, and the job is charged to a budget; enter a"
                " price in the file that VISIONQ_PRICES_FILE names, or choose another model"
            )
        case Verdict.WAIT if admission.reason == WAITS_FOR_BUDGET:
            raise GivenBackError(Waiting(admission.reason, 0, counted=False))
        case Verdict.PARK:
            raise GivenBackError(Parked(admission.reason or "gate_closed"))
        case _:
            raise FencedError(admission.reason or "")


def _worst_case(attempt: Attempt) -> int:
    price = attempt.tools.prices.for_model(attempt.model)
    if price is None:
        return 0
    job = with_report(attempt.job, attempt.asked)
    texts = (job.prompt, job.instructions or "", json.dumps(job.answer_schema or ""))
    tokens = REQUEST_TOKENS
    tokens += sum(picture.forecast_tokens for picture in attempt.pictures)
    tokens += sum(forecast_text_tokens(text) for text in texts)
    limit = job.max_output_tokens or attempt.tools.settings.default_max_output_tokens
    return worst_case_nano_rubles(price, tokens, limit)


def ask(attempt: Attempt) -> Ending:
    """Make the one call."""
    if attempt.request is None:
        raise RuntimeError("ask comes after encode")
    clock = attempt.tools.monotonic
    started = clock()
    answer = ask_provider(attempt.tools.client, attempt.request)
    # The result tells it, so it can't wait for the end of the step.
    attempt.timings_ms["ask"] = round((clock() - started) * 1000, 3)
    attempt.request = None
    attempt.share.hold(0)
    pictures.take_findings(attempt, answer, attempt.asked)
    completed, cost = answered(attempt, answer)
    return Ending(completed, Billing.SETTLED, cost)
