"""The steps for one picture: load, check and encode it."""

from __future__ import annotations

import asyncio
import base64
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Final, TypeVar

from visionq.blobs import sha256_of
from visionq.contract import Picture as PictureFacts
from visionq.contract import Policy, UrlMode
from visionq.contract.pictures import COMPUTED
from visionq.errors import PictureRejected, Quarantined, TooLarge
from visionq.pricing.vision import image_tokens, most_image_tokens
from worker.images import encode_as_seen, inspect
from worker.isolated_decode import PictureTask
from worker.picture_detectors import judge
from worker.pipeline.context import JobPicture

if TYPE_CHECKING:
    from collections.abc import Callable

    from visionq.contract import ImageReference
    from worker.images import CheckedImage, EncodedImage
    from worker.pipeline.context import Attempt
    from worker.provider.answer import ProviderAnswer

T = TypeVar("T")

#: Bytes of originals that one job keeps from check to encode; blobs beyond are read again.
_KEPT_BYTES: Final = 40_000_000
#: Bytes that are hashed, or written as base64 or JSON, within a few milliseconds.
FEW_BYTES: Final = 1_000_000
#: Bytes of any kind, and pixels, that are looked at in as long.
_FEW_HOSTILE_BYTES: Final = 100_000
_FEW_PIXELS: Final = 65_536
#: Base64 makes 4 bytes of 3.
_BASE64: Final = 4 / 3


async def load(attempt: Attempt, image: ImageReference, name: str) -> JobPicture:
    """Download a picture from its address; blobs are read when needed."""
    if image.blob is not None:
        return JobPicture(name, sha256=image.blob)
    url = image.url or ""
    if attempt.job.url_mode is UrlMode.PASS:
        return JobPicture(name, url=url, warnings=_not_looked_at(attempt))
    reservation, before = attempt.reservation, attempt.reservation.held
    loop = asyncio.get_running_loop()

    def reserve(size: int) -> None:
        holds = reservation.hold(before + size, waiting=attempt.progress)
        asyncio.run_coroutine_threadsafe(holds, loop).result()

    content = await asyncio.to_thread(
        attempt.dependencies.fetcher.fetch,
        url,
        name=name,
        max_bytes=_most_bytes(attempt),
        reserve=reserve,
        tenant=attempt.job.tenant,
    )
    await reservation.hold(before + len(content))
    if reservation.held > attempt.dependencies.settings.max_held_bytes:
        message = "the pictures of this job by address are too many bytes together; upload them"
        raise TooLarge(message, image=name)
    sha256 = await off_loop(len(content), partial(sha256_of, content))
    return JobPicture(name, content=content, sha256=sha256)


def _not_looked_at(attempt: Attempt) -> tuple[str, ...]:
    options = attempt.job.pictures
    insisted = [n for n in COMPUTED if options.policy(n) is Policy.REJECT]
    skipped = [f"not looked at for {', '.join(insisted)}"] if insisted else []
    skipped += ["not cut into crops"] if options.crops else []
    return tuple(f"{one}: the provider fetches it" for one in skipped)


def _most_bytes(attempt: Attempt) -> int:
    limits = attempt.dependencies.limits
    return limits.max_original_bytes if attempt.job.pictures.shrink else limits.max_bytes


async def check(attempt: Attempt, picture: JobPicture) -> None:
    """Check a picture; keep it for `encode` unless the job holds too many bytes."""
    if picture.url is not None or attempt.is_suspect:
        return
    checked = await _inspected(attempt, picture)
    picture.source = PictureFacts(
        format=checked.format, width=checked.width, height=checked.height, bytes=checked.bytes
    )
    picture.warnings = checked.warnings
    kept = attempt.reservation.held <= _KEPT_BYTES
    picture.checked = checked if kept else None
    if not kept:
        await attempt.reservation.add(-checked.bytes)


async def _inspected(attempt: Attempt, picture: JobPicture) -> CheckedImage:
    """Return the checked picture; its bytes are counted in the job's share."""
    content = await _content(attempt, picture)
    work = partial(
        inspect,
        content,
        name=picture.name,
        limits=attempt.dependencies.limits,
        options=attempt.job.pictures,
    )
    return await off_loop(len(content), work, _FEW_HOSTILE_BYTES)


async def off_loop(size: int, work: Callable[[], T], few: int = FEW_BYTES) -> T:
    """Work on that many bytes, in a thread unless they are few."""
    return work() if size <= few else await asyncio.to_thread(work)


async def _content(attempt: Attempt, picture: JobPicture) -> bytes:
    """Hand over a picture's bytes, counted in the job's reservation."""
    content, picture.content = picture.content, None
    if content is None:
        before = attempt.reservation.held
        sha256 = picture.sha256 or ""
        if not attempt.reservation.adds_at_once(_most_bytes(attempt)):
            # So much need not come free while others download slowly; what it is may well be.
            size = await attempt.dependencies.blobs.size(sha256)
            await attempt.reservation.add(size, waiting=attempt.progress)
        content = await attempt.dependencies.blobs.get(sha256)
        await attempt.reservation.hold(before + len(content))
    return content


