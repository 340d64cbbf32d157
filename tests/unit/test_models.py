"""When models end, and when operators learn it."""

from __future__ import annotations

import datetime as dt

import pytest

from visionq.pricing.models import end_of, load_model_ends, warning_for
from visionq.pricing.prices import load_prices
from visionq.pricing.vision import load_rules
from visionq.settings import Settings

END = dt.date(2027, 1, 14)


@pytest.mark.parametrize(
    ("model", "day"),
    [
        ("gpt-4o-mini", END),
        ("openai/gpt-4o-mini-2024-07-18", END),
        ("gpt-4o-2024-08-06", END),
        ("gpt-4o-2024-05-13", dt.date(2026, 10, 23)),
        ("gpt-5-mini", dt.date(2026, 12, 11)),
        ("gpt-5.1", dt.date(2027, 4, 1)),
        ("gpt-5.4-nano", dt.date(2027, 4, 1)),
        ("gpt-5.4-mini", None),
        ("gpt-5.4", None),
        ("gpt-5.6-sol", None),
        ("gpt-4o-audio", None),
    ],
)
def test_announced_dates(model: str, day: dt.date | None) -> None:
    """A snapshot ends on its own date if it has one, else with its model."""
    end = end_of(model)
    assert (end.on if end else None) == day


def test_the_providers_date_is_preferred() -> None:
    """The provider's list goes before the table, for the model's snapshots as well."""
    listed = {"gpt-4o": dt.date(2027, 3, 1), "gpt-6-luna": dt.date(2028, 1, 1)}
    for model, day in (
        ("gpt-4o", dt.date(2027, 3, 1)),
        ("openai/gpt-4o-2024-08-06", dt.date(2027, 3, 1)),
        ("gpt-4o-2024-05-13", dt.date(2026, 10, 23)),
        ("gpt-4o-mini", END),
        ("gpt-6-luna", dt.date(2028, 1, 1)),
    ):
        end = end_of(model, listed)
        assert end is not None
        assert end.on == day
    moved = end_of("gpt-4o", listed)
    assert moved is not None
    assert (moved.source, moved.replacement) == ("the provider's list of models", "gpt-6-luna")


def test_the_replacement_is_named() -> None:
    """A warning names the model that the provider names; it has a price, rules and no end."""
    warning = warning_for("gpt-4o-mini", dt.date(2026, 12, 1))
    assert warning is not None
    assert warning.endswith("; use gpt-6-luna")
    for row in load_model_ends().shutdowns:
        if row.replacement is not None:
            assert end_of(row.replacement) is None
            assert load_prices().for_model(row.replacement) is not None
            assert load_rules().family_of(row.replacement) is not None


def test_the_default_model_lives() -> None:
    """Nobody is led to a model that ends within months."""
    model = Settings.model_fields["default_model"].default
    assert end_of(model) is None
    assert load_prices().for_model(model) is not None


@pytest.mark.parametrize(
    ("days_before", "words"),
    [
        (91, None),
        (90, "shuts down in 90 days, on 2027-01-14"),
        (1, "shuts down in 1 day, on 2027-01-14"),
        (0, "was announced to shut down on 2027-01-14"),
        (-30, "was announced to shut down on 2027-01-14"),
    ],
)
def test_warnings(days_before: int, words: str | None) -> None:
    """People are warned from 90 days before the end, in other words from the day itself."""
    warning = warning_for("gpt-4o-mini", END - dt.timedelta(days=days_before))
    if words is None:
        assert warning is None
    else:
        assert warning is not None
        assert warning.startswith(f"model gpt-4o-mini {words} (")


def test_no_warning_without_a_date() -> None:
    """A model without an announced end is not warned about, however late it is."""
    assert warning_for("gpt-5.6-luna", dt.date(2050, 1, 1)) is None


def test_rows_are_dated() -> None:
    """Each date names its source and the day on which it was read."""
    assert all(row.source and row.date for row in load_model_ends().shutdowns)
