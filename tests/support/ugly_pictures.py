"""Pictures as other programs write them: valid, rare, and read wrongly by many.

TIFFs are written field by field, since no library writes all of their sample formats.
"""

from __future__ import annotations

import base64
import struct
import zlib
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import product
from typing import TYPE_CHECKING, Any, Final, Literal

from PIL import Image, ImageDraw

from tests.support.hostile_pictures import chunk, png
from tests.support.pictures import encoded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

UNSIGNED, SIGNED, FLOAT = 1, 2, 3
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK, YCBCR = 0, 1, 2, 3, 5, 6
WIDTH, HEIGHT = 64, 8

_CHANNELS: Final = {RGB: 3, CMYK: 4, YCBCR: 3}
_INTEGERS: Final = {8: "b", 16: "h", 32: "i", 64: "q"}
_FLOATS: Final = {16: "e", 32: "f", 64: "d"}


@dataclass(frozen=True)
class Tiff:
    """One way to store a ramp from black to white, seven of its eight rows in shades."""

    photometric: int = BLACK_IS_ZERO
    sample_format: int = UNSIGNED
    bits: int = 8
    order: Literal["<", ">"] = "<"
    compression: Literal["none", "deflate", "packbits"] = "none"
    planar: bool = False
    tiled: bool = False
    rows_per_strip: int = HEIGHT
    reversed_bits: bool = False
    extra_samples: tuple[int, ...] = ()
    extra_fields: Mapping[int, tuple[str, tuple[float, ...]]] = field(default_factory=dict)
    #: Value of black and of white, if the file declares them.
    declared: tuple[float, float] | None = None

    def __str__(self) -> str:
        names = {UNSIGNED: "unsigned", SIGNED: "signed", FLOAT: "float"}
        ways = [name for name in ("planar", "tiled", "reversed_bits") if getattr(self, name)]
        return " ".join(
            (
                f"{self.bits}-bit {names.get(self.sample_format, self.sample_format)}",
                f"photometric {self.photometric} {'II' if self.order == '<' else 'MM'}",
                self.compression,
                *ways,
                *(f"extra {kind}" for kind in self.extra_samples),
            )
        )

    @property
    def channels(self) -> int:
        return _CHANNELS.get(self.photometric, 1)

    @property
    def range(self) -> tuple[float, float]:
        """The values of black and white, or of no ink and full ink."""
        if self.declared is not None:
            return self.declared
        match self.sample_format:
            case 2:
                return -(2 ** (self.bits - 1)), 2 ** (self.bits - 1) - 1
            case 3:
                return 0.0, 1.0
        return 0, 2**self.bits - 1

    def shade(self, x: int, channel: int) -> float:
        """Return the share of the range that is stored at a column, in a channel."""
        ramp = x / (WIDTH - 1)
        return (ramp, 1 - ramp, 0.5, 0.0)[channel]

    def colour(self, x: int) -> tuple[float, ...]:
        """Return what a person sees at a column, as grey or as red, green and blue, of 255."""
        shades = [self.shade(x, channel) for channel in range(self.channels)]
        if self.photometric == CMYK:
            return tuple(255 * (1 - ink) * (1 - shades[3]) for ink in shades[:3])
        if self.photometric == WHITE_IS_ZERO:
            return (255 * (1 - shades[0]),)
        return tuple(255 * shade for shade in shades)

    def data(self) -> bytes:
        """Return the file."""
        return _file(self)


def _value(way: Tiff, shade: float) -> float:
    low, high = way.range
    if way.sample_format == FLOAT:
        return low + (high - low) * shade
    return int(low) + round((int(high) - int(low)) * Fraction(shade))


def _row(way: Tiff, channels: list[int]) -> bytes:
    """Return one row of the channels, interleaved."""
    values = [_value(way, way.shade(x, channel)) for x in range(WIDTH) for channel in channels]
    return _packed(way, values)


