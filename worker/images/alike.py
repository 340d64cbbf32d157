"""The perceptual hash of a decoded picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PIL import Image

from visionq.images.perceptual_hash import COLOURS, GREYS, perceptual_hash
from worker.images.advice import glance
from worker.images.colour import on_white

if TYPE_CHECKING:
    from visionq.images.perceptual_hash import PerceptualHash

#: Of both sizes a multiple.
_MEANS = (GREYS[0] * COLOURS[0], GREYS[1] * COLOURS[1])


def hash_of(picture: Image.Image) -> PerceptualHash | None:
    """Return the hash of a picture; None: it is too plain."""
    means = on_white(glance(picture)).convert("RGB").resize(_MEANS, Image.Resampling.BOX)
    greys = means.convert("L").resize(GREYS, Image.Resampling.BOX)
    return perceptual_hash(greys.tobytes(), means.resize(COLOURS, Image.Resampling.BOX).tobytes())
