"""The steps of an attempt, in order. Each returns nothing to go on, or how the attempt ends."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

from visionq.blobs import sha256_of
from visionq.content_key import content_key
from visionq.contract import Detail, Reuse, UrlMode
from visionq.contract import Picture as PictureFacts
from visionq.errors import DeadlineExceeded, InternalError
from visionq.ledger import Billing, Ending, Parked, Verdict, Waiting
from visionq.prices import worst_case_nano_rubles
from visionq.vision import (
    REQUEST_TOKENS,
    forecast_text_tokens,
    image_tokens,
    most_image_tokens,
    seen_size,
)
from worker.images import encode as encode_picture
from worker.images import inspect
from worker.pipeline.answers import answered, reused
from worker.pipeline.context import Picture
from worker.pipeline.errors import FencedError, GivenBackError
from worker.provider.ask import ask as ask_provider
from worker.provider.request import build_request

if TYPE_CHECKING:
    from visionq.contract import ImageReference, JobDocument
    from worker.pipeline.context import Attempt


def load(attempt: Attempt) -> None:
    """Get the bytes of every picture, except of those that the provider fetches."""
    for position, image in enumerate(attempt.job.images):
        attempt.progress()
        attempt.pictures.append(_load(attempt, image, image.label(position)))


def _load(attempt: Attempt, image: ImageReference, name: str) -> Picture:
    tools = attempt.tools
    if image.blob is not None:
        return Picture(name, content=tools.blobs.get(image.blob), sha256=image.blob)
    url = image.url or ""
    if attempt.job.url_mode is UrlMode.PASS:
        return Picture(name, url=url)
    content = tools.fetcher.fetch(url, name=name, max_bytes=tools.limits.max_bytes)
    return Picture(name, content=content, sha256=sha256_of(content))


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
        if picture.content is not None:
            picture.checked = inspect(
                picture.content, name=picture.name, limits=attempt.tools.limits
            )
            picture.content = None  # the checked picture holds what is needed from here on


def encode(attempt: Attempt) -> None:
    """Bring each picture to what the model will see, then build the call."""
    sources = [_encode(attempt, picture) for picture in attempt.pictures]
    attempt.request = build_request(_with_known_detail(attempt), sources)


def _encode(attempt: Attempt, picture: Picture) -> str:
    """Return the picture as the call names it."""
    tools, detail, model = attempt.tools, attempt.job.detail, attempt.model

    def fit(width: int, height: int) -> tuple[int, int]:
        return seen_size(tools.rules, model, detail, width, height)

    if picture.checked is None:
        picture.forecast_tokens = most_image_tokens(tools.rules, model, detail)
        return picture.url or ""
    checked, picture.checked = picture.checked, None
    attempt.progress()
    with tools.decode_slots:
        attempt.progress()  # waiting for others is not hanging
        encoded = encode_picture(checked, fit=fit, name=picture.name, limits=tools.limits)
    picture.source = PictureFacts(
        format=checked.format, width=checked.width, height=checked.height, bytes=checked.bytes
    )
    picture.sent = PictureFacts(
        format=encoded.format, width=encoded.width, height=encoded.height, bytes=len(encoded.data)
    )
    picture.warnings = checked.warnings + encoded.warnings
    picture.forecast_tokens = image_tokens(
        tools.rules, model, detail, encoded.width, encoded.height
    )
    data = base64.b64encode(encoded.data).decode("ascii")
    return f"data:{encoded.mime_type};base64,{data}"


def _with_known_detail(attempt: Attempt) -> JobDocument:
    """Return the job in words that its model knows: many have no `original`, and refuse it."""
    family = attempt.tools.rules.family_of(attempt.model)
    if attempt.job.detail is Detail.ORIGINAL and family is not None and family.original is None:
        return attempt.job.model_copy(update={"detail": Detail.HIGH})
    return attempt.job


def admit(attempt: Attempt) -> Ending | None:
    """Take leave to call, and mark the attempt as sent."""
    attempt.worst_case = _worst_case(attempt)
    shared = attempt.recalls or attempt.job.reuse is Reuse.REFRESH
    admission = attempt.tools.ledger.admit(
        attempt.claim,
        content_key=attempt.content_key if shared else "",
        reserve=attempt.worst_case,
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
        case Verdict.PARK:
            raise GivenBackError(Parked(admission.reason or "gate_closed"))
        case _:
            raise FencedError(admission.reason or "")


def _worst_case(attempt: Attempt) -> int:
    price = attempt.tools.prices.for_model(attempt.model)
    if price is None:
        return 0
    job = attempt.job
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
    completed, cost = answered(attempt, answer)
    return Ending(completed, Billing.SETTLED, cost)
