"""What is sent of a picture."""

from __future__ import annotations

import io
import struct
import zlib
from functools import partial
from typing import Any

import pytest
from PIL import Image, ImageCms, ImageDraw

from tests.support.pictures import encoded, half, same
from tests.support.prepare_picture import PreparedImage, prepare
from visionq.contract import Detail
from visionq.errors import CorruptImage, TooLarge
from visionq.pricing.vision import load_rules, seen_size
from worker.images import EncodedImage, ImageLimits, encode, inspect

LIMITS = ImageLimits()
TURN = Image.Transpose
#: What a camera does to an upright scene before it notes the orientation.
UNDO = {
    2: TURN.FLIP_LEFT_RIGHT,
    3: TURN.ROTATE_180,
    4: TURN.FLIP_TOP_BOTTOM,
    5: TURN.TRANSPOSE,
    6: TURN.ROTATE_90,
    7: TURN.TRANSVERSE,
    8: TURN.ROTATE_270,
}


def photo(width: int = 120, height: int = 80) -> Image.Image:
    noise = Image.effect_noise((width, height), 40)
    gradient = Image.linear_gradient("L").resize((width, height))
    return Image.merge("RGB", (noise, gradient, gradient.rotate(180)))


def run(
    data: bytes, fit: Any = same, limits: ImageLimits = LIMITS
) -> PreparedImage:  # a function of above
    return prepare(data, name="a", limits=limits, fit=fit)


def shown(sent: EncodedImage) -> Image.Image:
    opened = Image.open(io.BytesIO(sent.data))
    opened.load()
    assert opened.format == sent.format.upper()
    assert opened.size == (sent.width, sent.height)
    assert sent.mime_type == f"image/{sent.format}"
    return opened


def colour_at(sent: EncodedImage, x: float, y: float) -> tuple[int, ...]:
    image = shown(sent).convert("RGBA")
    pixel = image.getpixel((int(image.width * x), int(image.height * y)))
    assert isinstance(pixel, tuple)
    return pixel


def close_to(found: tuple[int, ...], wanted: tuple[int, ...], tolerance: int = 8) -> bool:
    return all(abs(one - other) <= tolerance for one, other in zip(found, wanted, strict=False))


def oriented(number: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = number
    return exif


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "gif"])
def test_a_picture_that_fits_is_sent_byte_for_byte(kind: str) -> None:
    """Nothing to scale and nothing to strip: the very file is sent."""
    data = encoded(photo(), kind)
    sent = run(data).sent
    assert sent.data == data
    assert sent.passed_through


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P", "1"])
def test_every_plain_png_is_sent_byte_for_byte(mode: str) -> None:
    """Grey, palette and transparency are no reason to encode again."""
    data = encoded(photo().convert(mode), "png")
    assert run(data).sent.data == data


def test_metadata_is_cut_out_of_a_jpeg_without_touching_its_pixels() -> None:
    """EXIF with GPS, XMP, comments and appended data go; the picture stays the same to the bit."""
    plain = encoded(photo(), "jpeg")
    exif = Image.Exif()
    exif.get_ifd(0x8825)[1] = "N"
    exif[0x010F] = "Secret Camera"
    data = encoded(photo_of(plain), "jpeg", exif=exif, comment=b"hush", xmp=b"<x:xmpmeta/>")
    data += b"<script>appended</script>"
    sent = run(data).sent
    for secret in (b"Secret", b"Exif", b"hush", b"xmpmeta", b"script"):
        assert secret in data
        assert secret not in sent.data
    assert sent.passed_through
    assert shown(sent).tobytes() == Image.open(io.BytesIO(data)).tobytes()


def photo_of(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data)).convert("RGB")


@pytest.mark.parametrize("kind", ["png", "webp", "gif"])
def test_metadata_is_cut_out_of_other_formats(kind: str) -> None:
    """Text, EXIF, XMP and comments go from every format, and the pixels stay the same."""
    options: dict[str, Any] = {"comment": b"hush"}
    if kind != "gif":
        options = {"exif": oriented(1), "xmp": b"hush"}
    if kind == "webp":
        options["lossless"] = True
    data = encoded(photo(), kind, **options) + b"hush"
    sent = run(data).sent
    assert b"hush" in data
    assert b"hush" not in sent.data
    assert sent.passed_through
    shows = shown(sent)
    assert not shows.getexif()
    assert shows.convert("RGB").tobytes() == Image.open(io.BytesIO(data)).convert("RGB").tobytes()


