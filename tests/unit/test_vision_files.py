"""An operator's own rules: taken whole, or refused with the place that is wrong."""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING

import pytest

from visionq.contract import Detail
from visionq.pricing.vision import image_tokens, load_rules
from visionq.settings import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

TEXT = (resources.files("visionq.data") / "vision.toml").read_text(encoding="utf-8")


def line_of(text: str, words: str) -> int:
    return text[: text.index(words)].count("\n") + 1


def test_own_rules(tmp_path: Path) -> None:
    """A changed copy of the file changes the forecast."""
    own = tmp_path / "vision.toml"
    own.write_text(TEXT.replace("base_tokens = 2833", "base_tokens = 1000"), encoding="utf-8")
    assert image_tokens(load_rules(own), "gpt-4o-mini", Detail.LOW, 9, 9) == 1000


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("base_tokens = 2833", "base_tokens = -1", "family 12 (gpt-4o-mini): base_tokens: must"),
        ("base_tokens = 2833", "base_tokns = 2833", "family 12 (gpt-4o-mini): base_tokens: miss"),
        ('multiplier = "1.5"', 'multiplier = "x"', "family 8 (gpt-5-nano): multiplier: must"),
        ("max_images = 1500", "max_images = 0", "request.max_images: must be more than 0"),
        ('auto = "high"', 'auto = "highest"', "unknown.auto: must be "),
        ("high = { max_side = 2048 }", "high = { max_size = 9 }", "unknown.high.max_side: missing"),
        ('models = ["gpt-5.5"]', "models = []", "family 3 (gpt-5.5): models: must not"),
        ('models = ["gpt-5.5"]', 'models = ["gpt-4o"]', "gpt-4o is listed twice"),
        ('kind = "tile"', 'kind = "mosaic"', "family 11 (gpt-4o): 'mosaic' is not"),
    ],
)
def test_wrong_values_are_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    """A wrong value is refused, naming the file, the row and the field."""
    own = tmp_path / "vision.toml"
    own.write_text(TEXT.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ConfigurationError) as raised:
        load_rules(own)
    assert str(own) in str(raised.value)
    assert f": {message}" in str(raised.value)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("base_tokens = 2833", "base_tokens = -1"),
        ("max_images = 1500", "max_images = 0"),
        ("high = { max_side = 2048 }", "high = { max_side = 0 }"),
        ('multiplier = "1.5"', 'multiplier = "0"'),
        ("date = 2026-09-15", 'date = "soon"'),
        ("max_images = 1500", "max_images 1500"),
    ],
)
def test_wrong_lines_are_named(tmp_path: Path, old: str, new: str) -> None:
    """The message has the line of the wrong value, whether it breaks TOML or the rules."""
    own = tmp_path / "vision.toml"
    text = TEXT.replace(old, new, 1)
    own.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigurationError, match=rf"line {line_of(text, new)}\b"):
        load_rules(own)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            'auto = "original"',
            'auto = "original"\nbase_tokens = 1',
            "base_tokens: there is no such",
        ),
        ("original = { max_side = 65_535 }\n", "", "auto is original, which the row does not have"),
        ("max_patches = 30_000", "max_patches = 2000", "max_side 65535 exceeds max_patches"),
        ("max_patches = 2500", "short_side = 768", "are for tile models"),
    ],
)
def test_rules_that_contradict_themselves(tmp_path: Path, old: str, new: str, message: str) -> None:
    """Rules that no size could follow, or of the other kind of model, are refused."""
    own = tmp_path / "vision.toml"
    own.write_text(TEXT.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ConfigurationError, match=message):
        load_rules(own)


def test_no_such_file(tmp_path: Path) -> None:
    """A file that is not there, is a folder or is no text is named."""
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match="absent: can't be read: No such file"):
        load_rules(tmp_path / "absent")
    with pytest.raises(ConfigurationError, match="can't be read: Is a directory"):
        load_rules(tmp_path)
    with pytest.raises(ConfigurationError, match="binary: not a text in UTF-8"):
        load_rules(binary)
