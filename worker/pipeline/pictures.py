"""What the steps do with one picture: get it, look into it, bring it to what is sent."""

from __future__ import annotations

import base64
from functools import partial
from typing import TYPE_CHECKING, Final

from visionq.blobs import sha256_of
from visionq.contract import Picture as PictureFacts
from visionq.contract import Policy, UrlMode
from visionq.contract.pictures import COMPUTED
from visionq.errors import InvalidJob, PictureRejected, Quarantined, TooLarge
from visionq.vision import image_tokens, most_image_tokens, seen_size
from worker.alone import Task
from worker.detectors import judge
from worker.images import encode as encode_image
from worker.images import inspect
from worker.pipeline.context import Picture

if TYPE_CHECKING:
    from visionq.contract import ImageReference
    from worker.images import CheckedImage, EncodedImage
    from worker.pipeline.context import Attempt
    from worker.provider.answer import Answer

#: Bytes of originals that one job keeps from check to encode; blobs beyond are read again.
_KEPT_BYTES: Final = 40_000_000
#: Base64 makes 4 bytes of 3.
_BASE64: Final = 4 / 3


def refuse_too_many(attempt: Attempt) -> None:
    """Raise `InvalidJob` where the provider takes fewer pictures in one request."""
    most = attempt.tools.rules.request.max_images
    if len(attempt.job.images) > most:
        message = f"images: {len(attempt.job.images)} pictures, the provider takes {most} at a time"
        raise InvalidJob(message)


def load(attempt: Attempt, image: ImageReference, name: str) -> Picture:
    """Get the bytes of a picture by its address; those of a blob come when they are needed."""
    if image.blob is not None:
        return Picture(name, sha256=image.blob)
    url = image.url or ""
    if attempt.job.url_mode is UrlMode.PASS:
        return Picture(name, url=url, warnings=_not_looked_at(attempt))
    share, before = attempt.share, attempt.share.held
    content = attempt.tools.fetcher.fetch(
        url,
        name=name,
        max_bytes=_most_bytes(attempt),
        reserve=lambda size: share.hold(before + size, waiting=attempt.progress),
        tenant=attempt.job.tenant,
    )
    share.hold(before + len(content))
    if share.held > attempt.tools.settings.max_held_bytes:
        message = "the pictures of this job by address are too many bytes together; upload them"
        raise TooLarge(message, image=name)
    return Picture(name, content=content, sha256=sha256_of(content))


def _not_looked_at(attempt: Attempt) -> tuple[str, ...]:
    insisted = [n for n in COMPUTED if attempt.job.pictures.policy(n) is Policy.REJECT]
    told = f"not looked at for {', '.join(insisted)}: the provider fetches it"
    return (told,) if insisted else ()


def _most_bytes(attempt: Attempt) -> int:
    limits = attempt.tools.limits
    return limits.max_original_bytes if attempt.job.pictures.shrink else limits.max_bytes


def check(attempt: Attempt, picture: Picture) -> None:
    """Look into a picture, and keep it for `encode` unless the job has too many bytes."""
    if picture.url is not None or attempt.is_suspect:
        return
    checked = _inspected(attempt, picture)
    picture.source = PictureFacts(
        format=checked.format, width=checked.width, height=checked.height, bytes=checked.bytes
    )
    picture.warnings = checked.warnings
    kept = attempt.share.held <= _KEPT_BYTES
    picture.checked = checked if kept else None
    if not kept:
        attempt.share.add(-checked.bytes)


def _inspected(attempt: Attempt, picture: Picture) -> CheckedImage:
    """Return the checked picture; its bytes are counted in the job's share."""
    content = _content(attempt, picture)
    return inspect(
        content, name=picture.name, limits=attempt.tools.limits, options=attempt.job.pictures
    )


def _content(attempt: Attempt, picture: Picture) -> bytes:
    """Return the bytes of a picture, which are counted in the job's share, and let go of them."""
    content, picture.content = picture.content, None
    if content is None:
        before = attempt.share.held
        sha256 = picture.sha256 or ""
        if not attempt.share.adds_at_once(_most_bytes(attempt)):
            # So much need not come free while others download slowly; what it is may well be.
            attempt.share.add(attempt.tools.blobs.size(sha256), waiting=attempt.progress)
        content = attempt.tools.blobs.get(sha256)
        attempt.share.hold(before + len(content))
    return content


def encode(attempt: Attempt, picture: Picture) -> str:
    """Return the picture as the call names it: a data URL, or its address."""
    tools, detail, model = attempt.tools, attempt.job.detail, attempt.model
    if picture.url is not None:
        picture.forecast_tokens = most_image_tokens(tools.rules, model, detail)
        return picture.url
    attempt.progress()
    encoded = _encoded_alone(attempt, picture) if attempt.is_suspect else _encoded(attempt, picture)
    attempt.progress()
    picture.sent = PictureFacts(
        format=encoded.format, width=encoded.width, height=encoded.height, bytes=len(encoded.data)
    )
    picture.forecast_tokens = image_tokens(
        tools.rules, model, detail, encoded.width, encoded.height
    )
    came = picture.source.bytes if picture.source else 0
    attempt.share.add(int(_BASE64 * len(encoded.data)) - came, waiting=attempt.progress)
    data = base64.b64encode(encoded.data).decode("ascii")
    return f"data:{encoded.mime_type};base64,{data}"


def _encoded(attempt: Attempt, picture: Picture) -> EncodedImage:
    tools, options = attempt.tools, attempt.job.pictures
    checked, picture.checked = picture.checked or _inspected(attempt, picture), None
    fit = partial(seen_size, tools.rules, attempt.model, attempt.job.detail)
    with tools.decode_slots.held(attempt.job.tenant):
        attempt.progress()  # waiting for others is not hanging
        encoded = encode_image(
            checked, fit=fit, name=picture.name, limits=tools.limits, options=options
        )
        found = judge(encoded.data, options, tools.detectors, name=picture.name)
    picture.warnings += encoded.warnings + found
    return encoded


def _encoded_alone(attempt: Attempt, picture: Picture) -> EncodedImage:
    """Do the same in a process of its own; nothing looks into the picture here."""
    tools, job = attempt.tools, attempt.job
    content = _content(attempt, picture)
    task = Task(
        content, picture.name, tools.limits, job.pictures, tools.rules, attempt.model, job.detail
    )
    with tools.decode_slots.held(job.tenant):
        attempt.progress()
        try:
            prepared = tools.alone.prepare(task)
        except Quarantined as error:
            raise _quarantined(attempt, picture, error) from error
    picture.source, picture.warnings = prepared.source, prepared.warnings
    return prepared.sent


def _quarantined(attempt: Attempt, picture: Picture, error: Quarantined) -> Quarantined:
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
    local = set() if unseen else {detector.requirement for detector in attempt.tools.detectors}
    return tuple(name for name in attempt.job.pictures.asked_of_model if name not in local)


def take_findings(attempt: Attempt, answer: Answer, asked: tuple[str, ...]) -> None:
    """Note in each picture what the model found in it.

    Raises:
        PictureRejected: a picture breaks a requirement that the job insists on; paid.
    """
    for number, picture in enumerate(attempt.pictures if asked else ()):
        if answer.findings is None:
            picture.warnings += (f"not looked at for {', '.join(asked)}: the model did not report",)
            continue
        for requirement in asked:
            if requirement not in answer.findings[number]:
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
