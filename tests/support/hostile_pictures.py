"""Files made to hurt, each with the code that it must end in; made by code, kept nowhere."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from PIL import Image

from tests.support.pictures import encoded

if TYPE_CHECKING:
    from collections.abc import Iterator

PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Hostile:
    name: str
    data: bytes
    #: Codes that it may end in; `sent` where it is harmless once looked at.
    codes: tuple[str, ...]


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(
    width: int, height: int, body: bytes, *extra: bytes, bits: int = 8, colours: int = 2
) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, bits, colours, 0, 0, 0)
    return b"".join(
        (PNG, chunk(b"IHDR", header), *extra, chunk(b"IDAT", body), chunk(b"IEND", b""))
    )


@cache
def zeros(count: int) -> bytes:
    """Compress this many zero bytes, a mebibyte once and then again and again."""
    mebibytes, rest = divmod(count, 1 << 20)
    packer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    piece = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    end = packer.compress(bytes(rest)) + packer.flush()
    return b"x\xda" + piece * mebibytes + end + struct.pack(">HH", count % 65_521, 1)


def png_of_zeros(width: int, height: int, channels: int) -> bytes:
    return png(
        width,
        height,
        zeros((width * channels + 1) * height),
        colours={1: 0, 3: 2, 4: 6}[channels],
    )


def small() -> Image.Image:
    gradient = Image.linear_gradient("L").resize((64, 48))
    return Image.merge("RGB", (gradient, gradient.rotate(90), gradient.rotate(180)))


def sized_jpeg(width: int, height: int, **options: Any) -> bytes:
    """Return a JPEG whose header tells of another size than its scan has."""
    data = bytearray(encoded(small(), "jpeg", **options))
    where = data.index(b"\xff\xc2" if options.get("progressive") else b"\xff\xc0")
    data[where + 5 : where + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def gif(width: int, height: int, frames: int) -> bytes:
    """Return a GIF of frames that each clear the whole screen with a few bytes."""
    screen = b"GIF89a" + struct.pack("<HH", width, height) + b"\x80\0\0" + b"\0\0\0\xff\xff\xff"
    frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\x02\x02\x44\x01\0"
    return screen + frame * frames + b"\x3b"


def webp_canvas(width: int, height: int) -> bytes:
    still = encoded(small(), "webp")
    body = b"VP8X" + struct.pack("<II", 10, 0) + (width - 1).to_bytes(3, "little")
    body += (height - 1).to_bytes(3, "little") + still[12:]
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


@cache
def cheap() -> tuple[Hostile, ...]:
    """Return the files that take no time to make."""
    return tuple(_cheap())


def _cheap() -> Iterator[Hostile]:
    """Give the files that take no time to make."""
    bomb = zeros(200_000_000)
    plain = encoded(small(), "png")
    jpeg = encoded(small(), "jpeg")
    huge, refused = ("too_many_pixels",), ("too_many_pixels", "corrupt_image")
    yield Hostile("png 65535 sides", png(65_535, 65_535, zlib.compress(bytes(9999))), huge)
    yield Hostile("png 2^31 sides", png(2**31 - 1, 2**31 - 1, b""), huge)
    yield Hostile("png line", png(2**31 - 1, 1, b""), huge)
    yield Hostile("png zero width", png(0, 48, zlib.compress(b"")), ("corrupt_image",))
    yield Hostile("png zero size", png(0, 0, b""), ("corrupt_image",))
    yield Hostile("png bomb behind its pixels", png(8, 8, bomb), ("sent", "corrupt_image"))
    yield Hostile("png zTXt", plain[:33] + chunk(b"zTXt", b"k\0\0" + bomb) + plain[33:], ("sent",))
    yield Hostile(
        "png iTXt", plain[:33] + chunk(b"iTXt", b"k\0\1\0\0\0" + bomb) + plain[33:], ("sent",)
    )
    yield Hostile("png iCCP", plain[:33] + chunk(b"iCCP", b"k\0\0" + bomb) + plain[33:], ("sent",))
    yield Hostile(
        "png huge text", plain[:33] + chunk(b"tEXt", bytes(19_000_000)) + plain[33:], ("sent",)
    )
    yield Hostile(
        "png many chunks",
        plain[:33] + chunk(b"tEXt", b"") * 70_000 + plain[33:],
        ("corrupt_image",),
    )
    yield Hostile("png wrong checksum", plain[:45] + b"\xff\xff" + plain[47:], ("corrupt_image",))
    yield Hostile(
        "apng of 2^31 frames",
        plain[:33] + chunk(b"acTL", struct.pack(">II", 2**31, 0)) + plain[33:],
        ("animated_image",),
    )
    yield Hostile("jpeg 65535 sides", sized_jpeg(65_535, 65_535), huge)
    yield Hostile(
        "jpeg progressive 9999 sides",
        sized_jpeg(9999, 9999, progressive=True, subsampling=0),
        refused,
    )
    yield Hostile("jpeg line", sized_jpeg(65_535, 1), ("sent", "corrupt_image"))
    yield Hostile("jpeg zero height", sized_jpeg(64, 0), ("corrupt_image",))
    yield Hostile("jpeg cut", jpeg[:-40], ("corrupt_image",))
    yield Hostile(
        "jpeg huge comments",
        jpeg[:2] + (b"\xff\xfe\xff\xff" + bytes(65_533)) * 290 + jpeg[2:],
        ("sent",),
    )
    yield Hostile("jpeg zip", jpeg + b"PK\x03\x04" + bytes(10_000), ("sent",))
    yield Hostile("jpeg script", jpeg + b"<script>alert(1)</script>", ("sent",))
    yield Hostile("html as jpeg", b"<html>" + bytes(1000), ("not_an_image",))
    yield Hostile("gif 65535 sides", gif(65_535, 65_535, 1), huge)
    yield Hostile("gif 100000 frames", gif(1000, 1000, 100_000), ("animated_image",))
    yield Hostile("gif zero size", gif(0, 0, 1), ("corrupt_image",))
    yield Hostile("gif without end", gif(64, 48, 1)[:-1], ("corrupt_image",))
    yield Hostile("webp 2^24 sides", webp_canvas(2**24, 2**24), huge)
    yield Hostile("webp canvas of another size", webp_canvas(9999, 9999), refused)
    yield Hostile("empty", b"", ("empty_file",))


def heavy() -> Iterator[Hostile]:
    """Give valid files that cost the most memory and time of those that are decoded."""
    big = ("sent", "too_many_pixels")
    yield Hostile("png of zeros with alpha, 25 MP", png_of_zeros(5_000, 5_000, 4), big)
    noise = Image.effect_noise((4_300, 4_300), 90)
    turned = Image.Exif()
    turned[0x0112] = 6
    yield Hostile("19 MB of noise", encoded(noise, "png", compress_level=1), big)
    yield Hostile(
        "19 MB of noise, turned", encoded(noise, "png", compress_level=1, exif=turned), big
    )
    loud = Image.merge("RGBA", [noise.crop((n, n, n + 3_400, n + 3_400)) for n in range(4)])
    yield Hostile(
        "transparent noise, turned",
        encoded(loud, "webp", quality=20, method=0, exif=turned),
        big,
    )


def costly() -> Iterator[Hostile]:
    """Give the files that are valid and as large as can be: they take seconds to make."""
    yield from heavy()
    big = ("sent", "too_many_pixels")
    yield Hostile("png of zeros, 99 MP", png_of_zeros(9_950, 9_950, 3), big)
    yield Hostile("png of zeros with alpha, 99 MP", png_of_zeros(9_950, 9_950, 4), big)
    yield Hostile("png strip", png_of_zeros(1_000_000, 60, 3), big)
    yield Hostile("grey png, 99 MP", png_of_zeros(9_950, 9_950, 1), big)
    plane = Image.new("RGB", (9_900, 9_900), "navy")
    yield Hostile("jpeg, 98 MP", encoded(plane, "jpeg", quality=30), big)
    yield Hostile("jpeg progressive, 98 MP", encoded(plane, "jpeg", progressive=True), big)
    yield Hostile("webp, 98 MP", encoded(plane, "webp", quality=1, method=0), big)
    yield Hostile("gif, 98 MP", encoded(plane.convert("P"), "gif"), big)
    turned = Image.Exif()
    turned[0x0112] = 6
    thin = Image.new("RGB", (65_530, 40), "teal")
    yield Hostile("thin and turned", encoded(thin, "png", exif=turned), big)
    yield Hostile("many scans", _many_scans(), ("corrupt_image",))


def _many_scans() -> bytes:
    data = encoded(Image.new("RGB", (9_000, 9_000)), "jpeg", progressive=True)
    scan = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + scan * 50 + data[-2:]
