"""docs/provider.md tells what the workers do: its tables are those that they decide by."""

from __future__ import annotations

import pytest

from scripts.generate_provider import PAGE, page
from visionq.settings import Settings
from worker.provider.refusal_rules import REFUSALS, TABLE

TEXT = PAGE.read_text("utf-8")


def test_the_tables_are_those_of_the_code() -> None:
    """A row that is added, moved or changed is on the page: run scripts/generate_provider.py."""
    assert page(TEXT) == TEXT


def test_the_refusals_are_those_of_the_code() -> None:
    """The page names the statuses with which nothing is billed."""
    *first, last = map(str, sorted(REFUSALS))
    assert f"The refusals are {', '.join(first)} and {last}." in TEXT


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.error.code)
def test_a_missing_row_is_noticed(row: object) -> None:
    """The comparison is of every row: each error of the table gets by its code."""
    assert f"| `{row.error.code}` |" in TEXT  # type: ignore[attr-defined]  # it is a Row


@pytest.mark.parametrize(
    "name",
    ["request_timeout", "share_answers", "answer_ttl"],
)
def test_settings_are_named_as_they_are(name: str) -> None:
    """The settings that the page explains exist."""
    assert name in Settings.model_fields
    assert f"VISIONQ_{name.upper()}" in TEXT
