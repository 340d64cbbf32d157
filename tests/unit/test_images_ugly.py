"""Valid pictures as other programs write them: seen as they are meant, or refused by name."""

from __future__ import annotations

import io
import random
import struct
import zlib
from typing import TYPE_CHECKING, Any, Literal

import pytest
from PIL import Image, ImageCms

from tests.support.hostile_pictures import chunk, png
from tests.support.pictures import encoded, half, same
from tests.support.prepare_picture import PreparedImage, prepare
from tests.support.ugly_pictures import (
    CMYK,
    FLOAT,
    HEIGHT,
    SIGNED,
    UNSIGNED,
    WIDTH,
    YCBCR,
    Tiff,
    apng_behind_a_default,
    avif_turned_by_xmp,
    bmp_v4,
    bmp_v5,
    gamma_chunk,
    gif_in_a_corner,
    heic,
    in_a_corner,
    orientation_field,
    png_with,
    primaries_chunk,
    ramp,
    tiffs,
)
from visionq.contract import Animated, PictureOptions
from visionq.errors import AnimatedImage, CorruptImage, UnsupportedFormat
from worker.images import ImageLimits
from worker.images.profiles import BT709, gamma_curve, profile_of

if TYPE_CHECKING:
    from collections.abc import Callable

CONVERT = PictureOptions(convert=True)
FIRST = PictureOptions(animated=Animated.FIRST_FRAME)
KEPT = PictureOptions()
#: Of 255, from what a straight scaling gives.
TOLERANCE = 2.5


def less(width: int, height: int) -> tuple[int, int]:
    """Ask for a size that is not the picture's own, but as good as."""
    return width, height - 1


def run(data: bytes, options: PictureOptions = KEPT, fit: Any = same) -> PreparedImage:
    return prepare(data, name="a", limits=ImageLimits(), fit=fit, options=options)


def shown(result: PreparedImage) -> Image.Image:
    return Image.open(io.BytesIO(result.sent.data)).convert("RGBA")


def pixel(image: Image.Image, x: int, y: int) -> tuple[int, ...]:
    found = image.getpixel((x, y))
    assert isinstance(found, tuple)
    return found


# TIFF ---------------------------------------------------------------------------------------------


def distance(way: Tiff, image: Image.Image) -> float:
    """Return how far the picture is from a straight scaling, at worst."""
    steps = 2**way.bits - 1 if way.sample_format == UNSIGNED and way.bits < 8 else 0
    worst = 0.0
    for x in range(0, WIDTH, 3):
        shades: tuple[float, ...] = way.colour(x)
        if steps and way.photometric != CMYK:
            shades = tuple(255 * round(shade / 255 * steps) / steps for shade in shades)
        wanted = shades * 3 if len(shades) == 1 else shades
        for y in (0, HEIGHT - 1):
            got = pixel(image, x, y)[:3]
            worst = max(worst, *(abs(one - other) for one, other in zip(got, wanted, strict=True)))
    return worst


def test_every_way_to_store_samples_is_read_rightly_or_refused_by_name() -> None:
    """For any depth, sign, order and packing: the right colours, or an error that says why."""
    taken = 0
    wrong = []
    for way in tiffs():
        try:
            result = run(way.data(), CONVERT)
        except UnsupportedFormat as error:
            assert f"{way.bits}-bit" in error.message, way  # noqa: PT017  # that it is raised is not tested
            continue
        taken += 1
        if (found := distance(way, shown(result))) > TOLERANCE:
            wrong.append(f"{way}: off by {found:.1f}")
    assert not wrong
    assert taken > 300


@pytest.mark.parametrize(
    "way",
    [
        Tiff(bits=12),
        Tiff(bits=16, order=">"),
        Tiff(photometric=0, bits=16),
        Tiff(bits=32),
        Tiff(sample_format=SIGNED, bits=16),
        Tiff(sample_format=SIGNED, bits=32, order=">"),
        Tiff(sample_format=FLOAT, bits=32),
        Tiff(sample_format=FLOAT, bits=32, order=">"),
        Tiff(sample_format=FLOAT, bits=32, declared=(-5.0, 40.0)),
        Tiff(bits=16, declared=(0.0, 4095.0)),
        Tiff(photometric=2, planar=True),
        Tiff(photometric=2, bits=16, planar=True, compression="deflate"),
        Tiff(bits=8, extra_samples=(1,)),
    ],
    ids=str,
)
def test_common_depths_are_taken(way: Tiff) -> None:
    """Files of microscopes, scanners and maps are not refused."""
    assert distance(way, shown(run(way.data(), CONVERT))) <= TOLERANCE


