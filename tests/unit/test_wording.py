"""One of a thing is not several."""

from __future__ import annotations

import pytest

from visionq.wording import counted


@pytest.mark.parametrize(
    ("count", "noun", "plural", "said"),
    [
        (0, "job", None, "0 jobs"),
        (1, "job", None, "1 job"),
        (1234, "job", None, "1,234 jobs"),
        (1, "not known", "not known", "1 not known"),
        (2, "batch", "batches", "2 batches"),
    ],
)
def test_counts(count: int, noun: str, plural: str | None, said: str) -> None:
    """A noun follows its count, and large counts are grouped."""
    assert counted(count, noun, plural) == said
