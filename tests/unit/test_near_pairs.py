"""Near-duplicates of a source, counted and shown before anything is asked."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from PIL import Image

from producer.quote import near_pairs
from producer.quote.near_pairs import NearFinder, hash_of_file
from producer.quote.quote_command import quote
from producer.run.run_command import again
from producer.sources import Row
from tests.support.alike import scene, touched
from tests.support.docs_blocks import ROOT, blocks, shell_lines, visionq_arguments
from worker.images.alike import hash_of

if TYPE_CHECKING:
    from pathlib import Path

    from visionq.images.perceptual_hash import PerceptualHash

EXAMPLE = [
    visionq_arguments(line)
    for block in blocks(ROOT / "docs" / "bulk.md")
    for line in shell_lines(block)
    if "--near-page" in line
]


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three scenes, two of them twice, one of these with a small change, and a plain picture."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(3):
        scene(number).save(folder / f"{number}.png")
    scene(0, (640, 480)).save(folder / "0-large.jpg", quality=80)
    touched(scene(1)).save(folder / "1-touched.png")
    Image.new("RGB", (64, 64), "grey").save(folder / "plain.png")
    return folder


def test_the_example_of_the_page(photos: Path) -> None:
    """The quote says how many are free and which pairs differ most; the page shows them."""
    (arguments,) = EXAMPLE
    assert arguments is not None
    made = CliRunner().invoke(quote, [*arguments[1:], "--json", "--no-lookup"])
    assert made.exit_code == 0, made.output
    told = json.loads(made.stdout)
    assert (told["rows"], told["asked"], told["near"], told["stored"]) == (6, 4, 2, 0)
    assert {(pair["id"], pair["source_id"]) for pair in told["near_pairs"]} == {
        ("0.png", "0-large.jpg"),
        ("1.png", "1-touched.png"),
    }
    assert any(note.startswith("not compared with others") for note in told["notes"])
    page = (photos.parent / "near.html").read_text("utf-8")
    assert page.count("data:image/webp;base64,") == 4
    assert "<script" not in page


def test_without_near_all_are_paid(photos: Path) -> None:
    """Nothing is compared unless it was asked for."""
    made = CliRunner().invoke(quote, [str(photos), "-p", "What?", "--json", "--no-lookup"])
    assert (json.loads(made.stdout)["asked"], json.loads(made.stdout)["near"]) == (6, 0)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--near", "11"], "0<=x<=10"),
        (["--near-page", "a.html"], "--near N"),
        (["--near", "3", "--near-page", "a.txt"], ".html"),
        (["--near", "3", "--near-page", "mine.html"], "did not write this file"),
        (["--near", "3", "--reuse", "off"], "near: "),
    ],
)
def test_bad_input_is_one_line(photos: Path, options: list[str], said: str) -> None:
    """A wrong distance, page or combination is refused in one line."""
    (photos.parent / "mine.html").write_text("<p>mine</p>")
    made = CliRunner().invoke(quote, [str(photos), "-p", "What?", *options])
    assert made.exit_code != 0
    assert said in (made.output.strip() or str(made.exception)).splitlines()[-1]


def test_a_picture_of_several_rows_is_decoded_once(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A table with several questions about each picture takes no longer than one with one."""
    decoded: list[str] = []

    def hash_once(image: str) -> PerceptualHash | None:
        decoded.append(image)
        return hash_of_file(image)

    monkeypatch.setattr(near_pairs, "hash_of_file", hash_once)
    finder = NearFinder()
    names = ("0.png", "0-large.jpg", "plain.png")
    for question in ("colour", "shape"):
        for number, name in enumerate(names):
            finder.is_near(question, Row(number, f"{question}/{name}", (str(photos / name),)), 3)
    assert decoded == [str(photos / name) for name in names]
    assert (finder.found, finder.left_out) == (2, 2)


def test_both_sides_hash_alike(photos: Path) -> None:
    """The quote and workers compare the same hashes."""
    for path in (photos / "0.png", photos / "1-touched.png"):
        here = hash_of_file(str(path))
        there = hash_of(Image.open(path))
        assert here is not None
        assert there is not None
        distance = here.distance(there)
        assert distance is not None
        assert distance <= 1


def test_a_detached_run_makes_no_page() -> None:
    """The page is made before a run is detached."""
    given = [
        "s",
        "--near",
        "3",
        "--near-page",
        "a.html",
        "--first=9",
        "--near-page=b.html",
        "--yes",
    ]
    assert again(given) == ["run", "s", "--near", "3", "--yes"]
