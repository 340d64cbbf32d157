"""Which files are pictures that may be sent."""

from __future__ import annotations

import io
import struct
import zlib

import pytest
from PIL import Image

from tests.support.pictures import encoded
from visionq.errors import (
    AnimatedImage,
    CorruptImage,
    EmptyFile,
    NotAnImage,
    TooLarge,
    TooManyPixels,
    UnsupportedFormat,
)
from worker.images import ImageLimits, check, identify, inspect

LIMITS = ImageLimits()
FORMATS = ("jpeg", "png", "webp", "gif")


def picture(width: int = 64, height: int = 48, mode: str = "RGB") -> Image.Image:
    gradient = Image.linear_gradient("L").resize((width, height))
    return Image.merge("RGB", (gradient, gradient.rotate(90), gradient.rotate(180))).convert(mode)


def animated(kind: str) -> bytes:
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "green", "blue")]
    return encoded(frames[0], kind, save_all=True, append_images=frames[1:], duration=100)


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


@pytest.mark.parametrize("kind", FORMATS)
def test_supported_formats_pass(kind: str) -> None:
    """Each format that the provider takes is recognised by its content and measured."""
    checked = check(encoded(picture(), kind), name="photo.txt", limits=LIMITS)
    assert (checked.format, checked.width, checked.height, checked.frames) == (kind, 64, 48, 1)
    assert checked.warnings == ()


def test_empty_file_is_named() -> None:
    """A file without bytes is an empty file, not a broken picture."""
    with pytest.raises(EmptyFile, match="no bytes") as caught:
        check(b"", name="a.jpg", limits=LIMITS)
    assert caught.value.image == "a.jpg"


@pytest.mark.parametrize(
    "data", [b"hello, I am a text named .jpg", b"<html></html>", b"PK\x03\x04rest", b"\0" * 64]
)
def test_other_content_is_no_image(data: bytes) -> None:
    """A file that is no picture is refused as such, under any name."""
    with pytest.raises(NotAnImage):
        check(data, name="a.jpg", limits=LIMITS)


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (encoded(picture(), "bmp"), "BMP"),
        (encoded(picture(), "tiff"), "TIFF"),
        (encoded(picture(), "ico"), "ICO"),
        (encoded(picture(), "pdf"), "PDF"),
        (encoded(picture(), "eps"), "PostScript"),
        (encoded(picture(), "ppm"), "PNM"),
        (encoded(picture(), "jpeg2000"), "JPEG 2000"),
        (encoded(picture(), "avif"), "AVIF"),
        (encoded(picture(), "dds"), "DDS"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1avif", "AVIF"),
        (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
        (b"\xef\xbb\xbf <!-- drawn by hand --> <svg/>", "SVG"),
        (b"8BPS\0\x01" + bytes(20), "Photoshop"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    ],
)
def test_other_picture_formats_are_named(data: bytes, named: str) -> None:
    """A picture of a format that is not taken is refused with the name of that format."""
    with pytest.raises(UnsupportedFormat, match=named):
        check(data, name="a.jpg", limits=LIMITS)


@pytest.mark.parametrize("kind", ["gif", "webp", "png"])
def test_animations_are_refused(kind: str) -> None:
    """More than one frame is an animation in every format that can hold one."""
    with pytest.raises(AnimatedImage, match="3 frames"):
        check(animated(kind), name="a", limits=LIMITS)


def test_too_many_bytes_are_refused() -> None:
    """The limit on bytes holds for the file as it comes, and itself is allowed."""
    data = encoded(picture(), "png")
    check(data, name="a", limits=ImageLimits(max_bytes=len(data)))
    with pytest.raises(TooLarge, match="the limit is"):
        check(data, name="a", limits=ImageLimits(max_bytes=len(data) - 1))


@pytest.mark.parametrize("kind", FORMATS)
def test_too_many_pixels_are_refused(kind: str) -> None:
    """The limit on pixels holds in every format, and itself is allowed."""
    data = encoded(picture(), kind)
    check(data, name="a", limits=ImageLimits(max_pixels=64 * 48))
    with pytest.raises(TooManyPixels, match="64x48"):
        check(data, name="a", limits=ImageLimits(max_pixels=64 * 48 - 1))


def test_a_bomb_is_refused_by_its_header() -> None:
    """A header that announces billions of pixels is refused with nothing decoded."""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 65_535, 65_535, 8, 2, 0, 0, 0))
    body = png_chunk(b"IDAT", zlib.compress(bytes(1000)))
    data = b"\x89PNG\r\n\x1a\n" + header + body + png_chunk(b"IEND", b"")
    with pytest.raises(TooManyPixels):
        inspect(data, name="a", limits=LIMITS)


def test_a_limit_above_pillows_own_is_honoured() -> None:
    """A picture between Pillow's warning and the operator's limit passes without a warning."""
    data = encoded(Image.new("1", (10_000, 9_500)), "png")
    assert check(data, name="a", limits=LIMITS).width == 10_000


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("progressive", [False, True])
def test_every_truncation_is_found_out(kind: str, progressive: bool) -> None:
    """A file that ends early anywhere behind its header is corrupt, in a reduced decode too."""
    options = {"progressive": progressive} if kind == "jpeg" else {}
    data = encoded(picture(200, 150), kind, **options)
    for cut in [*range(40, len(data), 37), len(data) - 2, len(data) - 1]:
        with pytest.raises(CorruptImage):
            check(data[:cut], name="a", limits=LIMITS)


