from __future__ import annotations

import base64
import io
import struct
import zlib
from functools import cache

import pytest
from PIL import Image

from visionq.devstack.sample_pictures import SamplePicture, sample_pictures
from visionq.devstack.simulator.refusals import SimulatedRefusal
from visionq.devstack.simulator.seen_pictures import SeenPicture, bytes_of, look

LIMIT = 20_000_000
#: What the provider says to the samples that can't be sent.
CODES = {
    "animated_image": "invalid_image_format",
    "not_an_image": "invalid_image_format",
    "unsupported_format": "invalid_image_format",
    "empty_file": "empty_image_file",
    "corrupt_image": "image_parse_error",
}


@cache
def samples() -> dict[str, SamplePicture]:
    return {sample.name: sample for sample in sample_pictures()}


def saved(image: Image.Image, form: str) -> bytes:
    target = io.BytesIO()
    image.save(target, form)
    return target.getvalue()


def code_of(refusal: SimulatedRefusal) -> str:
    assert refusal.status == 400
    assert refusal.body["error"]["type"] == "invalid_request_error"
    return str(refusal.body["error"]["code"])


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_every_mode_of_png_is_seen(mode: str) -> None:
    """Size and colour are read from any way to keep pixels."""
    facts = look(saved(Image.new(mode, (31, 17)), "PNG"), "p")
    assert (facts.width, facts.height) == (31, 17)
    assert facts.colour == ("#ffffff" if mode in {"LA", "RGBA"} else "#000000")


def test_dominant_colour_is_the_larger_part_not_the_mean() -> None:
    """Two thirds of red beside blue are red, exactly."""
    image = Image.new("RGB", (300, 100), (200, 30, 60))
    image.paste((0, 0, 255), (0, 0, 100, 100))
    assert look(saved(image, "PNG"), "p") == SeenPicture(300, 100, "#c81e3c")


@pytest.mark.parametrize("form", ["JPEG", "WEBP", "GIF", "PNG"])
def test_colour_survives_every_format(form: str) -> None:
    """The colour of a large plain picture is right within what the format loses."""
    facts = look(saved(Image.new("RGB", (1200, 800), (30, 160, 90)), form), "p")
    found = [int(facts.colour[start : start + 2], 16) for start in (1, 3, 5)]
    assert all(abs(a - b) <= 3 for a, b in zip(found, (30, 160, 90), strict=True))
    assert facts.size == "1200x800"


def test_size_is_as_sent() -> None:
    """Orientation in the metadata is not looked at: the provider does not see metadata."""
    assert look(samples()["lighthouse-turned.jpg"].content, "p").size == "640x480"


def test_samples_are_seen_or_refused() -> None:
    """Each sample is what it says: a picture that can be seen, or one with its code."""
    for sample in samples().values():
        if sample.refused_as is None:
            assert look(sample.content, "p").width >= 320
            continue
        with pytest.raises(SimulatedRefusal) as caught:
            look(sample.content, "p")
        assert code_of(caught.value) == CODES[sample.refused_as], sample.name


def test_samples_are_the_same_every_time() -> None:
    """Drawing the samples again gives the same bytes, small enough to send by the thousand."""
    assert {sample.name: sample for sample in sample_pictures()} == samples()
    assert max(len(sample.content) for sample in samples().values()) < 60_000


@pytest.mark.parametrize("cut", [1, 100, 2000])
@pytest.mark.parametrize("name", ["sunset.jpg", "table.png", "sailing.webp", "balloon.gif"])
def test_cut_pictures_are_never_answered(name: str, cut: int) -> None:
    """A file without its end is refused as damaged, however little is missing of its pixels."""
    content = samples()[name].content[: -(cut + 40)]
    with pytest.raises(SimulatedRefusal) as caught:
        look(content, "p")
    assert code_of(caught.value) in {"image_parse_error", "invalid_image_format"}


def test_too_many_pixels_are_refused_undecoded() -> None:
    """A small file that would decode to a huge picture is refused by its header."""
    content = bytearray(saved(Image.new("1", (8, 8)), "PNG"))
    content[16:24] = struct.pack(">II", 16_000, 16_000)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    with pytest.raises(SimulatedRefusal) as caught:
        look(bytes(content), "p")
    assert code_of(caught.value) == "image_too_large"


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("data:image/png;base64,@@@@", "invalid_base64_image"),
        ("data:image/png;base64,iVBORw0KGg", "invalid_base64_image"),
        ("data:image/png,plain", "invalid_base64_image"),
        ("data:image/png;base64", "invalid_base64_image"),
        ("data:text/plain;base64,aGk=", "unsupported_image_media_type"),
        ("data:image/heic;base64,aGk=", "unsupported_image_media_type"),
    ],
)
def test_data_urls_that_are_none(url: str, code: str) -> None:
    """Broken base64 and other media types are refused with the provider's code."""
    with pytest.raises(SimulatedRefusal) as caught:
        bytes_of(url, "input[0].content[1].image_url", LIMIT)
    assert code_of(caught.value) == code
    assert caught.value.body["error"]["param"] == "input[0].content[1].image_url"


def test_data_url_gives_its_bytes_up_to_the_limit() -> None:
    """A picture of exactly the limit passes; one byte more does not."""
    head = "data:image/jpeg;base64,"
    assert bytes_of(head + base64.b64encode(b"x" * 99).decode(), "p", 99) == b"x" * 99
    for size in (100, 5000):
        with pytest.raises(SimulatedRefusal) as caught:
            bytes_of(head + base64.b64encode(b"x" * size).decode(), "p", 99)
        assert code_of(caught.value) == "image_file_too_large"
