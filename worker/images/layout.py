"""The layout of a picture as its container describes it, and its limits.

A container is walked before any decoder sees it: this yields the size in pixels, the number of
frames and the byte ranges that are no picture (metadata, comments, appended data). Without those
ranges the file is the same picture to the last bit.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from worker.images.scale import in_eighths

if TYPE_CHECKING:
    from visionq.pricing.vision import RequestLimits

#: Largest colour profile used, in bytes; those of cameras and printers stay below.
MAX_PROFILE_BYTES: Final = 4_000_000

_UPRIGHT: Final = 1


@dataclass(frozen=True)
class Layout:
    """A container as it was found."""

    #: Pixels as stored, before the orientation is applied.
    width: int
    height: int
    frames: int
    #: Whether a model takes the pixels as they are stored: 8 bits, colour or grey.
    plain: bool
    #: Whether the format, as used here, keeps every pixel exact.
    lossless: bool
    #: The file without what is no picture; the very same object when there is nothing to strip.
    content: bytes
    #: What was stripped, by name: `EXIF`, `comment`, `appended data` …
    stripped: tuple[str, ...] = ()
    #: EXIF orientation, 1 to 8; 1 is upright.
    orientation: int = _UPRIGHT
    #: ICC profile of the pixels.
    profile: bytes | None = None
    #: Whether the content itself still tells of that profile.
    tells_profile: bool = False
    #: Whether a pixel may be transparent, as far as the container tells.
    alpha: bool = False
    #: Left, top, right and bottom of the first frame where it leaves some of the canvas clear.
    frame: tuple[int, int, int, int] | None = None
    #: Values of black and white where samples are not 8 bits.
    values: tuple[float, float] | None = None
    #: Whether the content was given the end marker that its file lacks.
    unterminated: bool = False
    #: What is worth telling about it.
    notes: tuple[str, ...] = ()
    #: Bytes of memory for a pixel once decoded; more for one while it is brought into a usable
    #: form; and bytes that the decoder holds beside them, regardless of the size it decodes to.
    pixel_bytes: int = 4
    convert_bytes: int = 0
    held_bytes: int = 0

    def memory(self, *, eighths: int = 8, sent_pixels: int = 0) -> int:
        """Return the bytes of memory that decoding and scaling take, as measured with Pillow 13.

        `eighths` are those of a reduced decode, `sent_pixels` the size of what is made; 0 for a
        picture that is only decoded.
        """
        pixels = in_eighths(self.width, eighths) * in_eighths(self.height, eighths)
        decoding = self.held_bytes + self.pixel_bytes * pixels
        if not sent_pixels:
            return decoding
        # One byte for the coarse first step of scaling, two pictures of the final size. That is no
        # less than a step across and the final picture take: 4r + 4r² ≤ 1 + 8r², r times as wide.
        working = (min(self.pixel_bytes, 4) + self.convert_bytes + 1) * pixels
        working += 2 * min(self.pixel_bytes + self.convert_bytes, 4) * sent_pixels
        return max(decoding, working)


class Cuts:
    """Collects the ranges to leave out, in order."""

    def __init__(self) -> None:
        self._ranges: list[tuple[int, int]] = []
        self._names: dict[str, None] = {}

    def cut(self, start: int, end: int, name: str) -> None:
        """Leave out the bytes from `start` to before `end`, known to people as `name`."""
        if start < end:
            self._ranges.append((start, end))
            self._names[name] = None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the removed parts, each once."""
        return tuple(self._names)

    def apply(self, data: bytes) -> bytes:
        """Return the remaining bytes; `data` itself if nothing is removed."""
        if not self._ranges:
            return data
        view = memoryview(data)  # whose slices are no copies
        kept: list[memoryview] = []
        position = 0
        for start, end in self._ranges:
            kept.append(view[position:start])
            position = end
        kept.append(view[position:])
        return b"".join(kept)


#: Orientations that lie on their side: width and height change places.
_SIDEWAYS: Final = frozenset({5, 6, 7, 8})


@dataclass(frozen=True)
class ImageLimits:
    """The limits of accepted pictures."""

    #: Bytes of a file as it comes, and as it is sent (before base64).
    max_bytes: int = 20_000_000
    #: Pixels of a picture, known from its header before any is decoded.
    max_pixels: int = 100_000_000
    #: Bytes of what is sent, in base64; None: no limit but `max_bytes`.
    max_base64_bytes: int | None = None
    #: Bytes of an original that the worker shrinks first.
    max_original_bytes: int = 64_000_000
    #: Bytes of memory for the pixels of one picture, by the estimate of its container.
    max_decode_bytes: int = 256_000_000
    #: Pixels of all frames of an animation of which the first frame is taken.
    max_frame_pixels: int = 1_000_000_000
    #: Bytes of all pictures of a request together, in base64.
    max_request_bytes: int = 48_000_000
    #: Seconds of the processor for one decode.
    max_seconds: float = 3.0

    def within(self, request: RequestLimits) -> ImageLimits:
        """Return these limits, with sent pictures within those of a model."""
        as_base64 = [each for each in (self.max_base64_bytes, request.max_base64_bytes) if each]
        return replace(
            self,
            max_bytes=min(self.max_bytes, request.max_image_bytes),
            max_base64_bytes=min(as_base64, default=None),
        )

    @property
    def max_sent_bytes(self) -> int:
        """Most bytes to send, before base64, within both limits."""
        if self.max_base64_bytes is None:
            return self.max_bytes
        return min(self.max_bytes, self.max_base64_bytes // 4 * 3)


@dataclass(frozen=True)
class CheckedImage:
    """A checked file: one still picture of an accepted format."""

    #: `jpeg`, `png`, `webp`, `gif`, or a format that the worker converts: `bmp`, `tiff`, `avif`,
    #: `heic`.
    format: str
    #: Bytes of the file as it came.
    bytes: int
    #: How the pixels are stored, and the content without what is no picture.
    layout: Layout = field(repr=False)
    warnings: tuple[str, ...] = ()

    @property
    def sideways(self) -> bool:
        """Whether the stored pixels lie on their side."""
        return self.layout.orientation in _SIDEWAYS

    @property
    def width(self) -> int:
        """Pixels across, as people see the picture."""
        return self.layout.height if self.sideways else self.layout.width

    @property
    def height(self) -> int:
        """Pixels down, as people see the picture."""
        return self.layout.width if self.sideways else self.layout.height

    @property
    def frames(self) -> int:
        """Frames of the file, of which the first is taken."""
        return self.layout.frames