@pytest.mark.parametrize("progressive", [False, True])
def test_the_decoder_notices_a_scan_that_stops_early(
    progressive: bool,
) -> None:
    """A decode at an eighth of the size still reads the whole scan, and fails where it ends."""
    data = encoded(picture(320, 240), "jpeg", quality=95, progressive=progressive)
    whole = check(data, name="a", limits=LIMITS)
    cut = whole.layout.content[: len(data) * 2 // 3]
    with pytest.raises(OSError, match="truncated"):
        _load_at_an_eighth(cut)


def _load_at_an_eighth(data: bytes) -> None:
    opened = Image.open(io.BytesIO(data), formats=("JPEG",))
    opened.draft(None, (1, 1))
    opened.load()


@pytest.mark.parametrize("offset", [20, 45, -20])
def test_a_wrong_checksum_is_corrupt(offset: int) -> None:
    """One changed bit in a PNG is found by its checksum, wherever it is."""
    data = bytearray(encoded(picture(), "png"))
    data[offset] ^= 1
    with pytest.raises(CorruptImage):
        check(bytes(data), name="a", limits=LIMITS)


def test_a_zero_size_is_corrupt() -> None:
    """A picture without width is refused before anything divides by it."""
    data = bytearray(encoded(picture(), "jpeg"))
    where = data.index(struct.pack(">H", 64))
    data[where : where + 2] = b"\0\0"
    with pytest.raises(CorruptImage, match="0x48"):
        check(bytes(data), name="a", limits=LIMITS)


def test_a_frame_larger_than_its_screen_is_encoded_anew() -> None:
    """A GIF that decoders would size differently is measured by its frame and never passes."""
    data = bytearray(encoded(picture(), "gif"))
    data[6:10] = bytes(4)
    checked = check(bytes(data), name="a", limits=LIMITS)
    assert (checked.width, checked.height, checked.layout.plain) == (64, 48, False)


def test_twelve_bit_jpeg_is_unsupported() -> None:
    """A JPEG of more than 8 bits a sample is named as what it is."""
    data = bytearray(encoded(picture(), "jpeg"))
    data[data.index(b"\xff\xc0") + 4] = 12
    with pytest.raises(UnsupportedFormat, match="12-bit JPEG"):
        check(bytes(data), name="a", limits=LIMITS)


def test_an_implausible_number_of_scans_is_corrupt() -> None:
    """A progressive file that would be passed over hundreds of times is refused undecoded."""
    data = encoded(picture(), "jpeg", progressive=True)
    scan = data[data.rindex(b"\xff\xda") : -2]
    with pytest.raises(CorruptImage, match="scans"):
        inspect(data[:-2] + scan * 100 + data[-2:], name="a", limits=LIMITS)


def test_huge_metadata_is_never_unpacked() -> None:
    """A compressed text or profile that unpacks to hundreds of megabytes costs nothing."""
    packed = zlib.compress(bytes(100_000_000), 9)
    data = encoded(picture(), "png")
    bombs = png_chunk(b"zTXt", b"k\0\0" + packed) + png_chunk(b"iCCP", b"k\0\0" + packed)
    checked = check(data[:33] + bombs + data[33:], name="a", limits=LIMITS)
    assert checked.layout.content == data
    assert checked.warnings == ("the colour profile is broken and was ignored",)


def test_orientation_swaps_the_sides() -> None:
    """Width and height are those that people see."""
    exif = Image.Exif()
    exif[0x0112] = 6
    checked = check(encoded(picture(), "jpeg", exif=exif), name="a", limits=LIMITS)
    assert (checked.width, checked.height, checked.layout.orientation) == (48, 64, 6)


def test_broken_exif_is_no_reason_to_refuse() -> None:
    """Metadata that can't be read is stripped like any other."""
    data = encoded(picture(), "jpeg", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    checked = check(data, name="a", limits=LIMITS)
    assert checked.layout.orientation == 1
    assert "EXIF" in checked.layout.stripped


def test_first_picture_of_several_is_taken() -> None:
    """Of a multi-picture JPEG, as cameras write it, the first picture is sent, with a warning."""
    first, second = picture(), Image.new("RGB", (64, 48), "red")
    data = encoded(first, "mpo", save_all=True, append_images=[second])
    checked = check(data, name="a", limits=LIMITS)
    assert (checked.format, checked.frames) == ("jpeg", 1)
    assert checked.warnings == ("the file holds several pictures; the first one is sent",)


def test_identify_never_needs_the_whole_file() -> None:
    """The type is found in the head of a file, and a hostile head costs no time."""
    assert identify(b"\xff\xd8\xff", name="a") == "jpeg"
    with pytest.raises(NotAnImage):
        identify(b"P1" + b"# \n" * 1_000_000, name="a")
    with pytest.raises(NotAnImage):
        identify(b"<?xml " + b"<!--" * 1_000_000, name="a")