def test_floating_point_without_a_range_is_refused() -> None:
    """Values beyond 0 to 1 mean nothing as long as no range is declared."""
    way = Tiff(sample_format=FLOAT, bits=32, declared=(0.0, 255.0))
    data = way.data().replace(struct.pack("<HHI", 341, 11, 1), struct.pack("<HHI", 65000, 11, 1))
    with pytest.raises(UnsupportedFormat, match="from 0 to 255 and no declared range"):
        run(data, CONVERT)


def test_subsampled_colours_without_compression_are_refused() -> None:
    """One colour a pixel that the decoder misreads is named; a real one is read."""
    with pytest.raises(UnsupportedFormat, match="8-bit unsigned YCbCr TIFF"):
        run(Tiff(YCBCR, extra_fields={530: ("H", (2, 2))}).data(), CONVERT)
    run(Tiff(YCBCR, extra_fields={530: ("H", (1, 1))}).data(), CONVERT)


def test_a_tiff_that_is_cut_off_is_corrupt() -> None:
    """A variant is named only if the file is there to name it."""
    data = Tiff(bits=16, order=">").data()
    for length in (10, len(data) // 2, len(data) - 100):
        with pytest.raises(CorruptImage):
            run(data[:length], CONVERT)


@pytest.mark.parametrize(("bits", "compression"), [(64, 0), (2, 0), (24, 5)])
def test_a_bmp_that_is_not_read_is_named(bits: int, compression: int) -> None:
    """A whole BMP of a rare variant is not called damaged."""
    data = bytearray(encoded(ramp(), "bmp"))
    struct.pack_into("<HI", data, 28, bits, compression)
    with pytest.raises(UnsupportedFormat, match=f"{bits}-bit BMP"):
        run(bytes(data), CONVERT)


# Colours ------------------------------------------------------------------------------------------


def linear() -> bytes:
    """Return a profile of sRGB's primaries whose samples are light itself."""
    found = profile_of(BT709, [gamma_curve(1)])
    assert found is not None
    return found


def as_linear(value: int) -> float:
    """Return the sample in sRGB of an amount of light."""
    light = value / 255
    return 255 * (12.92 * light if light <= 0.0031308 else 1.055 * light ** (1 / 2.4) - 0.055)


WAYS: dict[str, Callable[[], bytes]] = {
    "png gAMA": lambda: png_with(ramp(), gamma_chunk(1.0)),
    "png gAMA grey": lambda: png_with(ramp().convert("L"), gamma_chunk(1.0)),
    "png gAMA with alpha": lambda: png_with(ramp().convert("LA"), gamma_chunk(1.0)),
    "png cICP": lambda: png_with(ramp(), (b"cICP", bytes([1, 8, 0, 1]))),
    "png cICP before sRGB": lambda: png_with(ramp(), (b"sRGB", b"\0"), (b"cICP", b"\1\10\0\1")),
    "png iCCP": lambda: encoded(ramp(), "png", icc_profile=linear()),
    "bmp v5": lambda: bmp_v5(ramp(), linear()),
    "bmp v4": lambda: bmp_v4(ramp(), 1.0),
    "tiff": lambda: encoded(ramp(), "tiff", icc_profile=linear()),
}


@pytest.mark.parametrize("way", WAYS)
def test_colours_are_managed_however_they_are_described(way: str) -> None:
    """A picture encoded again looks as its file means it, be it by a profile or by numbers."""
    image = shown(run(WAYS[way](), CONVERT, less))
    for x in range(8, 256, 16):
        stored = pixel(ramp(), x, 8)[0]
        assert abs(pixel(image, x, 8)[0] - as_linear(stored)) <= 8, (way, x)


def test_primaries_are_managed() -> None:
    """Red of a wide space is more than red in sRGB, and stays apart from what was pale."""
    wide = primaries_chunk(0.3127, 0.3290, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046)
    image = Image.new("RGB", (64, 64), (180, 120, 100))
    got = pixel(shown(run(png_with(image, wide), fit=half)), 16, 16)
    named = pixel(shown(run(png_with(image, (b"cICP", bytes([9, 13, 0, 1]))), fit=half)), 16, 16)
    assert got[0] > 205
    assert all(abs(one - other) <= 2 for one, other in zip(got, named, strict=True))


@pytest.mark.parametrize(
    "hints",
    [
        [gamma_chunk(0.45455)],
        [gamma_chunk(0.45455), primaries_chunk(0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)],
        [(b"sRGB", b"\0"), gamma_chunk(1.0)],
        [(b"cICP", bytes([1, 13, 0, 1]))],
        [gamma_chunk(0)],
        [primaries_chunk(0, 0, 0, 0, 0, 0, 0, 0)],
        [(b"cICP", b"\xff\xff\0\1")],
    ],
)
def test_hints_that_tell_of_srgb_or_of_nothing_change_no_colour(
    hints: list[tuple[bytes, bytes]],
) -> None:
    """Common additions to an sRGB picture, and senseless ones, are left alone."""
    plain = run(encoded(ramp(), "png"), fit=less).sent.data
    assert run(png_with(ramp(), *hints), fit=less).sent.data == plain


def test_hints_stay_in_a_picture_that_fits() -> None:
    """A file that is sent as it is keeps the chunks that say how to see it."""
    for hint in (gamma_chunk(1.0), (b"cICP", bytes([9, 16, 0, 1]))):
        data = png_with(ramp(), hint)
        assert run(data).sent.data == data


def renamed_srgb() -> bytes:
    """Return a profile that calls itself sRGB, and is light itself."""
    body = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    (count,) = struct.unpack_from(">I", body, 128)
    line = b"curv\0\0\0\0\0\0\0\0"
    for entry in range(132, 132 + 12 * count, 12):
        if bytes(body[entry : entry + 4]) in {b"rTRC", b"gTRC", b"bTRC"}:
            struct.pack_into(">II", body, entry + 4, len(body), len(line))
    body += line
    struct.pack_into(">I", body, 0, len(body))
    return bytes(body)


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "tiff"])
def test_a_profile_is_judged_by_what_it_does(kind: str) -> None:
    """One that is called sRGB and is not changes a small picture and a large one alike."""
    image = Image.new("RGB", (64, 64), (55, 55, 55))
    data = encoded(image, kind, icc_profile=renamed_srgb())
    small, large = (shown(run(data, CONVERT, fit)) for fit in (same, half))
    assert abs(pixel(small, 16, 16)[0] - 128) <= 3
    assert abs(pixel(large, 16, 16)[0] - 128) <= 3


