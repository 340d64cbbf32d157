"""A quote refuses no picture that a worker takes, and counts it at the size that it sees."""

from __future__ import annotations

import random
import re
from contextlib import suppress
from io import BytesIO
from typing import TYPE_CHECKING, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.fuzz_images import LIMITS, corpus, mutant
from tests.support.hostile_pictures import cheap
from visionq.contract import Animated, PictureOptions
from visionq.errors import CorruptImage, ImageError
from visionq.images.containers import FileView
from visionq.images.headers import HEAD_BYTES, Header, read_header
from visionq.images.kinds import recognise
from worker.images import inspect

if TYPE_CHECKING:
    from worker.images import CheckedImage

MOST: Final = PictureOptions(animated=Animated.FIRST_FRAME, convert=True, shrink=True)
#: Of these a quote says what is easily found; the worker asks Pillow.
CONVERTED: Final = frozenset({"bmp", "tiff", "avif", "heic"})


def header_of(data: bytes) -> Header:
    return read_header(recognise(data), BytesIO(data), len(data), data[:HEAD_BYTES])


def seen_by_worker(data: bytes) -> CheckedImage | None:
    try:
        return inspect(data, name="a", limits=LIMITS, options=MOST)
    except ImageError:
        return None


def agree(data: bytes) -> bool:
    """Assert that a quote finds the size and the frames of what the worker takes, if it does."""
    checked = seen_by_worker(data)
    if checked is None:
        return False
    header = header_of(data)
    layout = checked.layout
    assert header.kind.lower() == checked.format
    if checked.format in CONVERTED:
        # A TIFF is turned upright when it is opened.
        assert sorted((header.width, header.height)) in (
            [0, 0],
            sorted((layout.width, layout.height)),
        )
        return True
    assert (header.frames > 1) == (layout.frames > 1)
    if layout.frames == 1:
        assert (header.width, header.height) == (layout.width, layout.height)
    return True


@pytest.mark.parametrize(
    "data",
    [data for _, data in corpus()] + [hostile.data for hostile in cheap()],
)
def test_a_quote_agrees_with_the_worker(data: bytes) -> None:
    """Every form of valid and of hostile file."""
    agree(data)


def test_a_quote_agrees_with_the_worker_about_mutants() -> None:
    """Damaged files by the thousand: nothing is refused that a worker would send."""
    rng = random.Random(20261201)  # for tests
    taken = sum(agree(mutant(rng, rng.choice(corpus())[1])) for _ in range(3000))
    assert taken > 300


CONTENT: Final = bytes(random.Random(5).choices(b"\xff\x00\xd8a", k=60_000))  # likewise
PLACES: Final = st.integers(min_value=0, max_value=len(CONTENT) + 9)
PATTERN: Final = re.compile(rb"\xff([^\x00\xff])")


@given(st.lists(st.tuples(PLACES, st.integers(min_value=0, max_value=20_000)), max_size=12))
def test_a_view_is_as_the_bytes(looks: list[tuple[int, int]]) -> None:
    """Slices, single bytes and searches give what they give of the whole file in memory."""
    view = FileView(BytesIO(CONTENT), len(CONTENT), CONTENT[:HEAD_BYTES])
    for place, count in looks:
        assert view[place : place + count] == CONTENT[place : place + count]
        if place < len(CONTENT):
            assert view[place] == CONTENT[place]
        found = PATTERN.search(CONTENT, place)
        assert view.search(PATTERN, place) == (found and (found.start(), found.start(1)))
    with pytest.raises(IndexError):
        view[len(CONTENT)]


def test_a_search_ends_with_the_file() -> None:
    """Nothing is found behind a last byte, in a file cut short meanwhile, or in none."""
    for content, length in ((b"\xff" * 50_000, 50_000), (b"\xff" * 9, 9_000_000_000), (b"", 0)):
        assert FileView(BytesIO(content), length, content[:4]).search(PATTERN, 0) is None


@pytest.mark.parametrize("name", ["jpeg exif", "png exif", "webp animated", "gif animated"])
def test_a_file_cut_short_meanwhile_is_a_broken_picture(name: str) -> None:
    """A file that ends before the length that it had when it was opened."""
    data = dict(corpus())[name]
    for end in range(len(data)):
        with suppress(CorruptImage):
            read_header(recognise(data), BytesIO(data[:end]), len(data), data[:end][:HEAD_BYTES])
