"""What a job may ask to be done with its pictures."""

from __future__ import annotations

import io
from typing import Any

import pytest
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter

from tests.support.pictures import encoded, half, same
from tests.support.prepare_picture import PreparedImage, prepare
from visionq.contract import Animated, PictureOptions, Policy
from visionq.errors import (
    AnimatedImage,
    PictureRejected,
    TooLarge,
    TooManyPixels,
    UnsupportedFormat,
)
from worker.images import ImageLimits

LIMITS = ImageLimits()
FIRST = PictureOptions(animated=Animated.FIRST_FRAME)
CONVERT = PictureOptions(convert=True)
LOOKED_AT = ("blur", "blank", "dark", "tiny")


def scene(width: int = 640, height: int = 480) -> Image.Image:
    """Return something sharp, colourful and bright."""
    picture = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(picture)
    for step in range(0, width, 32):
        draw.rectangle(
            (step, step % height, step + 20, step % height + 24), fill=(step % 256, 80, 30)
        )
    draw.text((20, 20), "Invoice 4711", fill="black")
    return picture


def run(
    data: bytes, options: PictureOptions, fit: Any = same, limits: ImageLimits = LIMITS
) -> PreparedImage:
    return prepare(data, name="a", limits=limits, fit=fit, options=options)


def pixel(result: PreparedImage, x: float, y: float) -> tuple[int, ...]:
    opened = Image.open(io.BytesIO(result.sent.data)).convert("RGBA")
    found = opened.getpixel((int(opened.width * x), int(opened.height * y)))
    assert isinstance(found, tuple)
    return found


# Animations ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["gif", "webp", "png"])
@pytest.mark.parametrize("fit", [same, half])
def test_first_frame_of_an_animation(kind: str, fit: Any) -> None:
    """With `first_frame` the first frame is sent, still, and the report says so."""
    frames = [Image.new("RGB", (80, 60), colour) for colour in ("red", "green", "blue")]
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], duration=100)
    with pytest.raises(AnimatedImage):
        run(data, PictureOptions())
    result = run(data, FIRST, fit)
    assert pixel(result, 0.5, 0.5)[:2] > (240, 0)
    assert "the first of 3 frames is sent" in result.warnings
    assert getattr(Image.open(io.BytesIO(result.sent.data)), "n_frames", 1) == 1


def test_all_frames_together_are_bounded() -> None:
    """An animation of many large frames is refused also where one frame would do."""
    frames = [Image.new("RGB", (80, 60), colour) for colour in ("red", "green", "blue")]
    data = encoded(frames[0], "gif", save_all=True, append_images=frames[1:], duration=100)
    with pytest.raises(TooManyPixels, match="3 frames"):
        run(data, FIRST, limits=ImageLimits(max_frame_pixels=80 * 60 * 3 - 1))


# Conversion ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["bmp", "tiff", "avif"])
def test_other_formats_are_converted(kind: str) -> None:
    """With `convert` formats that the provider refuses are sent in one that it takes."""
    data = encoded(scene(), kind)
    with pytest.raises(UnsupportedFormat, match=r"pictures\.convert"):
        run(data, PictureOptions())
    result = run(data, CONVERT, half)
    assert (result.source.format, result.sent.width, result.sent.height) == (kind, 320, 240)
    assert result.sent.format in {"png", "jpeg", "webp"}
    assert pixel(result, 0.9, 0.1)[:3] > (240, 240, 240)


@pytest.mark.parametrize("number", [1, 3, 6, 8])
def test_a_converted_tiff_stands_upright(number: int) -> None:
    """The orientation of a TIFF is applied once, however it is stored."""
    undo = {
        6: Image.Transpose.ROTATE_90,
        3: Image.Transpose.ROTATE_180,
        8: Image.Transpose.ROTATE_270,
    }
    upright = Image.new("RGB", (80, 40), "white")
    ImageDraw.Draw(upright).rectangle((0, 0, 39, 19), fill="red")
    stored = upright.transpose(undo[number]) if number in undo else upright
    result = run(encoded(stored, "tiff", tiffinfo={0x0112: number}), CONVERT)
    assert (result.sent.width, result.sent.height) == (80, 40)
    assert pixel(result, 0.2, 0.2)[:3] == (255, 0, 0)
    assert pixel(result, 0.8, 0.8)[:3] == (255, 255, 255)


def test_pages_of_a_tiff_are_frames() -> None:
    """A document of several pages is not silently cut to its first."""
    data = encoded(scene(), "tiff", save_all=True, append_images=[Image.new("RGB", (64, 48))])
    with pytest.raises(AnimatedImage):
        run(data, CONVERT)
    assert run(data, PictureOptions(convert=True, animated=Animated.FIRST_FRAME)).sent.width == 640


@pytest.mark.parametrize("kind", ["ppm", "ico", "jpeg2000"])
def test_what_is_not_read_safely_stays_refused(kind: str) -> None:
    """Conversion opens the door to three formats, not to every decoder that there is."""
    with pytest.raises(UnsupportedFormat):
        run(encoded(scene(64, 64), kind), CONVERT)


