"""Long pictures cut into crops by the worker: the pixels of each, regardless of the file."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from tests.support.pictures import encoded
from visionq.contract import Animated, Detail, PictureOptions
from visionq.crops import crop_boxes
from visionq.errors import PictureRejected, TooLarge, TooManyPixels
from visionq.pricing.vision import load_rules, seen_size
from worker.images import ImageLimits, encode_as_seen, inspect

if TYPE_CHECKING:
    from worker.images import EncodedImage

RULES = load_rules()
LIMITS = ImageLimits()
MODEL, DETAIL = "gpt-4o", Detail.HIGH
#: Becomes two crops.
PAGE = (600, 4000)


def page(size: tuple[int, int] = PAGE) -> Image.Image:
    """Return something that differs everywhere, with sharp edges."""
    grey = Image.linear_gradient("L").resize(size)
    picture = Image.merge("RGB", (grey, grey.transpose(Image.Transpose.ROTATE_180), grey))
    draw = ImageDraw.Draw(picture)
    for step in range(0, max(size), 40):
        draw.rectangle((step % size[0], step % size[1], step % size[0] + 30, step % size[1] + 12))
        if size[1] > size[0]:
            draw.rectangle((20, step, 200, step + 15), fill=(step % 256, 60, 90))
        else:
            draw.rectangle((step, 20, step + 15, 200), fill=(step % 256, 60, 90))
    return picture


def run(
    data: bytes, limits: ImageLimits = LIMITS, model: str = MODEL, **options: Any
) -> tuple[EncodedImage, ...]:
    asked = PictureOptions(crops=True, **options)
    checked = inspect(data, name="a", limits=limits, options=asked)
    return encode_as_seen(
        checked, rules=RULES, model=model, detail=DETAIL, name="a", limits=limits, options=asked
    )


def shown(sent: EncodedImage) -> Image.Image:
    picture = Image.open(io.BytesIO(sent.data))
    assert picture.size == (sent.width, sent.height)
    return picture.convert("RGBA")


def difference(one: Image.Image, other: Image.Image) -> float:
    """Return by how much pixels differ on average, of 255."""
    pairs = ImageChops.difference(one.convert("RGB"), other.convert("RGB")).convert("L")
    return sum(value * count for value, count in enumerate(pairs.histogram())) / (
        one.width * one.height
    )


def expected(picture: Image.Image) -> list[Image.Image]:
    """Return the crops as anybody would make them."""
    crops = [picture.crop(box) for box in crop_boxes(RULES, MODEL, DETAIL, *picture.size)]
    return [
        crop.resize(seen_size(RULES, MODEL, DETAIL, *crop.size), Image.Resampling.LANCZOS)
        for crop in crops
    ]


def files() -> dict[str, tuple[bytes, dict[str, Any], Image.Image]]:
    """Return file, options and what people see of it, by a name."""
    tall, wide = page(), page((4000, 600))
    turned = Image.Exif()
    turned[0x0112] = 6
    sideways = tall.transpose(Image.Transpose.ROTATE_90)
    clear = tall.convert("RGBA")
    clear.putalpha(Image.linear_gradient("L").resize(PAGE))
    white = Image.new("RGB", PAGE, "white")
    white.paste(clear, mask=clear.getchannel("A"))
    frames: dict[str, Any] = {"save_all": True, "append_images": [tall.rotate(180)]}
    deep = Image.new("I;16", PAGE)
    deep.paste(tall.convert("L").convert("I").point(lambda value: value * 257), (0, 0))
    return {
        "png": (encoded(tall, "png"), {}, tall),
        "wide png": (encoded(wide, "png"), {}, wide),
        "jpeg": (encoded(tall, "jpeg", quality=95), {}, tall),
        "turned jpeg": (encoded(sideways, "jpeg", quality=95, exif=turned), {}, tall),
        "turned png": (encoded(sideways, "png", exif=turned), {}, tall),
        "bmp": (encoded(tall, "bmp"), {"convert": True}, tall),
        "tiff": (encoded(tall, "tiff", compression="tiff_lzw"), {"convert": True}, tall),
        "avif": (encoded(tall, "avif", quality=95, speed=10), {"convert": True}, tall),
        "16 bits": (encoded(deep, "png"), {}, tall.convert("L")),
        "first frame": (
            encoded(tall, "webp", lossless=True, **frames),
            {"animated": Animated.FIRST_FRAME},
            tall,
        ),
        "flattened": (encoded(clear, "png"), {"flatten": True}, white),
        "shrunk": (encoded(tall, "png"), {"shrink": True}, tall),
    }


def test_crops_show_the_picture_in_order() -> None:
    """Of every kind of file each crop shows its part, upright, in the size that the model sees."""
    for name, (data, options, picture) in files().items():
        sent = run(data, **options)
        for one, other in zip(sent, expected(picture), strict=True):
            assert (one.width, one.height) == other.size, name
            assert difference(shown(one), other) < 6, name
            assert not one.passed_through, name
            assert one.warnings == (), name
        assert len(sent) == 2, name


def test_transparency_is_kept_in_crops() -> None:
    """A crop is as transparent as its part of the picture."""
    clear = page().convert("RGBA")
    clear.putalpha(Image.linear_gradient("L").resize(PAGE))
    first, last = (shown(one).getchannel("A").tobytes() for one in run(encoded(clear, "png")))
    assert (min(first), max(last)) == (0, 255)
    assert max(first) < 160
    assert min(last) > 95


def test_unscaled_crops_are_the_pixels_themselves() -> None:
    """If the model scales nothing, a crop in PNG is its part of the file to the last bit."""
    picture = Image.new("RGB", (200, 3800), "white")
    draw = ImageDraw.Draw(picture)
    for step in range(0, 3800, 100):
        draw.rectangle((step % 90, step, step % 90 + 60, step + 50), fill=(step % 256, 0, 0))
    boxes = crop_boxes(RULES, MODEL, DETAIL, *picture.size)
    assert boxes == ((0, 0, 200, 2000), (0, 1800, 200, 3800))
    for one, box in zip(run(encoded(picture, "png")), boxes, strict=True):
        assert one.format == "png"
        assert difference(shown(one), picture.crop(box)) == 0


@pytest.mark.parametrize("size", [(400, 300), (600, 1500), (300, 2000)])
def test_what_needs_no_crops_passes_as_it_is(size: tuple[int, int]) -> None:
    """With the option on, a picture that fits is sent byte for byte."""
    data = encoded(page(size), "png")
    (sent,) = run(data)
    assert (sent.data, sent.passed_through) == (data, True)


def test_advice_is_for_the_picture() -> None:
    """A blank end of a page is no fault of it; a page that is blank all over is one."""
    half = Image.new("RGB", PAGE, "white")
    half.paste(page((600, 1000)))
    assert not [told for one in run(encoded(half, "png")) for told in one.warnings]
    blank = encoded(Image.new("RGB", PAGE, "white"), "png")
    assert [one.warnings != () for one in run(blank)] == [True, False]
    with pytest.raises(PictureRejected, match=r"pictures\.blank"):
        run(blank, blank="reject")
    soft = page().filter(ImageFilter.GaussianBlur(20))
    assert any("blurred" in told for told in run(encoded(soft, "png"))[0].warnings)


def test_crops_keep_within_the_bytes_of_a_request() -> None:
    """Crops that together are more than one request takes are refused before the last is made."""
    with pytest.raises(TooLarge, match="its crops are more than 9,000 bytes in base64"):
        run(encoded(page(), "jpeg"), replace(LIMITS, max_request_bytes=9_000))


def test_crops_keep_within_the_memory_of_a_decode() -> None:
    """A JPEG beyond it is decoded smaller and cut then, with a warning; a PNG is refused."""
    small = replace(LIMITS, max_decode_bytes=10_000_000)
    sent = run(encoded(page(), "jpeg", quality=95), small)
    assert "more would need too much memory" in sent[0].warnings[0]
    for one, other in zip(sent, expected(page()), strict=True):
        assert one.height < other.height
        assert one.width / one.height == pytest.approx(other.width / other.height, rel=0.01)
        assert difference(shown(one), other.resize((one.width, one.height))) < 12
    with pytest.raises(TooManyPixels, match="MB of memory"):
        run(encoded(page(), "png"), small)


def test_too_many_crops_name_the_picture() -> None:
    """A picture that would take too many is refused before it is decoded, by its name."""
    with pytest.raises(TooManyPixels, match="more than 32 crops") as caught:
        run(encoded(Image.new("L", (100, 100_000)), "png"))
    assert caught.value.image == "a"