@pytest.mark.parametrize("number", range(1, 9))
@pytest.mark.parametrize("kind", ["jpeg", "png", "webp"])
def test_orientation_is_applied(number: int, kind: str) -> None:
    """However the camera was held, the sent picture is upright."""
    upright = Image.new("RGB", (80, 40), "white")
    ImageDraw.Draw(upright).rectangle((0, 0, 39, 19), fill="red")
    stored = upright.transpose(UNDO[number]) if number in UNDO else upright
    sent = run(encoded(stored, kind, exif=oriented(number))).sent
    assert (sent.width, sent.height) == (80, 40)
    assert close_to(colour_at(sent, 0.2, 0.2), (255, 0, 0), 16)
    assert close_to(colour_at(sent, 0.8, 0.2), (255, 255, 255), 16)
    assert close_to(colour_at(sent, 0.2, 0.8), (255, 255, 255), 16)


def test_a_picture_is_scaled_to_what_the_model_sees() -> None:
    """The size asked for is the size sent, in JPEG by way of the reduced decode too."""
    data = encoded(photo(1200, 800), "jpeg")
    sent = run(data, lambda _w, _h: (270, 180)).sent
    assert (sent.format, sent.width, sent.height) == ("jpeg", 270, 180)
    assert shown(sent).size == (270, 180)


def test_a_long_page_of_which_a_strip_is_left_is_told() -> None:
    """Scaled so far that print is lost, a picture is warned of by how much; a photo is not."""
    fit = partial(seen_size, load_rules(), "gpt-6-luna", Detail.HIGH)
    less = run(encoded(photo(300, 7500), "png", compress_level=1), fit)
    assert not any("scaled down" in warning for warning in less.warnings)
    result = run(encoded(photo(600, 15_000), "png", compress_level=1), fit)
    assert (result.sent.width, result.sent.height) == (81, 2048)
    told = "scaled down 7.3 times, to 81x2048: print is lost; cut it into parts, or let the job do"
    assert any(told in warning and "--crops" in warning for warning in result.warnings)
    assert not run(encoded(photo(4000, 3000), "jpeg"), fit).warnings


def test_scaling_counts_the_sides_that_people_see() -> None:
    """`fit` is asked with the upright size, and its answer is the upright size."""
    asked: list[tuple[int, int]] = []

    def fit(width: int, height: int) -> tuple[int, int]:
        asked.append((width, height))
        return 40, 60

    sent = run(encoded(photo(240, 160), "jpeg", exif=oriented(6)), fit).sent
    assert asked == [(160, 240)]
    assert (sent.width, sent.height) == (40, 60)


@pytest.mark.parametrize("wanted", [(1000, 1000), (0, -5)])
def test_a_picture_is_never_enlarged_nor_made_to_vanish(wanted: tuple[int, int]) -> None:
    """For any answer of `fit`, the sides stay between 1 and their own length."""
    sent = run(encoded(photo(120, 80), "jpeg"), lambda _w, _h: wanted).sent
    assert 1 <= sent.width <= 120
    assert 1 <= sent.height <= 80


def test_cmyk_keeps_its_colours() -> None:
    """A CMYK JPEG, as print shops send it, becomes the same picture in RGB."""
    data = encoded(Image.new("RGB", (64, 64), (200, 40, 30)).convert("CMYK"), "jpeg", quality=95)
    sent = run(data).sent
    assert not sent.passed_through
    assert shown(sent).mode == "RGB"
    assert close_to(colour_at(sent, 0.5, 0.5), (200, 40, 30))


@pytest.mark.parametrize("value", [0, 128, 255])
def test_sixteen_bit_grey_is_neither_black_nor_white(value: int) -> None:
    """16 bits of grey become the same grey in 8."""
    data = encoded(Image.new("I;16", (64, 64), value * 257), "png")
    assert close_to(colour_at(run(data).sent, 0.5, 0.5), (value, value, value), 1)


