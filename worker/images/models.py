"""What is known of a picture, and what is allowed."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from visionq.pricing.vision import RequestLimits
    from worker.images.layout import Layout

#: Orientations that lie on their side: width and height change places.
_SIDEWAYS: Final = frozenset({5, 6, 7, 8})


@dataclass(frozen=True)
class ImageLimits:
    """What is taken at most."""

    #: Bytes of a file as it comes, and as it is sent (before base64).
    max_bytes: int = 20_000_000
    #: Pixels of a picture, known from its header before any is decoded.
    max_pixels: int = 100_000_000
    #: Bytes of what is sent, in base64; None: no limit but `max_bytes`.
    max_base64_bytes: int | None = None
    #: Bytes of an original that is to be shrunk first.
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
        """Return the same, with what is sent within the limits of a model."""
        as_base64 = [each for each in (self.max_base64_bytes, request.max_base64_bytes) if each]
        return replace(
            self,
            max_bytes=min(self.max_bytes, request.max_image_bytes),
            max_base64_bytes=min(as_base64, default=None),
        )

    @property
    def max_sent_bytes(self) -> int:
        """Bytes of what is sent, before base64, that keep within both figures."""
        if self.max_base64_bytes is None:
            return self.max_bytes
        return min(self.max_bytes, self.max_base64_bytes // 4 * 3)


@dataclass(frozen=True)
class CheckedImage:
    """A file that is what it says: one still picture of a format that is taken."""

    #: `jpeg`, `png`, `webp`, `gif`, or the format that is to be converted: `bmp`, `tiff`, `avif`,
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
