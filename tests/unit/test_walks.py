"""However a hostile file is laid out, walking it takes time in proportion to its length."""

from __future__ import annotations

import struct
from contextlib import suppress
from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from tests.support.growth import growth
from tests.support.hostile_pictures import chunk
from tests.support.pictures import encoded
from visionq.errors import CorruptImage, ImageError
from visionq.images.containers import MalformedError
from visionq.images.headers import HEAD_BYTES, Header, read_header
from visionq.images.kinds import recognise
from worker.images.gif import read_gif
from worker.images.jpeg import read_jpeg
from worker.images.png import read_png
from worker.images.webp import read_webp

if TYPE_CHECKING:
    from collections.abc import Callable

JPEG = b"\xff\xd8\xff\xe0\0\4ab"
GIF = b"GIF89a\1\0\1\0\0\0\0"
PNG = b"\x89PNG\r\n\x1a\n"
FRAME = b"\xff\xc0\0\x11\x08\0\2\0\3\3" + bytes(9)


HEADER = chunk(b"IHDR", struct.pack(">IIBBBBB", 3, 2, 8, 2, 0, 0, 0))
#: Start, what is repeated, and end.
LAYOUTS = {
    "fill bytes": (JPEG, b"\xff", FRAME),
    "fill bytes to no marker": (JPEG, b"\xff", b"\0"),
    "runs of fill bytes to no marker": (JPEG, b"\xff" * 999 + b"\0", b""),
    "short runs of fill bytes": (JPEG, b"\xff\xff\xff\1", FRAME),
    "empty segments": (JPEG, b"\xff\xe1\0\2", FRAME),
    "standalone markers": (JPEG, b"\xff\1", FRAME),
    "stray bytes in scans": (JPEG + FRAME, b"\xff\xda\0\2\0\0", b"\xff\xd9"),
    "empty chunks": (PNG + HEADER, chunk(b"teXt", b""), chunk(b"IEND", b"")),
    "short blocks": (GIF + b"!\xfe", b"\1a", b"\0;"),
    "empty extensions": (GIF, b"!\xfe\0", b";"),
    "empty RIFF chunks": (b"RIFF\xff\xff\xff\0WEBP", b"EXIF\0\0\0\0", b""),
    "comments": (b"", b"<!---->", b""),
    "comments that do not end": (b"", b"<!--", b""),
    "blank lines": (b"P6", b"\n", b"#"),
    "PNM comments": (b"P6 ", b"# \n", b""),
}
READERS = {JPEG[:2]: read_jpeg, PNG[:2]: read_png, GIF[:2]: read_gif, b"RI": read_webp}
SIZES = (1_000, 4_000, 16_000, 64_000, 256_000, 1_000_000)


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("read", ["worker", "quote"])
def test_time_grows_with_the_file_alone(layout: tuple[bytes, bytes, bytes], read: str) -> None:
    """A megabyte of each part that a format may repeat is walked in milliseconds."""
    start, part, end = layout
    files = [start + part * (size // len(part)) + end for size in SIZES]
    walk = walked if read == "worker" else quoted
    assert growth((len(file), partial(walk, file)) for file in files) is None


def walked(file: bytes) -> None:
    with suppress(ImageError):
        recognise(file, name="a")
    reader: Callable[[bytes], Any] | None = READERS.get(file[:2])
    if reader is not None:
        with suppress(MalformedError):
            reader(file)


def quoted(file: bytes) -> None:
    with suppress(ImageError):
        header_of(BytesIO(file))


def header_of(file: BytesIO) -> Header:
    head = file.read(HEAD_BYTES)
    return read_header(recognise(head), file, len(file.getbuffer()), head)


class Counting(BytesIO):
    """A file that counts how often it is read."""

    reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self.reads += 1
        return super().read(size)


def test_a_quote_reads_large_pieces() -> None:
    """Four megabytes of fill bytes before the size cost hundreds of reads, not millions."""
    file = Counting(JPEG + b"\xff" * 4_000_000 + FRAME)
    header = header_of(file)
    assert (header.kind, header.width, header.height) == ("jpeg", 3, 2)
    assert file.reads < 500


def test_a_quote_ends_in_a_file_of_too_many_parts() -> None:
    """Parts beyond what any real file has make it a broken one."""
    with pytest.raises(CorruptImage, match="implausible"):
        header_of(BytesIO(GIF + b"!\xfe" + b"\1a" * 600_000 + b"\0;"))


def test_fill_bytes_belong_to_their_marker() -> None:
    """Fill bytes before a marker are no stray bytes; they go where their segment goes."""
    plain = encoded(Image.new("RGB", (8, 8)), "JPEG", comment=b"a")
    filled = plain.replace(b"\xff\xfe", b"\xff\xff\xff\xfe").replace(b"\xff\xc0", b"\xff\xff\xc0")
    layout = read_jpeg(filled)
    assert layout.stripped == ("comment",)
    assert layout.content == read_jpeg(plain).content.replace(b"\xff\xc0", b"\xff\xff\xc0")
