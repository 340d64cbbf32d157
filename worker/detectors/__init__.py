"""Local judges of pictures: found by entry point, used where the operator names them.

A distribution offers one under the group `visionq.detectors`; the entry point is a function
without arguments that returns a `Detector`, or raises `ConfigurationError` where it can't work.
"""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Final, Protocol

from visionq.contract import Policy
from visionq.contract.pictures import ASKED_OF_MODEL
from visionq.errors import PictureRejected
from visionq.settings import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from visionq.contract import PictureOptions

GROUP: Final = "visionq.detectors"


class Detector(Protocol):
    """Judges one requirement of `PictureOptions`; used by several threads, one at a time."""

    #: `text`, `logo`, `watermark` or `nsfw`.
    requirement: str

    def find(self, picture: bytes) -> str | None:
        """Return what was found, in words for people, or None.

        `picture` is a whole file in JPEG, PNG, WEBP or GIF, as it is sent. May raise anything:
        the picture then counts as not looked at.
        """
        ...


def load_detectors(names: Iterable[str]) -> tuple[Detector, ...]:
    """Return the detectors of these names.

    Raises:
        ConfigurationError: there is none of the name, or it can't work here.
    """
    offered = {point.name: point for point in entry_points(group=GROUP)}
    found = []
    for name in names:
        if name not in offered:
            known = ", ".join(sorted(offered)) or "none"
            raise ConfigurationError(f"VISIONQ_DETECTORS: no detector {name}; there is: {known}")
        try:
            detector: Detector = offered[name].load()()
        except ImportError as error:
            raise ConfigurationError(
                f"VISIONQ_DETECTORS: {name} can't be loaded: {error}"
            ) from None
        if detector.requirement not in ASKED_OF_MODEL:
            raise ConfigurationError(f"VISIONQ_DETECTORS: {name} judges {detector.requirement}")
        found.append(detector)
    return tuple(found)


def judge(
    parts: Sequence[bytes], options: PictureOptions, detectors: Sequence[Detector], *, name: str
) -> tuple[str, ...]:
    """Return the warnings that the detectors give about a picture, whole or in crops.

    Raises:
        PictureRejected: it breaks a requirement that the job insists on.
    """
    warnings = []
    for detector in detectors:
        policy = options.policy(detector.requirement)
        if policy is Policy.OFF:
            continue
        try:
            answers = map(detector.find, parts)
            found = next((answer for answer in answers if answer is not None), None)
        except Exception as error:  # noqa: BLE001  # foreign code; the job goes on, and is told so
            warnings.append(f"not looked at for {detector.requirement}: {type(error).__name__}")
            continue
        if found is None:
            continue
        if policy is Policy.REJECT:
            asked = f"--reject {detector.requirement}, or pictures.{detector.requirement}"
            raise PictureRejected(f"{found} ({asked})", image=name)
        warnings.append(found)
    return tuple(warnings)
