"""What local judges of pictures say of one (`visionq.detectors`), and those that come along."""

from __future__ import annotations

from typing import TYPE_CHECKING

from visionq.contract import Policy
from visionq.errors import PictureRejected

if TYPE_CHECKING:
    from collections.abc import Sequence

    from visionq.contract import PictureOptions
    from visionq.detectors import Detector


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
