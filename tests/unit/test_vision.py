"""What models see and count: the provider's own examples, and what must hold for any size."""

from __future__ import annotations

from itertools import pairwise
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visionq.contract import Detail
from visionq.pricing.vision import (
    PATCH,
    AnyFamily,
    PatchFamily,
    forecast_text_tokens,
    image_tokens,
    load_rules,
    most_image_tokens,
    most_text_tokens,
    seen_size,
)

RULES = load_rules()
MODELS = [model for family in RULES.families for model in family.models]
PATCH_MODELS = [m for m in MODELS if isinstance(RULES.family_of(m), PatchFamily)]

sizes = st.integers(1, 12_000) | st.integers(1, 70_000)
small = st.integers(1, 2048)
models = st.sampled_from([*MODELS, "a-model-of-2031"])
details = st.sampled_from(Detail)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((512, 512), (255, 8500, 210, 308, 415, 308)),
        ((1024, 1024), (765, 25501, 630, 1229, 1659, 1229)),
        ((1920, 1080), (1105, 36835, 910, 2448, 3305, 2448)),
        ((4000, 3000), (765, 25501, 630, 2942, 4977, 14100)),
        ((2000, 768), (1445, 48169, 1190, 1815, 2450, 1815)),
    ],
)
def test_worked_examples(size: tuple[int, int], expected: tuple[int, ...]) -> None:
    """The tokens of well-known sizes are those worked out from the provider's guide."""
    models = ("gpt-4o", "gpt-4o-mini", "gpt-5.1", "gpt-5.4", "gpt-4.1-mini", "gpt-5.6-sol")
    details = (*[Detail.HIGH] * 5, Detail.AUTO)
    found = tuple(image_tokens(RULES, m, d, *size) for m, d in zip(models, details, strict=True))
    assert found == expected


@pytest.mark.parametrize(
    ("model", "tokens"), [("gpt-4o", 85), ("gpt-4o-mini", 2833), ("gpt-5.1", 70), ("o3", 75)]
)
def test_low_on_tile_models(model: str, tokens: int) -> None:
    """A tile model at low detail counts its base alone, regardless of the size."""
    for size in ((1, 1), (512, 512), (8000, 6000)):
        assert image_tokens(RULES, model, Detail.LOW, *size) == tokens
    assert most_image_tokens(RULES, model, Detail.LOW) == tokens


def test_the_guides_2048_square() -> None:
    """A 2048 pixel square on gpt-5.4 high comes down to 2,500 patches, 3,000 tokens."""
    assert seen_size(RULES, "gpt-5.4", Detail.HIGH, 2048, 2048) == (1600, 1600)
    assert image_tokens(RULES, "gpt-5.4", Detail.HIGH, 2048, 2048) == 3000


def test_the_guides_portrait_at_1536_patches() -> None:
    """1800 by 2400 pixels at a budget of 1,536 patches become 33 by 44 patches."""
    family = RULES.family_of("gpt-4.1-mini")
    assert isinstance(family, PatchFamily)
    older = family.high.model_copy(update={"max_patches": 1536})
    rules = RULES.model_copy(update={"families": (family.model_copy(update={"high": older}),)})
    assert seen_size(rules, "gpt-4.1-mini", Detail.HIGH, 1800, 2400) == (33 * PATCH, 44 * PATCH)
    assert image_tokens(rules, "gpt-4.1-mini", Detail.HIGH, 1920, 1080) == 2443
    assert image_tokens(rules, "gpt-4.1-mini", Detail.HIGH, 4000, 3000) == 2353


@pytest.mark.parametrize(
    ("model", "detail", "size", "seen"),
    [
        ("gpt-4o-mini", Detail.LOW, (1024, 512), (512, 256)),
        ("gpt-4o-mini", Detail.AUTO, (4000, 3000), (1024, 768)),
        ("gpt-4o-mini", Detail.AUTO, (8000, 1000), (2048, 256)),
        ("gpt-4o-mini", Detail.ORIGINAL, (4000, 3000), (1024, 768)),
        ("gpt-5.4", Detail.LOW, (4000, 3000), (2048, 1536)),
        ("gpt-5.4", Detail.AUTO, (4000, 3000), (1824, 1368)),
        ("gpt-5.4", Detail.ORIGINAL, (4000, 3000), (3669, 2752)),
        ("gpt-5.5", Detail.AUTO, (12_000, 1000), (6000, 500)),
        ("gpt-5.6-luna", Detail.AUTO, (6000, 4000), (6000, 4000)),
        ("gpt-5.6-luna", Detail.AUTO, (8000, 8000), (5536, 5536)),
        ("gpt-5.6-luna", Detail.AUTO, (70_000, 10), (65_535, 9)),
        ("a-model-of-2031", Detail.AUTO, (4000, 3000), (2048, 1536)),
        ("a-model-of-2031", Detail.LOW, (4000, 3000), (512, 384)),
    ],
)
def test_what_is_sent(
    model: str, detail: Detail, size: tuple[int, int], seen: tuple[int, int]
) -> None:
    """A picture is scaled as its model and detail say, to whole pixels."""
    assert seen_size(RULES, model, detail, *size) == seen