# Large originals ----------------------------------------------------------------------------------


def test_a_large_original_is_shrunk_first() -> None:
    """With `shrink` a file above the provider's limit is brought below it."""
    data = encoded(scene(), "bmp")
    options = PictureOptions(convert=True, shrink=True)
    limits = ImageLimits(max_bytes=100_000, max_original_bytes=len(data))
    with pytest.raises(TooLarge, match=r"pictures\.shrink"):
        run(data, CONVERT, limits=limits)
    assert len(run(data, options, limits=limits).sent.data) <= 100_000
    too_much = ImageLimits(max_bytes=100_000, max_original_bytes=len(data) - 1)
    with pytest.raises(TooLarge):
        run(data, options, limits=too_much)


def test_the_limit_holds_for_base64_too() -> None:
    """A picture stays below the limit as it is and in base64, which is a third longer."""
    noise = Image.effect_noise((300, 200), 90)
    data = encoded(noise, "png")
    assert run(data, PictureOptions()).sent.data == data
    limits = ImageLimits(max_bytes=len(data), max_base64_bytes=len(data))
    sent = run(data, PictureOptions(), limits=limits).sent
    assert len(sent.data) * 4 / 3 <= len(data)


# Transparency -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["png", "webp", "gif"])
@pytest.mark.parametrize("fit", [same, half])
def test_transparency_goes_on_white(kind: str, fit: Any) -> None:
    """With `flatten` what was transparent is white, and nothing turns black."""
    image = Image.new("RGBA", (200, 100), (0, 0, 0, 0))
    ImageDraw.Draw(image).rectangle((0, 0, 99, 99), fill=(220, 30, 40, 255))
    data = encoded(image, kind, **({"lossless": True} if kind == "webp" else {}))
    result = run(data, PictureOptions(flatten=True), fit)
    assert pixel(result, 0.9, 0.5) == (255, 255, 255, 255)
    assert pixel(result, 0.2, 0.5)[0] > 200


def test_an_opaque_picture_still_passes() -> None:
    """`flatten` is no reason to encode again what has no transparency."""
    data = encoded(scene(), "png")
    assert run(data, PictureOptions(flatten=True)).sent.data == data


# Advice -------------------------------------------------------------------------------------------


def spoiled(fault: str) -> Image.Image:
    match fault:
        case "blur":
            return scene().filter(ImageFilter.GaussianBlur(6))
        case "blank":
            return Image.new("RGB", (640, 480), (200, 210, 205))
        case "dark":
            return ImageEnhance.Brightness(scene()).enhance(0.1)
    return scene().resize((64, 20))


@pytest.mark.parametrize("fit", [same, half])
@pytest.mark.parametrize("kind", ["png", "jpeg"])
@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("blur", "blurred: sharpness"),
        ("blank", "blank: contrast"),
        ("dark", "too dark"),
        ("tiny", "too small"),
    ],
)
def test_what_a_person_could_not_use_is_told(fault: str, words: str, kind: str, fit: Any) -> None:
    """Each fault is reported with its figure, refused on demand, and skipped where it is off."""
    data = encoded(spoiled(fault), kind)
    warnings = run(data, PictureOptions(), fit).warnings
    told = [warning for warning in warnings if words in warning]
    assert told
    assert any(character.isdigit() for character in told[0])
    with pytest.raises(PictureRejected, match=words) as caught:
        run(data, PictureOptions.model_validate({fault: "reject"}), fit)
    assert caught.value.image == "a"
    off = PictureOptions.model_validate(dict.fromkeys(LOOKED_AT, "off"))
    assert run(data, off, fit).warnings == ()


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "gif"])
@pytest.mark.parametrize("fit", [same, half])
def test_a_good_picture_has_no_warnings(kind: str, fit: Any) -> None:
    """A sharp, bright picture passes with the strictest policies."""
    strict = PictureOptions.model_validate(dict.fromkeys(LOOKED_AT, "reject"))
    assert run(encoded(scene(), kind), strict, fit).warnings == ()


def test_a_large_palette_picture_is_looked_at() -> None:
    """A picture whose mode can't be averaged is judged all the same, and passes through."""
    data = encoded(scene(2000, 1600).convert("P"), "png")
    result = run(data, PictureOptions())
    assert (result.sent.data, result.warnings) == (data, ())


def test_a_soft_background_is_no_blur() -> None:
    """A picture is as sharp as its sharpest part."""
    soft = Image.linear_gradient("L").resize((640, 480)).convert("RGB")
    soft.paste(scene(200, 150), (400, 300))
    assert run(encoded(soft, "png"), PictureOptions()).warnings == ()


def test_policies_by_default() -> None:
    """A check that only the model can make is off; a free one warns."""
    options = PictureOptions()
    assert options.asked_of_model == ()
    assert {options.policy(name) for name in LOOKED_AT} == {Policy.WARN}
