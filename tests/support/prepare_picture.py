"""One picture checked and encoded at once, as the pipeline does in two steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from worker.images import encode, inspect
from worker.images.check import DEFAULTS

if TYPE_CHECKING:
    from visionq.contract import PictureOptions
    from worker.images.encode import EncodedImage, Fit
    from worker.images.layout import CheckedImage, ImageLimits


@dataclass(frozen=True)
class PreparedImage:
    """A picture as it came and as it is sent."""

    source: CheckedImage
    sent: EncodedImage

    @property
    def warnings(self) -> tuple[str, ...]:
        """Everything worth telling about it."""
        return self.source.warnings + self.sent.warnings


def prepare(
    data: bytes,
    *,
    name: str,
    limits: ImageLimits,
    fit: Fit,
    options: PictureOptions = DEFAULTS,
) -> PreparedImage:
    """Check and encode one picture with a single decode.

    Raises:
        ImageError: what is wrong with the picture, with `image=name`.
    """
    checked = inspect(data, name=name, limits=limits, options=options)
    sent = encode(checked, fit=fit, name=name, limits=limits, options=options)
    return PreparedImage(checked, sent)
