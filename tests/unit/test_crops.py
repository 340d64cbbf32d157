"""How long pictures are cut: what must hold for every size and model, and what is counted."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from visionq.cache_key import cache_key
from visionq.contract import Detail, JobDocument, parse_job
from visionq.crops import (
    LONGEST_WHOLE,
    MOST_CROPS,
    MOST_REDUCTION,
    OVERLAP,
    Box,
    check_count,
    crop_boxes,
    cropped_tokens,
    crops_note,
)
from visionq.errors import InvalidJob, TooManyPixels
from visionq.pricing.vision import image_tokens, load_rules, seen_size

RULES = load_rules()
MODELS = [model for family in RULES.families for model in family.models]

models = st.sampled_from([*MODELS, "a-model-of-2031"])
details = st.sampled_from(Detail)
sides = st.integers(1, 6_000)
long_sides = st.integers(1, 70_000)


def sizes_of(boxes: tuple[Box, ...]) -> list[tuple[int, int]]:
    return [(right - left, low - top) for left, top, right, low in boxes]


def is_scaled_within(model: str, detail: Detail, size: tuple[int, int], most: Fraction) -> bool:
    """Return whether a picture is scaled down no more than that, but for the last pixel."""
    return max(size) <= most * (max(seen_size(RULES, model, detail, *size)) + 1)


def most_reduction(model: str, detail: Detail, short: int) -> Fraction:
    """Return the promise of the documentation: 1.5, or what a screen of that width is scaled."""
    screen = int(LONGEST_WHOLE * short)
    return max(
        MOST_REDUCTION, Fraction(screen, max(seen_size(RULES, model, detail, short, screen)))
    )


@given(model=models, detail=details, short=sides, long=long_sides, turned=st.booleans())
def test_crops_cover_overlap_and_can_be_read(
    model: str, detail: Detail, short: int, long: int, *, turned: bool
) -> None:
    """Every pixel is in a crop, neighbours share a tenth, few are cut, none is scaled too far."""
    assume(long >= short)
    width, height = (long, short) if turned else (short, long)
    try:
        boxes = crop_boxes(RULES, model, detail, width, height)
    except TooManyPixels:
        shortest = -(-OVERLAP * long // ((OVERLAP - 1) * MOST_CROPS + 1))
        most = most_reduction(model, detail, short)
        assert not is_scaled_within(model, detail, (short, shortest), most)
        return
    most = most_reduction(model, detail, short)
    if not boxes:
        whole = is_scaled_within(model, detail, (width, height), most)
        assert long <= LONGEST_WHOLE * short or whole
        return
    assert 1 < len(boxes) <= MOST_CROPS
    assert len(set(sizes_of(boxes))) == 1
    assert is_scaled_within(model, detail, sizes_of(boxes)[0], most)
    assert (boxes[0][:2], boxes[-1][2:]) == ((0, 0), (width, height))
    axis = 0 if turned else 1
    length = boxes[0][2 + axis]
    assert all(box[1 - axis] == 0 and box[3 - axis] == short for box in boxes)
    for one, following in pairwise(boxes):
        assert one[axis] < following[axis]
        assert one[2 + axis] - following[axis] >= length // OVERLAP
    # One fewer would not do.
    fewer = -(-OVERLAP * long // ((OVERLAP - 1) * (len(boxes) - 1) + 1))
    assert not is_scaled_within(model, detail, (short, fewer), most)


@given(model=models, detail=details, short=sides, long=long_sides)
def test_crops_count_what_they_are(model: str, detail: Detail, short: int, long: int) -> None:
    """The forecast is the sum over the crops, or that of the picture where it is sent whole."""
    assume(long >= short)
    try:
        sizes = sizes_of(crop_boxes(RULES, model, detail, short, long)) or [(short, long)]
    except TooManyPixels:
        return
    tokens = sum(image_tokens(RULES, model, detail, *size) for size in sizes)
    assert cropped_tokens(RULES, model, detail, short, long) == tokens
    assert cropped_tokens(RULES, model, detail, long, short) == tokens


@pytest.mark.parametrize(
    ("model", "size", "crop", "count"),
    [
        ("gpt-4o", (600, 15_000), (600, 2728), 6),
        ("gpt-4o", (15_000, 600), (2728, 600), 6),
        ("gpt-5.4", (1080, 15_000), (1080, 2728), 6),
        # Wider than the model sees: as far scaled as a photo of that width.
        ("gpt-4o", (3000, 30_000), (3000, 6522), 5),
    ],
)
def test_long_pages(model: str, size: tuple[int, int], crop: tuple[int, int], count: int) -> None:
    """Pages of which a strip would be sent become a few crops in their full width."""
    boxes = crop_boxes(RULES, model, Detail.HIGH, *size)
    assert sizes_of(boxes) == [crop] * count


@pytest.mark.parametrize("size", [(4000, 3000), (1080, 2400), (2532, 1170), (600, 1400), (8, 8)])
def test_photos_and_screens_are_sent_whole(size: tuple[int, int]) -> None:
    """Phone photos and screenshots are cut for no model at any detail."""
    assert not any(crop_boxes(RULES, m, d, *size) for m in MODELS for d in Detail)


def test_too_many_crops_are_refused() -> None:
    """A picture that would take more than there may be is refused with the way out, and named."""
    with pytest.raises(TooManyPixels, match=r"300x100000 .* 32 crops for gpt-4o at high") as caught:
        crop_boxes(RULES, "gpt-4o", Detail.HIGH, 300, 100_000, name="a.png")
    assert "pictures.crops" in caught.value.message
    assert caught.value.image == "a.png"


def test_crops_count_as_pictures_of_the_request() -> None:
    """More than the provider takes in one request are refused; crops are reported as such."""
    limits = RULES.request.model_copy(update={"max_images": 8})
    check_count(limits, 8, 8)
    with pytest.raises(InvalidJob, match="images: 9 pictures, the provider takes 8 at a time"):
        check_count(limits, 9, 9)
    with pytest.raises(InvalidJob, match="images: 2 pictures, 12 with their crops, the provider"):
        check_count(limits, 2, 12)


def test_the_model_is_told_what_belongs_together() -> None:
    """A sentence for each picture that is cut numbers what is sent; others have none."""
    note = "are overlapping crops of one picture, in order."
    assert crops_note([3]) == f"Pictures 1 to 3 {note}"
    assert crops_note([1, 2, 1, 4]) == f"Pictures 2 to 3 {note} Pictures 5 to 8 {note}"
    assert crops_note([1, 1]) == crops_note([]) == ""


def _job(**options: object) -> JobDocument:
    return parse_job(
        {
            "prompt": "Что изображено?",
            "images": [{"url": "https://example.com/a.png"}],
            "model": "gpt-4o",
            "max_output_tokens": 300,
            "pictures": {"flatten": True, **options},
        }
    )


def test_answers_that_are_stored_are_still_found() -> None:
    """The option changes the key of a question; a job without it keeps the one of before."""
    before = "4eacd7cee6d18698bf665739fd05e7fe637428d0c3bd81c88f816def1b1ad697"
    assert cache_key(_job(), ["0" * 64]) == before
    assert cache_key(_job(crops=False), ["0" * 64]) == before
    assert cache_key(_job(crops=True), ["0" * 64]) != before
