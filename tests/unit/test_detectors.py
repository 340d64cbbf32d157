"""Local detectors: found by their entry points, and never in the way of a job."""

from __future__ import annotations

import io
import shutil
from importlib.metadata import EntryPoint
from typing import Any

import pytest
from PIL import Image, ImageDraw, ImageFont

from visionq import detectors
from visionq.contract import PictureOptions, Policy
from visionq.detectors import GROUP, load_detectors
from visionq.errors import PictureRejected
from visionq.settings import ConfigurationError
from worker.picture_detectors import judge, make

needs_tesseract = pytest.mark.skipif(shutil.which("tesseract") is None, reason="no tesseract here")


class Finds:
    def __init__(self, requirement: str, found: str | Exception | None) -> None:
        self.requirement = requirement
        self.found = found

    def find(self, picture: bytes) -> str | None:
        assert picture == b"picture"
        if isinstance(self.found, Exception):
            raise self.found
        return self.found


def make_logo() -> Finds:
    return Finds("logo", None)


def make_other() -> Finds:
    return Finds("colour", None)


@pytest.fixture
def offered(monkeypatch: pytest.MonkeyPatch) -> None:
    def points(**_: Any) -> list[EntryPoint]:
        return [
            EntryPoint("logo", f"{__name__}:make_logo", GROUP),
            EntryPoint("other", f"{__name__}:make_other", GROUP),
            EntryPoint("gone", "no_such_module:make", GROUP),
        ]

    monkeypatch.setattr(detectors, "entry_points", points)


def options(**policies: str) -> PictureOptions:
    return PictureOptions.model_validate(policies)


def test_what_is_found_is_told_or_refused() -> None:
    """The policy decides whether a finding is reported, refused or not looked for."""
    detector = Finds("text", "text in the picture: SALE")
    assert judge([b"picture"], options(text="warn"), [detector], name="a") == (detector.found,)
    assert judge([b"picture"], options(), [detector], name="a") == ()
    with pytest.raises(PictureRejected, match="SALE") as caught:
        judge([b"picture"], options(text="reject"), [detector], name="a")
    assert (caught.value.image, caught.value.text) == ("a", None)
    assert judge([b"picture"], options(text="reject"), [Finds("text", None)], name="a") == ()


def test_a_detector_that_fails_is_told() -> None:
    """A detector that breaks costs no job; that it did not look is never dropped."""
    broken = Finds("text", RuntimeError("out of order"))
    assert judge([b"picture"], options(text="reject"), [broken], name="a") == (
        "not looked at for text: RuntimeError",
    )


@pytest.mark.usefixtures("offered")
def test_detectors_are_found_by_name() -> None:
    """A detector of any distribution is used where the operator names it."""
    (found,) = load_detectors(["logo"])
    assert found.requirement == "logo"
    assert load_detectors([]) == ()


@pytest.mark.usefixtures("offered")
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("missing", "there is: gone, logo, other"),
        ("gone", "can't be loaded"),
        ("other", "judges colour"),
    ],
)
def test_a_detector_that_can_not_be_used_is_named(name: str, words: str) -> None:
    """The worker does not start with a detector that does not work, and says which."""
    with pytest.raises(ConfigurationError, match=words):
        load_detectors([name])


def page(*lines: str) -> bytes:
    picture = Image.new("RGB", (640, 320), "white")
    for row, line in enumerate(lines):
        ImageDraw.Draw(picture).text((30, 40 + 60 * row), line, "black", ImageFont.load_default(36))
    target = io.BytesIO()
    picture.save(target, "PNG")
    return target.getvalue()


@needs_tesseract
def test_ocr_reads_two_alphabets() -> None:
    """Text in English and in Russian is found, and the first words are reported."""
    pytest.importorskip("pytesseract")
    detector = make()
    assert detector.requirement in PictureOptions.model_fields
    found = detector.find(page("Invoice number 4711", "Total amount due"))
    assert found is not None
    assert "Invoice" in found


@needs_tesseract
def test_ocr_finds_nothing_where_there_is_nothing() -> None:
    """Plain and noisy pictures without a letter are not called text."""
    pytest.importorskip("pytesseract")
    detector = make()
    assert detector.find(page()) is None
    noise = io.BytesIO()
    Image.effect_noise((320, 240), 60).convert("RGB").save(noise, "JPEG")
    assert detector.find(noise.getvalue()) is None


def test_ocr_without_tesseract(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the program the message says what to install."""
    pytesseract = pytest.importorskip("pytesseract")
    monkeypatch.setattr(pytesseract.pytesseract, "tesseract_cmd", "/nowhere/tesseract")
    with pytest.raises(ConfigurationError, match="tesseract-ocr-rus"):
        make()


def test_policies_are_words() -> None:
    """The policies of a job are the three words of the contract."""
    assert [policy.value for policy in Policy] == ["off", "warn", "reject"]