@pytest.mark.parametrize(
    ("model", "auto"),
    [
        ("gpt-4o-mini", Detail.HIGH),
        ("gpt-5.4-mini", Detail.HIGH),
        ("gpt-5.5", Detail.ORIGINAL),
        ("gpt-5.6-terra", Detail.ORIGINAL),
    ],
)
def test_auto_is_a_fixed_rule(model: str, auto: Detail) -> None:
    """`auto` is one of the other levels, which one depends on the model."""
    for size in ((100, 100), (3000, 5000)):
        assert seen_size(RULES, model, Detail.AUTO, *size) == seen_size(RULES, model, auto, *size)


@pytest.mark.parametrize(
    ("model", "family"),
    [
        ("gpt-4o-mini-2024-07-18", "gpt-4o-mini"),
        ("openai/gpt-4o-mini", "gpt-4o-mini"),
        ("gpt-4o", "gpt-4o"),
        ("gpt-4.1", "gpt-4o"),
        ("gpt-5-mini-2025-08-07", "gpt-5-mini"),
        ("gpt-4.5-preview-2025-02-27", "gpt-4o"),
        ("gpt-5.6-sol", "gpt-5.6"),
        ("gpt-6.2-astra", "gpt-6"),
        ("gpt-5.6", None),
        ("gpt-4o-audio-preview", None),
        ("gpt-4oo", None),
        ("gpt-5.4-pro", None),
        ("anthropic/gpt-4o", None),
        ("", None),
    ],
)
def test_names(model: str, family: str | None) -> None:
    """A snapshot or a vendor prefix leads to its model, a variant never to a shorter name."""
    found = RULES.family_of(model)
    assert (found.name if found else None) == family


def test_an_unknown_model_is_forecast_at_the_dearest() -> None:
    """An unknown model counts what the dearest known one counts for the same picture."""
    for detail in Detail:
        for size in ((1, 1), (500, 500), (1000, 2000), (2048, 2048)):
            dearest = max(image_tokens(RULES, model, detail, *size) for model in MODELS)
            if detail != Detail.LOW:
                assert image_tokens(RULES, "a-model-of-2031", detail, *size) == dearest
        assert most_image_tokens(RULES, "a-model-of-2031", detail) == max(
            most_image_tokens(RULES, model, detail) for model in MODELS
        )


def test_most_tokens() -> None:
    """The reserve for an unseen picture is the worst that the model can count."""
    assert most_image_tokens(RULES, "gpt-4o-mini", Detail.AUTO) == 48_169
    assert most_image_tokens(RULES, "gpt-5.4", Detail.HIGH) == 3000
    assert most_image_tokens(RULES, "gpt-5.5", Detail.AUTO) == 12_000
    assert most_image_tokens(RULES, "gpt-5.6-sol", Detail.AUTO) == 36_000
    assert most_image_tokens(RULES, "gpt-4.1-mini", Detail.AUTO) == 6636


@given(models, details, sizes, sizes)
def test_never_enlarged(model: str, detail: Detail, width: int, height: int) -> None:
    """No side grows, and none vanishes."""
    seen_width, seen_height = seen_size(RULES, model, detail, width, height)
    assert 1 <= seen_width <= width
    assert 1 <= seen_height <= height


@given(models, details, sizes, sizes)
def test_aspect_is_kept(model: str, detail: Detail, width: int, height: int) -> None:
    """The shorter side is within two pixels of where the longer one puts it."""
    seen = seen_size(RULES, model, detail, width, height)
    if width < height:
        width, height, seen = height, width, (seen[1], seen[0])
    assert abs(seen[1] - height * seen[0] / width) < 2


@given(models, details, sizes, sizes)
def test_sending_the_seen_size_changes_nothing(
    model: str, detail: Detail, width: int, height: int
) -> None:
    """The downscaled picture is seen as it is, and counts exactly the tokens of the original."""
    seen = seen_size(RULES, model, detail, width, height)
    assert seen_size(RULES, model, detail, *seen) == seen
    tokens = image_tokens(RULES, model, detail, width, height)
    assert image_tokens(RULES, model, detail, *seen) == tokens


@given(models, details, sizes, sizes)
def test_no_picture_exceeds_the_reserve(
    model: str, detail: Detail, width: int, height: int
) -> None:
    """Every picture counts at least a token and at most what is reserved for an unseen one."""
    tokens = image_tokens(RULES, model, detail, width, height)
    assert 0 < tokens <= most_image_tokens(RULES, model, detail)


@given(models, details, sizes, sizes)
def test_turning_a_picture_turns_what_is_seen(
    model: str, detail: Detail, width: int, height: int
) -> None:
    """Width and height are treated alike."""
    turned = seen_size(RULES, model, detail, height, width)
    assert turned == seen_size(RULES, model, detail, width, height)[::-1]


@given(st.sampled_from(PATCH_MODELS), small, small, st.integers(0, 500))
def test_more_pixels_are_never_cheaper_within_the_limits(
    model: str, width: int, height: int, more: int
) -> None:
    """If a patch model scales nothing down, a longer side costs as much or more."""
    longer = min(2048, width + more)
    less = image_tokens(RULES, model, Detail.ORIGINAL, width, height)
    if seen_size(RULES, model, Detail.ORIGINAL, longer, height) == (longer, height):
        assert less <= image_tokens(RULES, model, Detail.ORIGINAL, longer, height)