# Transparency, frames and canvases ----------------------------------------------------------------


def test_a_transparent_grey_of_16_bits_is_told_from_its_neighbours() -> None:
    """Transparency by one colour is kept in 16 bits, to the last of them."""
    row = b"\0" + struct.pack(">64H", *([0x1234] * 32 + [0x1235] * 32))
    clear = chunk(b"tRNS", struct.pack(">H", 0x1234))
    image = shown(run(png(64, 64, zlib.compress(row * 64), clear, bits=16, colours=0)))
    assert pixel(image, 8, 8)[3] == 0
    assert pixel(image, 40, 8) == (0x12, 0x12, 0x12, 255)


def test_a_transparent_colour_of_16_bits_is_kept_and_told() -> None:
    """In colour the decoder leaves 8 bits, by which it is judged; the warnings say so."""
    row = b"\0" + struct.pack(">192H", *([0x1234, 0x8000, 0xFFFF] * 32 + [0xFFFF, 0, 0] * 32))
    clear = chunk(b"tRNS", struct.pack(">HHH", 0x1234, 0x8000, 0xFFFF))
    result = run(png(64, 64, zlib.compress(row * 64), clear, bits=16))
    assert pixel(shown(result), 8, 8)[3] == 0
    assert pixel(shown(result), 40, 8) == (255, 0, 0, 255)
    assert "upper 8 of 16 bits" in result.warnings[0]


def test_an_animation_behind_a_default_picture_is_one() -> None:
    """A default picture that is no frame hides no animation, and is not its first frame."""
    for frames in (1, 2):
        data = apng_behind_a_default(frames=frames)
        with pytest.raises(AnimatedImage):
            run(data)
        for fit in (same, half):
            assert pixel(shown(run(data, FIRST, fit)), 5, 5)[:3] == (0, 255, 0)


@pytest.mark.parametrize("fit", [same, half])
def test_a_still_gif_smaller_than_its_canvas_is_clear_around(fit: Any) -> None:
    """An area that no frame draws is not in the picture, and is white where that is asked."""
    data = gif_in_a_corner()
    clear = shown(run(data, fit=fit))
    assert pixel(clear, clear.width - 1, clear.height - 1)[3] == 0
    assert pixel(clear, 2, 2) == (200, 30, 40, 255)
    white = shown(run(data, PictureOptions(flatten=True), fit))
    assert pixel(white, white.width - 1, white.height - 1) == (255, 255, 255, 255)


@pytest.mark.parametrize("fit", [same, half])
@pytest.mark.parametrize(
    "data",
    [
        gif_in_a_corner(frames=2),
        in_a_corner("gif"),
        in_a_corner("png"),
        in_a_corner("webp", lossless=True),
        in_a_corner("webp", quality=90),
    ],
    ids=["gif of small frames", "gif", "png", "webp", "lossy webp"],
)
def test_the_clear_canvas_of_an_animation_is_white(data: bytes, fit: Any) -> None:
    """If the first frame draws nothing there is white, neither black nor background colour."""
    image = shown(run(data, FIRST, fit))
    corner = pixel(image, image.width - 2, image.height - 2)
    assert min(corner) > 245
    red, *others, alpha = pixel(image, 3, 3)
    assert red > 180
    assert max(others) < 60
    assert alpha == 255