def test_sixteen_bit_colour_keeps_its_colours() -> None:
    """A PNG of 48 bits a pixel becomes the same picture in 24."""
    row = b"\0" + struct.pack(">HHH", 200 * 257, 100 * 257, 50 * 257) * 16
    parts = [
        (b"IHDR", struct.pack(">IIBBBBB", 16, 16, 16, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(row * 16)),
        (b"IEND", b""),
    ]
    data = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in parts
    )
    sent = run(data).sent
    assert not sent.passed_through
    assert close_to(colour_at(sent, 0.5, 0.5), (200, 100, 50), 2)


@pytest.mark.parametrize("mode", ["L", "LA", "P", "PA", "RGB", "RGBA", "1"])
@pytest.mark.parametrize("kind", ["png", "webp", "gif", "jpeg"])
def test_scaled_colours_stay(mode: str, kind: str) -> None:
    """Scaling turns no mode black: every corner keeps its colour."""
    image = Image.new("RGB", (200, 100), "white")
    ImageDraw.Draw(image).rectangle((0, 0, 99, 99), fill=(0, 0, 0) if mode == "1" else (204, 0, 51))
    before = image.convert(mode).convert("RGB")
    if kind == "jpeg" and mode not in {"L", "RGB"}:
        mode = "RGB"
    if mode == "PA":
        mode = "RGBA" if kind == "webp" else "P"
    if kind == "webp" and mode in {"1", "P"}:
        mode = "RGB"
    sent = run(encoded(before.convert(mode), kind), half).sent
    for x in (0.2, 0.8):
        wanted = before.getpixel((int(200 * x), 50))
        assert isinstance(wanted, tuple)
        assert close_to(colour_at(sent, x, 0.5), (*wanted, 255), 16)


@pytest.mark.parametrize("kind", ["png", "webp", "gif"])
def test_transparency_survives_scaling(kind: str) -> None:
    """Transparent parts stay so, and their edge takes on no colour from underneath."""
    image = Image.new("RGBA", (200, 100), (0, 0, 0, 0))
    ImageDraw.Draw(image).rectangle((0, 0, 99, 99), fill=(220, 30, 40, 255))
    data = encoded(image, kind, **({"lossless": True} if kind == "webp" else {}))
    sent = run(data, half).sent
    assert colour_at(sent, 0.9, 0.5)[3] == 0
    assert close_to(colour_at(sent, 0.1, 0.5), (220, 30, 40, 255))
    for pixel in shown(sent).convert("RGBA").get_flattened_data():
        assert isinstance(pixel, tuple)
        assert pixel[3] < 128 or pixel[0] > 200


def test_alpha_that_hides_nothing_is_dropped() -> None:
    """An opaque photo with an alpha channel costs no PNG."""
    sent = run(encoded(photo(400, 300).convert("RGBA"), "png"), half).sent
    assert shown(sent).mode == "RGB"
    assert sent.format == "webp"


def profile(kind: str) -> bytes:
    if kind == "srgb":
        return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()


def test_an_srgb_profile_is_cut_without_encoding_anew() -> None:
    """A profile that says what is assumed anyway is only metadata."""
    data = encoded(photo(), "jpeg", icc_profile=profile("srgb"))
    sent = run(data).sent
    assert sent.passed_through
    assert b"ICC_PROFILE" not in sent.data


def wide_gamut() -> bytes:
    """Return a matrix profile whose red and green have changed places: easy to recognise."""
    body = bytearray(profile("srgb"))
    count = struct.unpack_from(">I", body, 128)[0]
    for entry in range(132, 132 + 12 * count, 12):
        tag = bytes(body[entry : entry + 4])
        if tag in {b"rXYZ", b"gXYZ"}:
            body[entry : entry + 4] = b"gXYZ" if tag == b"rXYZ" else b"rXYZ"
    at = body.index("sRGB".encode("utf-16-be"))
    body[at : at + 8] = "Swap".encode("utf-16-be")
    return bytes(body)


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp"])
def test_another_profile_is_converted_to_srgb(kind: str) -> None:
    """The colours sent are those that the profile means, and the profile is not sent."""
    image = Image.new("RGB", (64, 64), (250, 10, 10))
    sent = run(encoded(image, kind, icc_profile=wide_gamut())).sent
    assert not sent.passed_through
    assert "icc_profile" not in shown(sent).info
    red, green, *_ = colour_at(sent, 0.5, 0.5)
    assert green > red + 150


