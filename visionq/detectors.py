"""Local judges of pictures: found by entry point, used where the operator names them.

A distribution offers one under the group `visionq.detectors`; the entry point is a function
without arguments that returns a `Detector`, or raises `ConfigurationError` where it can't work.
"""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Final, Protocol

from visionq.contract.pictures import ASKED_OF_MODEL
from visionq.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable

GROUP: Final = "visionq.detectors"


class Detector(Protocol):
    """Judges one requirement of `PictureOptions`; used by several threads, one at a time."""

    #: `text`, `logo`, `watermark` or `nsfw`.
    requirement: str

    def find(self, picture: bytes) -> str | None:
        """Return the finding, readable by people, or None.

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