@given(models, st.integers(1, 64), st.integers(1, 64), details)
def test_a_larger_copy_of_a_square_is_never_cheaper(
    model: str, side: int, factor: int, detail: Detail
) -> None:
    """Squares cost as much or more as they grow, on every model and level."""
    smaller = image_tokens(RULES, model, detail, side, side)
    assert smaller <= image_tokens(RULES, model, detail, side * factor, side * factor)


@given(sizes, sizes)
def test_patch_budgets_hold(width: int, height: int) -> None:
    """A picture within a budget of patches covers no more of them than that."""
    seen_width, seen_height = seen_size(RULES, "gpt-5.4", Detail.HIGH, width, height)
    assert -(-seen_width // PATCH) * -(-seen_height // PATCH) <= 2500
    assert max(seen_width, seen_height) <= 2048


@pytest.mark.parametrize(
    ("model", "size", "seen", "tokens"),
    [
        ("anthropic/claude-haiku-4-5", (1000, 1000), (1000, 1000), 1334),
        ("anthropic/claude-haiku-4-5", (200, 200), (200, 200), 54),
        ("anthropic/claude-haiku-4-5", (4000, 400), (1568, 156), 327),
        ("anthropic/claude-haiku-4-5-20251001", (4032, 3024), (1264, 948), 1598),
        ("anthropic/claude-opus-4-8", (4032, 3024), (2187, 1640), 4783),
        ("anthropic/claude-sonnet-5-5", (4032, 3024), (2000, 1500), 4000),
        ("google/gemini-2.5-flash", (384, 384), (384, 384), 258),
        ("google/gemini-2.5-flash", (385, 100), (385, 100), 258),
        ("google/gemini-2.5-flash", (769, 768), (769, 768), 516),
        ("google/gemini-2.5-flash-001", (4032, 3024), (3072, 2304), 12 * 258),
        ("google/gemini-3.8-flash", (4032, 3024), (3072, 2304), 1120),
        ("google/gemini-3.8-flash", (10, 10), (10, 10), 1120),
    ],
)
def test_pictures_of_other_vendors(
    model: str, size: tuple[int, int], seen: tuple[int, int], tokens: int
) -> None:
    """Claude counts the area, Gemini the tiles, or the same for each; none takes a `detail`."""
    for detail in Detail:
        assert seen_size(RULES, model, detail, *size) == seen
        assert image_tokens(RULES, model, detail, *size) == tokens


def test_the_limits_of_a_model() -> None:
    """A row may allow less in one request than the provider does, and never more."""
    claude, luna = RULES.request_of("anthropic/claude-haiku-4-5"), RULES.request_of("gpt-6-luna")
    assert (claude.max_images, claude.max_base64_bytes) == (100, 5_000_000)
    assert luna == RULES.request == RULES.request_of("a-model-of-2031")


def test_no_size_is_no_picture() -> None:
    """A side of nothing is refused rather than counted."""
    with pytest.raises(ValueError, match="0 by 5 pixels"):
        image_tokens(RULES, "gpt-4o", Detail.HIGH, 0, 5)


def test_rows_are_dated() -> None:
    """Every family says where it comes from, and all kinds are present."""
    assert all(family.source and family.date.year >= 2026 for family in RULES.families)
    assert {type(family) for family in RULES.families} == set(get_args(AnyFamily))


def test_the_rules_are_read_once() -> None:
    """The default rules are one object."""
    assert load_rules() is load_rules()


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", 0),
        ("Что", 1),
        ("Что изображено на картинке?", 1 + 3 + 1 + 2 + 1),
        ("What is in this picture?", 1 + 1 + 1 + 1 + 2 + 1),
        ("1234567", 3),
        ('{"a": 1}', 1 + 1 + 1 + 1 + 1),
        ("日本", 2),
        ("🙂", 2),
        ("Дом\n\nлиц", 1 + 1 + 1),
        ("    x", 2),
    ],
)
def test_text_forecast(text: str, tokens: int) -> None:
    """Texts are counted by the runs that the docstring names."""
    assert forecast_text_tokens(text) == tokens


@given(st.text(), st.text())
def test_text_forecast_is_bounded(first: str, second: str) -> None:
    """A text never costs more than its bytes, and lines of text cost what they cost apart."""
    assert forecast_text_tokens(first) <= most_text_tokens(first)
    first, second = first.strip(), second.strip()
    together = forecast_text_tokens(first + "\n" + second)
    assert together == forecast_text_tokens(first) + 1 + forecast_text_tokens(second)


def test_longer_prompts_cost_more() -> None:
    """Growing a Russian prompt never lowers its forecast."""
    prompt = "Опишите товар на снимке: цвет, материал, состояние — по 5 слов."
    counts = [forecast_text_tokens(prompt[:end]) for end in range(len(prompt) + 1)]
    assert all(before <= after for before, after in pairwise(counts))
