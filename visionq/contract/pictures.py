"""Picture options of a job: allowed processing, and requirements."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from visionq.contract.base import Document


class Policy(StrEnum):
    """What happens to a picture that misses a requirement."""

    OFF = "off"
    """Not looked for."""
    WARN = "warn"
    """Listed in the warnings of the picture."""
    REJECT = "reject"
    """The job fails with `picture_rejected`."""


class Animated(StrEnum):
    """What happens to an animated picture."""

    REFUSE = "refuse"
    FIRST_FRAME = "first_frame"


class PictureOptions(Document):
    """Picture options; the defaults refuse what the provider would, free of charge."""

    animated: Animated = Animated.REFUSE
    #: Convert BMP, TIFF and AVIF, and HEIC where workers have the extra, instead of refusing them.
    convert: bool = False
    #: Take originals above the provider's limit on bytes, and shrink them first.
    shrink: bool = False
    #: Put transparent pictures on white.
    flatten: bool = False
    #: Take JPEG and GIF that lack nothing but their end marker.
    unterminated: bool = False
    #: Cut long pictures into overlapping crops that the model can read (`visionq.crops`).
    crops: bool = False

    #: Asked of the model, in the call that is paid for anyway.
    text: Policy = Policy.OFF
    logo: Policy = Policy.OFF
    watermark: Policy = Policy.OFF
    nsfw: Policy = Policy.OFF

    #: Computed by the worker, free, before anything is paid.
    blur: Policy = Policy.WARN
    blank: Policy = Policy.WARN
    dark: Policy = Policy.WARN
    tiny: Policy = Policy.WARN

    @property
    def asked_of_model(self) -> tuple[str, ...]:
        """The requirements checked by the model, in a fixed order."""
        return tuple(name for name in ASKED_OF_MODEL if self.policy(name) is not Policy.OFF)

    def policy(self, requirement: str) -> Policy:
        """Return the policy of a requirement, by the name of its field."""
        return Policy(getattr(self, requirement))


#: Requirements that nothing on this machine can judge by itself.
ASKED_OF_MODEL: Final = ("text", "logo", "watermark", "nsfw")
#: Requirements that are computed from the pixels.
COMPUTED: Final = ("blur", "blank", "dark", "tiny")
