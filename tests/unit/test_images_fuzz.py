"""Damaged pictures, a few thousand; `python -m tests.support.fuzz_images 100000` tries more."""

from __future__ import annotations

import pytest

from tests.support.fuzz_images import LIMITS, corpus, fates, run


def test_mutants_end_in_a_picture_or_a_code() -> None:
    """No mutant raises another error than ours, and most get past the detection of their type."""
    report = run(1500)
    print(report)  # noqa: T201  # the figures, shown by -s
    assert report.past_header >= 0.3
    assert report.codes["sent"] > 100
    assert report.slowest < 5


@pytest.mark.long
@pytest.mark.timeout(900)
def test_many_mutants() -> None:
    """A hundred thousand mutants of another seed find nothing either."""
    report = run(100_000, seed=7)
    print(report)  # noqa: T201  # likewise
    assert report.past_header >= 0.3


@pytest.mark.parametrize(("name", "data"), corpus(), ids=[name for name, _ in corpus()])
def test_the_corpus_is_valid(name: str, data: bytes) -> None:
    """The files that mutants are made of are sent where the job's options allow it."""
    assert "sent" in set(fates(data)), name
    assert len(data) < LIMITS.max_bytes
