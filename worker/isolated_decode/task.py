"""What is done in the process of its own, and what comes back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from visionq.contract import InvalidAnswer, JobDocument
from visionq.contract import Picture as PictureFacts
from visionq.pricing.vision import forecast_texts
from worker.detectors import judge
from worker.images import EncodedImage, encode_as_seen, inspect
from worker.provider.request import build_repair, build_request

if TYPE_CHECKING:
    from collections.abc import Sequence

    from visionq.contract import Detail, PictureOptions
    from visionq.detectors import Detector
    from visionq.pricing.vision import VisionRules
    from worker.images import ImageLimits


@dataclass(frozen=True)
class Task:
    """One picture, and what is to be known to prepare it."""

    content: bytes = field(repr=False)
    name: str
    limits: ImageLimits
    options: PictureOptions
    rules: VisionRules
    model: str
    detail: Detail

    @property
    def pixel_bytes(self) -> int:
        """Bytes that a picture may take once decoded."""
        return self.limits.max_decode_bytes


@dataclass(frozen=True)
class DryRun:
    """A job whose texts and schema are made into a call, which is not sent."""

    document: str = field(repr=False)
    #: Likewise, where an answer is to be mended.
    faulty: str | None = field(default=None, repr=False)

    @property
    def pixel_bytes(self) -> int:
        """No picture is decoded."""
        return 0


@dataclass(frozen=True)
class Prepared:
    """The picture as it came and as it is sent."""

    source: PictureFacts
    #: One, or its crops in order.
    sent: tuple[EncodedImage, ...]
    warnings: tuple[str, ...]


def prepare(task: Task, detectors: Sequence[Detector]) -> Prepared:
    """Do with a picture all that its job's steps would do in the worker.

    Raises:
        ImageError: what is wrong with it.
    """
    name, limits, options = task.name, task.limits, task.options
    checked = inspect(task.content, name=name, limits=limits, options=options)
    sent = encode_as_seen(
        checked,
        rules=task.rules,
        model=task.model,
        detail=task.detail,
        name=name,
        limits=limits,
        options=options,
    )
    found = judge([part.data for part in sent], options, detectors, name=name)
    told = [warning for part in sent for warning in part.warnings]
    return Prepared(
        PictureFacts(
            format=checked.format, width=checked.width, height=checked.height, bytes=checked.bytes
        ),
        sent,
        (*checked.warnings, *told, *found),
    )


def dry_run(task: DryRun) -> None:
    """Do with a job, its pictures aside, all that the worker would do before its call.

    Raises:
        InvalidJob: what is wrong with it.
    """
    job = JobDocument.model_validate_json(task.document)
    forecast_texts(job.prompt, job.instructions, job.answer_schema)
    if task.faulty is None:
        build_request(job, [""] * len(job.images), job.pictures.asked_of_model)
    else:
        build_repair(job, InvalidAnswer.model_validate_json(task.faulty))