def _packed(way: Tiff, values: list[float]) -> bytes:
    if way.sample_format == FLOAT:
        return struct.pack(f"{way.order}{len(values)}{_FLOATS[way.bits]}", *values)
    if way.bits in _INTEGERS:
        code = _INTEGERS[way.bits]
        code = code if way.sample_format == SIGNED else code.upper()
        return struct.pack(f"{way.order}{len(values)}{code}", *map(int, values))
    text = "".join(f"{int(value) % 2**way.bits:0{way.bits}b}" for value in values)
    text += "0" * (-len(text) % 8)
    return int(text, 2).to_bytes(len(text) // 8)


def _row_with_extras(way: Tiff) -> bytes:
    if not way.extra_samples:
        return _row(way, list(range(way.channels)))
    full = way.range[1]
    values = []
    for x in range(WIDTH):
        values += [_value(way, way.shade(x, channel)) for channel in range(way.channels)]
        values += [full] * len(way.extra_samples)
    return _packed(way, values)


def _packbits(data: bytes) -> bytes:
    pieces = (data[at : at + 128] for at in range(0, len(data), 128))
    return b"".join(bytes([len(piece) - 1]) + piece for piece in pieces)


def _blocks(way: Tiff) -> Iterator[bytes]:
    planes = [[channel] for channel in range(way.channels)] if way.planar else [[]]
    for plane in planes:
        row = _row(way, plane) if plane else _row_with_extras(way)
        if way.tiled:
            yield row * 16  # WIDTH x 16: the rows below the picture are padding
            continue
        for top in range(0, HEIGHT, way.rows_per_strip):
            yield row * min(way.rows_per_strip, HEIGHT - top)


def _file(way: Tiff) -> bytes:
    packers: dict[str, Callable[[bytes], bytes]] = {
        "none": bytes,
        "deflate": zlib.compress,
        "packbits": _packbits,
    }
    blocks = [packers[way.compression](block) for block in _blocks(way)]
    if way.reversed_bits:
        mirror = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
        blocks = [block.translate(mirror) for block in blocks]
    samples = way.channels + len(way.extra_samples)
    offsets, body = [], b""
    for block in blocks:
        offsets.append(8 + len(body))
        body += block + b"\0" * (len(block) % 2)
    fields: dict[int, tuple[str, tuple[float, ...]]] = {
        256: ("I", (WIDTH,)),
        257: ("I", (HEIGHT,)),
        258: ("H", (way.bits,) * samples),
        259: ("H", ({"none": 1, "deflate": 8, "packbits": 32773}[way.compression],)),
        262: ("H", (way.photometric,)),
        277: ("H", (samples,)),
        284: ("H", (2 if way.planar else 1,)),
        339: ("H", (way.sample_format,) * samples),
    }
    sizes = tuple(map(len, blocks))
    if way.tiled:
        fields |= {322: ("I", (WIDTH,)), 323: ("I", (16,))}
        fields |= {324: ("I", tuple(offsets)), 325: ("I", sizes)}
    else:
        fields |= {273: ("I", tuple(offsets)), 279: ("I", sizes)}
        fields |= {278: ("I", (way.rows_per_strip,))}
    if way.reversed_bits:
        fields[266] = ("H", (2,))
    if way.extra_samples:
        fields[338] = ("H", way.extra_samples)
    if way.declared is not None:
        code = {UNSIGNED: "I", SIGNED: "i", FLOAT: "f"}[way.sample_format]
        fields |= {340: (code, way.declared[:1]), 341: (code, way.declared[1:])}
    if way.photometric == PALETTE:
        ramp = [65535 * entry // (2**way.bits - 1) for entry in range(2**way.bits)]
        fields[320] = ("H", tuple(ramp * 3))
    return _with_directory(way.order, body, fields | dict(way.extra_fields))


_TYPES: Final = {"H": 3, "I": 4, "i": 9, "f": 11}


def _with_directory(
    order: str, body: bytes, fields: Mapping[int, tuple[str, tuple[float, ...]]]
) -> bytes:
    mark = b"II" if order == "<" else b"MM"
    directory = 8 + len(body)
    tail_at = directory + 2 + 12 * len(fields) + 4
    entries, tail = b"", b""
    for tag, (code, values) in sorted(fields.items()):
        numbers = values if code == "f" else tuple(map(int, values))
        packed = struct.pack(f"{order}{len(values)}{code}", *numbers)
        if len(packed) <= 4:
            packed = packed.ljust(4, b"\0")
        else:
            at = tail_at + len(tail)
            tail += packed + b"\0" * (len(packed) % 2)
            packed = struct.pack(f"{order}I", at)
        entries += struct.pack(f"{order}HHI", tag, _TYPES[code], len(values)) + packed
    head = mark + struct.pack(f"{order}HI", 42, directory)
    count = struct.pack(f"{order}H", len(fields))
    return head + body + count + entries + struct.pack(f"{order}I", 0) + tail


_ORDERS: Final[tuple[Literal["<", ">"], ...]] = ("<", ">")
_PACKINGS: Final[tuple[Literal["none", "deflate", "packbits"], ...]] = (
    "none",
    "deflate",
    "packbits",
)
_DEPTHS: Final = (
    *((UNSIGNED, bits) for bits in (1, 2, 4, 6, 8, 10, 12, 14, 16, 24, 32, 64)),
    *((SIGNED, bits) for bits in (8, 16, 32, 64)),
    *((FLOAT, bits) for bits in (16, 32, 64)),
)
_DECLARED: Final = (
    (UNSIGNED, 16, (0.0, 4095.0)),
    (SIGNED, 16, (-1000.0, 3000.0)),
    (UNSIGNED, 32, (0.0, 4095.0)),
    (SIGNED, 32, (-70000.0, 70000.0)),
    (FLOAT, 32, (-5.0, 40.0)),
    (FLOAT, 32, (0.0, 255.0)),
)


def tiffs() -> Iterator[Tiff]:
    """Give every way to store samples that a writer may choose."""
    for (kind, bits), order, packing in product(_DEPTHS, _ORDERS, _PACKINGS):
        for photometric in (WHITE_IS_ZERO, BLACK_IS_ZERO):
            yield from _in_forms(Tiff(photometric, kind, bits, order, packing))
        if kind == UNSIGNED and bits <= 8:
            yield Tiff(PALETTE, kind, bits, order, packing)
        for photometric, planar in product((RGB, CMYK), (False, True)):
            yield from _in_forms(Tiff(photometric, kind, bits, order, packing, planar))
    for order, photometric, (kind, bits, declared) in product(
        _ORDERS, (WHITE_IS_ZERO, BLACK_IS_ZERO), _DECLARED
    ):
        yield Tiff(photometric, kind, bits, order, declared=declared)


def _in_forms(way: Tiff) -> Iterator[Tiff]:
    yield way
    if way.compression == "none":
        yield replace(way, rows_per_strip=3)
    if (way.bits * WIDTH) % 128 == 0 and way.channels == 1:
        yield replace(way, tiled=True)
    if way.sample_format == UNSIGNED:
        yield replace(way, reversed_bits=True)
    if way.bits >= 8 and not way.planar:
        for extra in (0, 1, 2):
            yield replace(way, extra_samples=(extra,))


def orientation_field(number: int, order: Literal["<", ">"], code: str) -> bytes:
    """Return EXIF that holds the orientation as a number of a type that is not the standard's."""
    kinds = {"B": 1, "H": 3, "I": 4, "b": 6, "h": 8, "i": 9}
    mark = b"II" if order == "<" else b"MM"
    value = struct.pack(order + code, number).ljust(4, b"\0")
    return b"".join(
        (
            b"Exif\0\0" + mark + struct.pack(order + "HI", 42, 8),
            struct.pack(order + "HHHI", 1, 0x0112, kinds[code], 1) + value,
            bytes(4),
        )
    )


def ramp() -> Image.Image:
    """Return all greys, and all mixtures of two colours, beside each other."""
    level = Image.linear_gradient("L").rotate(90).resize((256, 16))
    fades = Image.merge("RGB", (level, level.rotate(180), Image.new("L", level.size, 40)))
    both = Image.new("RGB", (256, 32))
    both.paste(level.convert("RGB"), (0, 0))
    both.paste(fades, (0, 16))
    return both


def png_with(image: Image.Image, *chunks: tuple[bytes, bytes]) -> bytes:
    """Return a PNG with these chunks behind its header."""
    data = encoded(image, "png")
    return data[:33] + b"".join(chunk(kind, body) for kind, body in chunks) + data[33:]


def gamma_chunk(gamma: float) -> tuple[bytes, bytes]:
    return b"gAMA", struct.pack(">I", round(gamma * 100_000))


def primaries_chunk(*numbers: float) -> tuple[bytes, bytes]:
    """Give x and y of white, red, green and blue."""
    return b"cHRM", struct.pack(">8I", *(round(number * 100_000) for number in numbers))


def bmp_v5(image: Image.Image, profile: bytes) -> bytes:
    """Return a BMP that holds its profile."""
    pixels = encoded(image.convert("RGB"), "bmp")[54:]
    header = struct.pack(
        "<IiiHHIIiiII16sI36s12sIIII",
        *(124, image.width, image.height, 1, 24, 0, len(pixels), 2835, 2835, 0, 0),
        *(bytes(16), 0x4D424544, bytes(36), bytes(12), 4, 124 + len(pixels), len(profile), 0),
    )
    size = 14 + 124 + len(pixels) + len(profile)
    return struct.pack("<2sIII", b"BM", size, 0, 138) + header + pixels + profile


def bmp_v4(image: Image.Image, gamma: float) -> bytes:
    """Return a BMP that describes its colours: those of sRGB, of another gamma."""
    pixels = encoded(image.convert("RGB"), "bmp")[54:]
    points = (0.64, 0.33, 0.03, 0.30, 0.60, 0.10, 0.15, 0.06, 0.79)
    header = struct.pack(
        "<IiiHHIIiiII16sI9I3I",
        *(108, image.width, image.height, 1, 24, 0, len(pixels), 2835, 2835, 0, 0),
        *(bytes(16), 0, *(round(point * 2**30) for point in points)),
        *((round(gamma * 2**16),) * 3),
    )
    return struct.pack("<2sIII", b"BM", 122 + len(pixels), 0, 122) + header + pixels


def gif_in_a_corner(*, frames: int = 1) -> bytes:
    """Return a GIF of 60x40 whose frames draw only the left upper quarter, in red."""
    still = encoded(Image.new("P", (30, 20), 1), "gif")
    palette = b"\xc8\x1e\x28\0\0\0"
    start = still.index(b"\x2c")
    flags = still[start + 9]
    table = 3 << (flags & 7) + 1 if flags & 0x80 else 0
    frame = still[start : start + 9] + b"\0" + still[start + 10 + table : -1]
    screen = b"GIF89a" + struct.pack("<HHBBB", 60, 40, 0x80, 0, 0) + palette
    return screen + frame * frames + b"\x3b"


def in_a_corner(kind: str, **options: Any) -> bytes:
    """Return an animation of 60x40 whose first frame draws only its left half, in red."""
    frames = [Image.new("RGBA", (60, 40), (0, 0, 0, 0)) for _ in range(2)]
    ImageDraw.Draw(frames[0]).rectangle((0, 0, 29, 39), fill=(200, 30, 40, 255))
    ImageDraw.Draw(frames[1]).rectangle((30, 0, 59, 39), fill=(20, 30, 200, 255))
    ways = {"save_all": True, "append_images": frames[1:], "duration": 100, "disposal": 2}
    return encoded(frames[0], kind, **ways | options)


def apng_behind_a_default(*, frames: int = 2) -> bytes:
    """Return an APNG whose default picture is red and no frame; its frames are green, then blue."""

    def control(number: int) -> bytes:
        body = struct.pack(">IIIIIHHBB", number, 60, 40, 0, 0, 1, 10, 0, 0)
        return chunk(b"fcTL", body)

    def pixels(colour: bytes) -> bytes:
        return zlib.compress((b"\0" + colour * 60) * 40)

    still = png(60, 40, pixels(b"\xff\0\0"))
    parts, number = [], 0
    for colour in (b"\0\xff\0", b"\0\0\xff")[:frames]:
        parts.append(control(number))
        parts.append(chunk(b"fdAT", struct.pack(">I", number + 1) + pixels(colour)))
        number += 2
    animation = chunk(b"acTL", struct.pack(">II", frames, 0))
    return still[:33] + animation + still[33:-12] + b"".join(parts) + still[-12:]


def avif_turned_by_xmp() -> bytes:
    """Return an AVIF whose container tells of no turn, while its XMP repeats the camera's."""
    xmp = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/'
        b'22-rdf-syntax-ns#"><rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" '
        b'tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>'
    )
    return encoded(Image.new("RGB", (60, 40), "red"), "avif", xmp=xmp, speed=10)


#: 64x32, white with a red quarter on the left above: nothing that is free of GPL writes HEIC.
_HEIC: Final = (
    "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAX1tZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAA"
    "AAAAAAAAAAAAACJpbG9jAAAAAERAAAEAAQAAAAABoQABAAAAAAAAAGQAAAAjaWluZgAAAAAAAQAAABVpbmZlAgAA"
    "AAABAABodmMxAAAAAA5waXRtAAAAAAABAAAA/WlwcnAAAADdaXBjbwAAAHZodmNDAQNwAAAAkAAAAAAAHvAA/P34"
    "+AAADwNgAAEAGEABDAH//wNwAAADAJAAAAMAAAMAHroCQGEAAQAqQgEBA3AAAAMAkAAAAwAAAwAeoCCBBZbq5Ka5"
    "uAhoMCAAAAMDIAAAAwAhYgABAAZEAcFzwIkAAAATY29scm5jbHgAAQANAAaAAAAAFGlzcGUAAAAAAAAAQAAAAEAA"
    "AAAoY2xhcAAAAEAAAAABAAAAIAAAAAEAAAAAAAAAAv///+AAAAACAAAAEHBpeGkAAAAAAwgICAAAABhpcG1hAAAA"
    "AAAAAAEAAQWBAgMFhAAAAGxtZGF0AAAAYCgBrwT47Fro4w3/YKqf/9lT+//pV3LfPiav6NLpS/Ufn//qZelEm3XN"
    "LlzKTN1gg06TvnhdXyOGourjMIsjeKiZKH4pR4FS/9HpcnKHo/88PPRvTSR//Nt2PgfkVEfHhg=="
)


def heic() -> bytes:
    return base64.b64decode(_HEIC)


def ugly() -> Iterator[tuple[str, bytes]]:
    """Give a few of each, by a name: for every parser that is still to come."""
    yield "tiff 16-bit MM", Tiff(bits=16, order=">").data()
    yield "tiff 12-bit", Tiff(bits=12).data()
    yield "tiff float", Tiff(sample_format=FLOAT, bits=32).data()
    yield "tiff unsigned 32", Tiff(bits=32).data()
    yield "tiff planar", Tiff(RGB, planar=True, compression="deflate").data()
    yield "bmp v4", bmp_v4(ramp(), 1.0)
    yield "png gamma", png_with(ramp(), gamma_chunk(1.0))
    yield "gif in a corner", gif_in_a_corner()
    yield "webp in a corner", in_a_corner("webp", lossless=True)
    yield "apng behind a default", apng_behind_a_default()
    yield "avif turned by xmp", avif_turned_by_xmp()