# Ends ---------------------------------------------------------------------------------------------


def noise(width: int, height: int) -> Image.Image:
    return Image.frombytes("L", (width, height), random.Random(7).randbytes(width * height))


def noisy(**options: Any) -> bytes:
    return encoded(noise(320, 240).convert("RGB"), "jpeg", **options)


WHOLE = {
    "jpeg": noisy(),
    "jpeg in colour": noisy(subsampling=0, quality=95),
    "jpeg with restarts": noisy(restart_marker_blocks=4),
    "gif": encoded(noise(64, 48), "gif"),
}


@pytest.mark.parametrize("fit", [same, half])
@pytest.mark.parametrize("name", WHOLE)
def test_a_file_without_its_end_is_taken_on_demand(name: str, fit: Any) -> None:
    """A file without its end marker, padded or not, is the same picture, with a warning."""
    whole, taken = WHOLE[name], PictureOptions(unterminated=True)
    marker = 1 if name == "gif" else 2
    for data in (whole[:-marker], whole[:-1], whole[:-marker] + bytes(5000)):
        with pytest.raises(CorruptImage, match=r"pictures\.unterminated"):
            run(data, KEPT, fit)
        result = run(data, taken, fit)
        assert "lacks its end marker" in result.warnings[0]
        assert shown(result).tobytes() == shown(run(whole, KEPT, fit)).tobytes()
        assert "end marker" not in str(run(result.sent.data).warnings)
    assert "end marker" not in str(run(whole, taken, fit).warnings)


@pytest.mark.parametrize("padding", [0, 5000])
@pytest.mark.parametrize("cut", [40, 500, 3000])
@pytest.mark.parametrize("name", [*WHOLE, "progressive jpeg"])
def test_a_file_without_its_last_rows_is_not(name: str, cut: int, padding: int) -> None:
    """A file that a decoder would fill with grey stays refused."""
    whole = WHOLE.get(name) or noisy(progressive=True)
    data = whole[: -min(cut, len(whole) // 2)] + bytes(padding)
    with pytest.raises(CorruptImage):
        run(data, PictureOptions(unterminated=True))


# HEIC ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fit", [same, half])
def test_heic_is_converted_by_its_extra(fit: Any) -> None:
    """A photo of an iPhone is sent where the worker has the extra, and a cut one is corrupt."""
    pytest.importorskip("pi_heif")
    with pytest.raises(UnsupportedFormat, match=r"HEIC.*pictures\.convert"):
        run(heic())
    result = run(heic(), CONVERT, fit)
    image = shown(result)
    assert image.size == fit(64, 32)
    assert result.source.format == "heic"
    assert pixel(image, 4, 4)[0] > 240
    assert max(pixel(image, 4, 4)[1:3]) < 20
    assert min(pixel(image, image.width - 2, image.height - 2)) > 245
    for length in (40, 200, len(heic()) - 20):
        with pytest.raises(CorruptImage):
            run(heic()[:length], CONVERT)


def test_heic_without_its_extra_is_refused_with_the_way_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """HEIC sent to a worker without the extra names what to install."""
    monkeypatch.setattr("visionq.images.kinds.find_spec", lambda _: None)
    for options in (KEPT, CONVERT):
        with pytest.raises(UnsupportedFormat, match=r"HEIC.*visionq\[heic\]"):
            run(heic(), options)


# Orientation --------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("code", ["B", "H", "I", "b", "h", "i"])
@pytest.mark.parametrize("kind", ["jpeg", "png", "webp"])
def test_an_orientation_of_any_number_type_is_applied(
    kind: str, code: str, order: Literal["<", ">"]
) -> None:
    """Cameras that write a LONG, or a byte, for the SHORT of the standard are not sent sideways."""
    exif = orientation_field(6, order, code)
    sent = run(encoded(Image.new("RGB", (60, 40), "red"), kind, exif=exif)).sent
    assert (sent.width, sent.height) == (40, 60)


def test_xmp_turns_no_avif() -> None:
    """The container alone says how an AVIF is shown, as in browsers."""
    sent = run(avif_turned_by_xmp(), CONVERT).sent
    assert (sent.width, sent.height) == (60, 40)
    turned = encoded(
        Image.new("RGB", (60, 40)), "avif", exif=orientation_field(6, ">", "H"), speed=10
    )
    assert run(turned, CONVERT).sent.width == 40
