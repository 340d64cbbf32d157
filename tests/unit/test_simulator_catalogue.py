from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visionq.contract import Detail
from visionq.devstack.simulator.model_catalogue import (
    Counted,
    TooManyPatchesError,
    UnsupportedDetailError,
    load_catalogue,
)
from visionq.pricing.vision import image_tokens, load_rules

if TYPE_CHECKING:
    from pathlib import Path

CATALOGUE = load_catalogue()
RULES = load_rules()


@pytest.mark.parametrize(
    ("model", "width", "height", "detail", "tokens"),
    [
        ("gpt-4o", 3000, 2000, "low", 85),
        ("gpt-4o-mini", 10, 10, "low", 2833),
        ("gpt-5.1", 10, 10, "low", 70),
        ("gpt-4o", 512, 512, "high", 255),
        ("gpt-4o", 1024, 1024, "high", 765),
        ("gpt-4o", 1920, 1080, "auto", 1105),
        ("gpt-4o", 4000, 3000, "auto", 765),
        ("gpt-4o", 2000, 768, "high", 1445),
        ("gpt-4o-mini", 512, 512, "high", 8500),
        ("gpt-4o-mini", 1024, 1024, "auto", 25_501),
        ("gpt-4o-mini", 1920, 1080, "high", 36_835),
        ("gpt-4o-mini", 768, 2000, "high", 48_169),
        ("gpt-5.1", 1920, 1080, "high", 910),
        ("gpt-5.4", 1024, 1024, "high", 1229),
        ("gpt-5.4", 2048, 2048, "high", 3000),
        ("gpt-5.4-mini", 1920, 1080, "auto", 2448),
        ("gpt-5.4", 4000, 3000, "high", 2942),
        ("gpt-4.1-mini", 512, 512, "low", 415),
        ("gpt-4.1-mini", 4000, 3000, "high", 4977),
        ("gpt-4.1-mini", 2000, 768, "auto", 2450),
        ("gpt-5.6-luna", 4000, 3000, "auto", 14_100),
        ("gpt-5.6-luna", 512, 512, "original", 308),
    ],
)
def test_worked_examples(model: str, width: int, height: int, detail: str, tokens: int) -> None:
    """The examples worked out from the guide of September 2026 come out to the token."""
    assert CATALOGUE.tokens(model, width, height, detail) == tokens


def test_snapshots_count_as_their_model_and_variants_do_not() -> None:
    """A dated name is the model it is a snapshot of; a variant without a row is unknown."""
    assert CATALOGUE.knows("gpt-4o-mini-2024-07-18")
    assert CATALOGUE.tokens("gpt-4o-2024-08-06", 10, 10, "low") == 85
    assert CATALOGUE.price("gpt-4o-mini-2024-07-18") == CATALOGUE.price("gpt-4o-mini")
    assert not CATALOGUE.knows("gpt-4o-nonsense")


def test_levels_that_a_model_lacks_are_named() -> None:
    """`original` on a model without it raises, with the levels that there are."""
    with pytest.raises(UnsupportedDetailError) as caught:
        CATALOGUE.tokens("gpt-4o-mini", 10, 10, "original")
    assert caught.value.args[0] == ("low", "high", "auto")


def test_pictures_of_too_many_patches_are_refused() -> None:
    """Above thirty thousand patches a model that scales nothing takes no picture."""
    with pytest.raises(TooManyPatchesError):
        CATALOGUE.tokens("gpt-5.6-luna", 8000, 8000, "original")


def test_prices_are_exact() -> None:
    """A call costs its tokens times the price of a million, to the last digit."""
    assert CATALOGUE.price("gpt-4o-mini").of(Counted(25_501, 9)) == Decimal("0.995934")


def test_what_is_cached_tiers_and_long_prompts() -> None:
    """Tokens read and written have prices of their own; tiers and long prompts multiply."""
    price = CATALOGUE.price("gpt-6-luna")
    counted = Counted(input=3000, output=10, read=1000, written_30m=600, written_12h=400)
    rub = (1000 * 258 + 1000 * Decimal("25.8") + 1000 * Decimal("322.5") + 10 * 1290) / 10**7
    assert price.of(counted) == rub
    assert price.of(counted, "flex") == rub / 2
    assert price.of(counted, "fast") == rub * 2
    long = Counted(input=272_001, output=10)
    assert price.of(long) == (2 * 272_001 * Decimal("25.8") + 15 * 129) / 10**6


def test_own_price_table_brings_its_models(tmp_path: Path) -> None:
    """A model that only the operator's table has is known, and counts the most that any does."""
    path = tmp_path / "prices.toml"
    path.write_text('[[price]]\nmodel = "gpt-9"\ninput = "1.5"\noutput = "2"\n')
    catalogue = load_catalogue(path)
    assert catalogue.knows("gpt-9")
    assert catalogue.price("gpt-9").input == Decimal("1.5")
    assert catalogue.tokens("gpt-9", 2000, 768, "high") == 48_169
    assert catalogue.price("gpt-4o").output == 2


SIDES = st.integers(1, 10_000)


@given(st.sampled_from(sorted(CATALOGUE.families)), st.sampled_from(Detail), SIDES, SIDES)
def test_two_readings_of_the_rules_agree(
    model: str, detail: Detail, width: int, height: int
) -> None:
    """The product's forecast for a picture that a model takes is what this code bills."""
    try:
        billed = CATALOGUE.tokens(model, width, height, detail.value)
    except (UnsupportedDetailError, TooManyPatchesError):
        return
    assert image_tokens(RULES, model, detail, width, height) == billed
