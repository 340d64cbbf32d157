"""What the provider's list of models says, and which of its models is nearest to one it lacks."""

from __future__ import annotations

from datetime import date
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.growth import growth
from visionq.pricing.model_list import (
    ListedModels,
    nearest_model,
    parse_model_list,
    unlisted_warning,
)
from visionq.pricing.vision import load_rules

TODAY = date(2026, 12, 1)
RULES = load_rules()


def listing(*rows: Any) -> dict[str, Any]:
    return {"object": "list", "data": list(rows)}


def test_a_list_is_read() -> None:
    """Names as they are spelled, and the days on which they end, by bare name."""
    listed = parse_model_list(
        listing(
            {"id": "openai/gpt-4o", "object": "model", "shutdown_date": "2027-01-14"},
            {"id": "gpt-5.1", "shutdown_date": "2027-04-01T00:00:00Z"},
            {"id": "gpt-6-luna", "shutdown_date": None},
            {"id": "o3"},
        )
    )
    assert listed is not None
    assert listed.names == {"openai/gpt-4o", "gpt-5.1", "gpt-6-luna", "o3"}
    assert listed.ends == {"gpt-4o": date(2027, 1, 14), "gpt-5.1": date(2027, 4, 1)}
    assert "gpt-4o" in listed
    assert "openai/gpt-6-luna" in listed
    assert "gpt-4o-mini" not in listed


@pytest.mark.parametrize(
    "body", [None, [], "page", {}, {"data": None}, {"data": {}}, {"data": []}, {"detail": "no"}]
)
def test_what_is_no_list(body: object) -> None:
    """Any other answer leaves what was known as it is."""
    assert parse_model_list(body) is None


@pytest.mark.parametrize(
    "row",
    [7, None, {}, {"id": None}, {"id": 7}, {"id": "two words"}, {"id": ""}, {"id": "x" * 200}],
)
def test_rows_without_a_name_are_passed_over(row: object) -> None:
    """One odd row does not hide the others."""
    listed = parse_model_list(listing(row, {"id": "gpt-6-luna"}))
    assert listed == ListedModels(frozenset({"gpt-6-luna"}))


@pytest.mark.parametrize("day", ["soon", "", "2027", 1_800_000_000, True, [], "2027-13-01"])
def test_a_date_that_is_none(day: object) -> None:
    """The model is listed all the same, without an end."""
    listed = parse_model_list(listing({"id": "gpt-6-luna", "shutdown_date": day}))
    assert listed == ListedModels(frozenset({"gpt-6-luna"}))


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=20),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.sampled_from(["data", "id", "shutdown_date", "object"]), inner, max_size=4
            )
        ),
        max_leaves=20,
    )
)
def test_no_answer_breaks_it(body: object) -> None:
    """Any answer of a provider is a list with names or none."""
    listed = parse_model_list(body)
    assert listed is None or listed.names


@pytest.mark.parametrize(
    ("model", "names", "nearest"),
    [
        ("gpt-4o-mini", ["gpt-4o-audio", "gpt-6-luna", "gpt-5.4-mini"], "gpt-6-luna"),
        ("gpt-4o-mini", ["openai/gpt-6-luna", "openai/gpt-5.4-mini"], "openai/gpt-6-luna"),
        ("gpt-6-luna", ["gpt-5.6-luna", "gpt-6-sol", "gpt-6.1-terra"], "gpt-6-sol"),
        ("gpt-6-luna", ["gpt-5.6-luna", "gpt-6-luna-audio", "o3-deep"], "gpt-5.6-luna"),
        ("gpt-6-lunar", ["gpt-6-luna", "gpt-6-sol", "whisper-1"], "gpt-6-luna"),
        ("gpt-6-luna", ["our-model", "whisper-1"], "our-model"),
        ("gpt-6-luna", ["gpt-4.1-nano"], None),
    ],
)
def test_the_nearest_model(model: str, names: list[str], nearest: str | None) -> None:
    """The named replacement, then the family, then models that see, then names that are alike.

    A model that has ended is none of them.
    """
    assert nearest_model(model, ListedModels(frozenset(names)), RULES, TODAY) == nearest


def test_the_nearest_model_is_found_in_time() -> None:
    """However long the list, and whether each of its models ends: the time grows with it alone."""

    def search(count: int) -> object:
        names = [f"gpt-6-{number}-2026-11-30" for number in range(count)]
        listed = ListedModels(frozenset(names), dict.fromkeys(names, date(2027, 1, 1)))
        return nearest_model("gpt-6-luna", listed, RULES, TODAY)

    assert growth((count, partial(search, count)) for count in (300, 1200, 4800)) is None


def test_what_is_said() -> None:
    """One line names both; nothing is reported of a model that is there, or without a list."""
    listed = ListedModels(frozenset({"gpt-5.6-luna"}))
    assert unlisted_warning("gpt-6-luna", listed, RULES, TODAY) == (
        "the provider does not list gpt-6-luna; the nearest model that it lists is gpt-5.6-luna"
    )
    assert unlisted_warning("gpt-5.6-luna", listed, RULES, TODAY) is None
    assert unlisted_warning("gpt-6-luna", None, RULES, TODAY) is None
