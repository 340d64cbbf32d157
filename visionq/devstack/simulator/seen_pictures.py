"""Facts of a picture: its size as sent and its dominant colour, from its pixels."""

from __future__ import annotations

import base64
import binascii
import io
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from PIL import Image, UnidentifiedImageError

from visionq.devstack.simulator.refusals import by_openai

if TYPE_CHECKING:
    from visionq.devstack.simulator.refusals import SimulatedRefusal

#: Types that the provider takes, by Pillow's name of the format.
FORMATS: Final = ("PNG", "JPEG", "WEBP", "GIF")
MEDIA_TYPES: Final = ("image/jpeg", "image/jpg", "image/png", "image/gif", "image/webp")
#: Pixels that are decoded at most.
MAX_PIXELS: Final = 100_000_000
#: Side of the square that a picture is averaged into before its colours are counted.
SAMPLES: Final = 16
#: Bits of a channel that tell one colour from another.
COLOUR_BITS: Final = 4


@dataclass(frozen=True)
class SeenPicture:
    """Facts of a picture for the answer."""

    width: int
    height: int
    colour: str

    @property
    def size(self) -> str:
        """`WIDTHxHEIGHT`, as sent: orientation in the metadata is not looked at."""
        return f"{self.width}x{self.height}"


def bytes_of(url: str, param: str, limit: int) -> bytes:
    """Return the bytes in a data URL, or raise the provider's refusal."""
    head, comma, payload = url.partition(",")
    media_type, _, encoding = head.removeprefix("data:").partition(";")
    if not comma or encoding.rpartition(";")[2] != "base64":
        raise _refused("Expected a base64-encoded data URL.", param, "invalid_base64_image")
    if media_type.lower() not in MEDIA_TYPES:
        message = f"Unsupported MIME type '{media_type}'; expected one of {list(MEDIA_TYPES)}."
        raise _refused(message, param, "unsupported_image_media_type")
    if len(payload) * 3 // 4 > limit + 2:
        raise too_large(param, limit)
    try:
        content = base64.b64decode(payload, validate=True)
    except (binascii.Error, ValueError):
        raise _refused("The image is not valid base64.", param, "invalid_base64_image") from None
    if len(content) > limit:
        raise too_large(param, limit)
    return content


def too_large(param: str, limit: int) -> SimulatedRefusal:
    """Return the refusal of a picture with too many bytes."""
    message = f"The image is too large: it must be below {limit / 1_000_000:.0f} MB."
    return _refused(message, param, "image_file_too_large")


def look(content: bytes, param: str) -> SeenPicture:
    """Decode a picture and return its facts; raise the provider's refusal."""
    if not content:
        raise _refused("The image file is empty.", param, "empty_image_file")
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise _too_many_pixels(param)
            if image.format in {"GIF", "WEBP"} and getattr(image, "is_animated", False):
                raise _refused("Animated images are not supported.", param, "invalid_image_format")
            return SeenPicture(*image.size, _dominant_colour(image))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise _too_many_pixels(param) from None
    except UnidentifiedImageError:
        message = "You uploaded an unsupported image: it must be png, jpeg, gif or webp."
        raise _refused(message, param, "invalid_image_format") from None
    except (OSError, SyntaxError, ValueError, EOFError):
        # Pillow's decoders raise any of these on damaged content.
        message = "The image data does not represent a valid image."
        raise _refused(message, param, "image_parse_error") from None


def _too_many_pixels(param: str) -> SimulatedRefusal:
    return _refused("The image has too many pixels.", param, "image_too_large")


def _dominant_colour(image: Image.Image) -> str:
    """Return the hex of the mean colour of the fullest bucket of similar colours.

    A JPEG is decoded at an eighth of its size: every coefficient is still read, so damage shows.
    """
    image.draft("RGB", (SAMPLES, SAMPLES))
    if image.has_transparency_data:
        opaque = Image.new("RGBA", image.size, "white")
        opaque.alpha_composite(image.convert("RGBA"))
        flat = opaque.convert("RGB")
    else:
        flat = image.convert("RGB")
    small = flat.resize((SAMPLES, SAMPLES), Image.Resampling.BOX).tobytes()
    pixels = list(zip(small[0::3], small[1::3], small[2::3], strict=True))
    shift = 8 - COLOUR_BITS
    buckets = Counter((red >> shift, green >> shift, blue >> shift) for red, green, blue in pixels)
    fullest = buckets.most_common(1)[0][0]
    alike = [pixel for pixel in pixels if tuple(channel >> shift for channel in pixel) == fullest]
    mean = (round(sum(channel) / len(alike)) for channel in zip(*alike, strict=True))
    return "#" + "".join(f"{channel:02x}" for channel in mean)


def _refused(message: str, param: str, code: str) -> SimulatedRefusal:
    return by_openai(message, param=param, code=code)
