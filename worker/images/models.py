"""What is known of a picture, and what is allowed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from worker.images.kinds import Kind
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


@dataclass(frozen=True)
class CheckedImage:
    """A file that is what it says: one still picture of a supported format."""

    format: Kind
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
        """Frames of an animation; a checked picture has one."""
        return self.layout.frames