async def encode(attempt: Attempt, picture: JobPicture) -> list[str | bytes]:
    """Return the picture or its crops as data URLs, or as its address."""
    dependencies, detail, model = attempt.dependencies, attempt.job.detail, attempt.model
    if picture.url is not None:
        picture.forecast_tokens = most_image_tokens(dependencies.rules, model, detail)
        return [picture.url]
    attempt.progress()
    prepare = _encoded_isolated if attempt.is_suspect else _encoded
    parts = await prepare(attempt, picture)
    attempt.progress()
    facts = tuple(
        PictureFacts(format=one.format, width=one.width, height=one.height, bytes=len(one.data))
        for one in parts
    )
    picture.sent, picture.crops = (facts[0], ()) if len(facts) == 1 else (None, facts)
    picture.forecast_tokens = sum(
        image_tokens(dependencies.rules, model, detail, one.width, one.height) for one in facts
    )
    came = picture.source.bytes if picture.source else 0
    size = sum(one.bytes for one in facts)
    await attempt.reservation.add(int(_BASE64 * size) - came, waiting=attempt.progress)
    return await off_loop(size, lambda: [_data_url(one) for one in parts])


def _data_url(image: EncodedImage) -> bytes:
    return b"data:%b;base64,%b" % (image.mime_type.encode(), base64.b64encode(image.data))


async def _encoded(attempt: Attempt, picture: JobPicture) -> tuple[EncodedImage, ...]:
    dependencies, options = attempt.dependencies, attempt.job.pictures
    checked, picture.checked = picture.checked or await _inspected(attempt, picture), None
    pixels = checked.width * checked.height

    def work() -> tuple[tuple[EncodedImage, ...], tuple[str, ...]]:
        parts = encode_as_seen(
            checked,
            rules=dependencies.rules,
            model=attempt.model,
            detail=attempt.job.detail,
            name=picture.name,
            limits=dependencies.limits,
            options=options,
            hashes=attempt.looks_for_near,
        )
        data = [one.data for one in parts]
        return parts, judge(data, options, dependencies.detectors, name=picture.name)

    async with dependencies.decode_slots.held(attempt.job.tenant, pixels):
        attempt.progress()  # waiting for others is not hanging
        is_tiny = pixels <= _FEW_PIXELS and checked.bytes <= _FEW_HOSTILE_BYTES
        is_quick = is_tiny and not dependencies.detectors
        parts, found = work() if is_quick else await dependencies.decode_slots.run(work)
    picture.warnings += (*(warning for one in parts for warning in one.warnings), *found)
    picture.perceptual_hash = parts[0].perceptual_hash
    return parts


async def _encoded_isolated(attempt: Attempt, picture: JobPicture) -> tuple[EncodedImage, ...]:
    """Encode in an isolated process; this one never reads the picture."""
    dependencies, job = attempt.dependencies, attempt.job
    content = await _content(attempt, picture)
    task = PictureTask(
        content,
        picture.name,
        dependencies.limits,
        job.pictures,
        dependencies.rules,
        attempt.model,
        job.detail,
    )
    async with dependencies.decode_slots.held(job.tenant):
        attempt.progress()
        try:
            prepared = await asyncio.to_thread(dependencies.isolated_decoder.prepare, task)
        except Quarantined as error:
            raise _quarantined(attempt, picture, error) from error
    picture.source, picture.warnings = prepared.source, prepared.warnings
    return prepared.sent


def _quarantined(attempt: Attempt, picture: JobPicture, error: Quarantined) -> Quarantined:
    place = attempt.pictures.index(picture) + 1
    return Quarantined(
        f"{attempt.claim.lapses} workers died with this job, and then, the picture alone:"
        f" {error.message}. To look at it: visionq jobs picture {attempt.claim.id} {place}",
        image=picture.name,
    )


def asked_of_model(attempt: Attempt) -> tuple[str, ...]:
    """Return the requirements that the model is asked about.

    Those that a local detector has judged are left out, unless the provider fetches a picture.
    """
    unseen = any(picture.url is not None for picture in attempt.pictures)
    local = (
        set() if unseen else {detector.requirement for detector in attempt.dependencies.detectors}
    )
    return tuple(name for name in attempt.job.pictures.asked_of_model if name not in local)


def take_findings(attempt: Attempt, answer: ProviderAnswer, asked: tuple[str, ...]) -> None:
    """Record the model's findings in each picture.

    Raises:
        PictureRejected: a picture breaks a requirement that the job insists on; paid.
    """
    findings = iter(answer.findings or ())
    for picture in attempt.pictures if asked else ():
        if answer.findings is None:
            picture.warnings += (f"not looked at for {', '.join(asked)}: the model did not report",)
            continue
        seen = frozenset[str]().union(*islice(findings, picture.parts))
        for requirement in asked:
            if requirement not in seen:
                continue
            found = f"the model sees {requirement}"
            if attempt.job.pictures.policy(requirement) is Policy.REJECT:
                raise PictureRejected(
                    f"{found} (--reject {requirement}, or pictures.{requirement})",
                    image=picture.name,
                    usage=answer.usage,
                    request_id=answer.request_id,
                    text=answer.text,
                )
            picture.warnings += (found,)