@pytest.mark.parametrize("broken", [b"no profile at all", profile("lab")])
def test_a_profile_that_does_not_fit_is_ignored(broken: bytes) -> None:
    """A broken profile, or one of another colour space, changes no colour."""
    image = Image.new("RGB", (64, 64), (250, 10, 10))
    sent = run(encoded(image, "jpeg", icc_profile=broken)).sent
    assert close_to(colour_at(sent, 0.5, 0.5), (250, 10, 10))
    assert b"ICC_PROFILE" not in sent.data


def test_line_art_stays_exact_and_photos_do_not() -> None:
    """A drawing is sent as PNG; a photo is not, in any format."""
    drawing = Image.new("RGB", (400, 300), "white")
    ImageDraw.Draw(drawing).text((20, 20), "Invoice 4711", fill="black")
    assert run(encoded(drawing, "png"), half).sent.format == "png"
    assert run(encoded(photo(400, 300), "png"), half).sent.format == "webp"
    assert run(encoded(photo(400, 300), "jpeg"), half).sent.format == "jpeg"


def test_what_is_small_enough_is_not_lowered() -> None:
    """A picture within its bytes keeps its quality, and nobody is warned."""
    result = run(encoded(photo(400, 300), "jpeg", quality=95), half)
    assert (result.warnings, result.sent.width) == ((), 200)


@pytest.mark.parametrize("number", [1, 6])
def test_whatever_the_input_the_limit_on_bytes_holds(number: int) -> None:
    """A picture that grows by encoding is brought back below the limit, and the report says so."""
    data = encoded(photo(300, 200).convert("CMYK"), "jpeg", quality=8, exif=oriented(number))
    limits = ImageLimits(max_bytes=len(data))
    result = run(data, same, limits)
    assert len(result.sent.data) <= limits.max_bytes
    assert "compressed more strongly" in result.warnings[0]
    shown(result.sent)


def test_size_falls_when_quality_is_not_enough() -> None:
    """Transparent noise that nothing can hold is scaled down, and the report says to what."""
    noise = photo(300, 200)
    noise.putalpha(Image.effect_noise((300, 200), 80))
    data = encoded(noise, "webp", quality=1, alpha_quality=1, exif=oriented(6))
    result = run(data, same, ImageLimits(max_bytes=len(data)))
    assert result.sent.width < 200
    assert f"scaled down to {result.sent.width}x{result.sent.height}" in result.warnings[0]


def test_what_can_not_be_made_small_enough_is_refused() -> None:
    """Below any sensible size the answer is an error, not an endless loop."""
    checked = inspect(encoded(photo(), "jpeg"), name="a", limits=LIMITS)
    with pytest.raises(TooLarge, match="below 50 bytes"):
        encode(checked, fit=half, name="a", limits=ImageLimits(max_bytes=50))


@pytest.mark.parametrize("fit", [same, half])
def test_a_picture_is_decoded_once(
    fit: Any, monkeypatch: pytest.MonkeyPatch
) -> None:  # a function of above
    """Checking and encoding share a single decode, whether the picture passes or is scaled."""
    opened: list[str] = []
    original = Image.open

    def counting(*args: Any, **options: Any) -> Image.Image:  # Pillow's own
        opened.append("opened")
        return original(*args, **options)

    monkeypatch.setattr(Image, "open", counting)
    run(encoded(photo(), "jpeg"), fit)
    assert opened == ["opened"]


@pytest.mark.parametrize("fit", [same, half])
def test_missing_pixels_are_found_out(fit: Any) -> None:  # a function of above
    """A sound container with too few pixels inside is corrupt, also when it would pass through."""
    data = encoded(photo(300, 200), "png")
    start = data.index(b"IDAT") - 4
    body = zlib.compress(bytes(100))
    chunk = struct.pack(">I", len(body)) + b"IDAT" + body
    chunk += struct.pack(">I", zlib.crc32(b"IDAT" + body))
    end = data[data.index(b"IEND") - 4 :]
    with pytest.raises(CorruptImage, match="does not decode wholly"):
        run(data[:start] + chunk + end, fit)
