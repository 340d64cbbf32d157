"""Files that lack their end marker and nothing else: cut short by a byte or two, or zero-padded."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Final

from PIL import Image

from worker.images.layout import MalformedError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from worker.images.kinds import Kind

NOTE: Final = "the file lacks its end marker; its picture decodes wholly"
_END_OF_IMAGE: Final = b"\xff\xd9"
_TRAILER: Final = b"\x3b"
_OWN_ZEROS: Final = 2
#: Decoded where data is missing, ignored where none is; without a marker.
_FILLER: Final = bytes(range(1, 255)) * 32


def terminated(data: bytes, kind: Kind) -> Iterator[bytes]:
    """Give the file with its end marker where that may have been, for the kinds that have one."""
    unpadded = data.rstrip(b"\0")
    if kind == "jpeg":
        half_a_marker = unpadded.endswith(b"\xff") and len(unpadded) == len(data)
        # A scan may end in zeros of its own; where it does not, they are passed over.
        body = unpadded[:-1] if half_a_marker else data[: len(unpadded) + _OWN_ZEROS]
        yield body + _END_OF_IMAGE
    elif kind == "gif":
        yield data + _TRAILER
        yield unpadded + b"\0" + _TRAILER  # the zero ends the last block


def check_end(jpeg: bytes) -> None:
    """See that the last scan of a JPEG with a new end marker is whole.

    A decoder fills what is missing, and does not say so. So something else is given to it to decode
    there: where this changes the picture, data is missing. An eighth of the size tells.

    Raises:
        MalformedError: the scan is cut off, or progressive, of which an eighth tells nothing.
    """
    body = jpeg[: -len(_END_OF_IMAGE)]
    first, second = (_small(body + filler + _END_OF_IMAGE) for filler in (b"", _FILLER))
    if first != second:
        raise MalformedError("the file is cut off inside its picture")


def _small(jpeg: bytes) -> bytes:
    picture = Image.open(io.BytesIO(jpeg), formats=("JPEG",))
    if "progressive" in picture.info:
        raise MalformedError("a progressive file has no end marker")
    picture.draft(None, (1, 1))
    return picture.tobytes()
