"""Figures of a comparison: bounded, symmetric, and with intervals that keep what they promise."""

from __future__ import annotations

import math
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producer.compare.measures import (
    difference,
    f1,
    item,
    jaccard,
    label_scores,
    mean,
    mean_score,
    normalised,
    rows_needed,
    share,
    similarity,
    within,
)

SCORES = st.lists(st.floats(0, 1), min_size=1, max_size=30)
ITEMS = st.lists(st.sampled_from("abcde"), max_size=8)


@given(st.integers(0, 400), st.integers(1, 400))
def test_a_share_lies_within_its_interval(hits: int, n: int) -> None:
    """Wilson's interval holds the share, stays between 0 and 1, and is its own mirror image."""
    hits = min(hits, n)
    found, mirrored = share(hits, n), share(n - hits, n)
    assert found.value is not None
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert found.low == pytest.approx(1 - mirrored.high)
    assert found.low < found.high
    more = share(hits * 4, n * 4)
    assert more.high - more.low < found.high - found.low


def test_wilson_as_published() -> None:
    """The textbook's figures: 0 of 10, and 81 of 263 (Newcombe 1998)."""
    assert share(0, 10).high == pytest.approx(0.2775, abs=5e-5)
    assert share(81, 263).low == pytest.approx(0.2553, abs=5e-5)
    assert share(81, 263).high == pytest.approx(0.3662, abs=5e-5)
    assert share(0, 0).value is None


@pytest.mark.parametrize("true", [0.05, 0.5, 0.93])
def test_a_share_keeps_its_promise(true: float) -> None:
    """Of a thousand samples of fifty about 95 % have intervals that hold the truth."""
    random = Random(7)
    samples = [share(sum(random.random() < true for _ in range(50)), 50) for _ in range(1000)]
    held = sum(one.low <= true <= one.high for one in samples)
    assert 920 <= held <= 990


@given(SCORES, st.integers(0, 9))
def test_a_mean_lies_within_its_interval(scores: list[float], seed: int) -> None:
    """The same values and the same seed give the same interval, within the values."""
    found = mean(scores, Random(seed))
    assert found == mean(scores, Random(seed))
    assert found.value is not None
    assert found.value == pytest.approx(math.fsum(scores) / len(scores))
    assert min(scores) - 1e-9 <= found.low <= found.value <= found.high <= max(scores) + 1e-9


def test_a_mean_keeps_its_promise() -> None:
    """Of a hundred samples of fifty at least 86 % have intervals that hold the true mean."""
    random = Random(3)
    held = 0
    for _ in range(100):
        found = mean([random.betavariate(4, 1) for _ in range(50)], random)
        held += found.low <= 0.8 <= found.high
    assert held >= 86


def test_perfect_scores_are_a_share() -> None:
    """Fifty scores of 1 don't promise that all others are 1."""
    assert mean_score([1.0] * 50, Random(0)).low == share(50, 50).low < 0.94
    alike = mean_score([0.5] * 50, Random(0))
    assert alike.low < 0.48
    assert 0.52 < alike.high < 0.55
    assert mean([], Random(0)).n == 0


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40))
def test_a_difference_turns_its_sign(pairs: list[tuple[bool, bool]]) -> None:
    """Exchanging the sides changes the sign alone; no difference is still not a certain one."""
    one, other = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    found, turned = difference(one, other), difference(other, one)
    assert found.value is not None
    assert found.value == pytest.approx(-(turned.value or 0))
    assert -1 <= found.low <= found.value <= found.high <= 1
    assert found.low == pytest.approx(-turned.high)
    assert found.high == pytest.approx(-turned.low)
    same = difference(one, one)
    assert (same.value, same.low) == (0, -same.high)
    assert same.high > 0


def test_a_difference_keeps_its_promise() -> None:
    """Of a thousand samples of fifty at least 93 % hold the truth; two rows are never enough."""
    random = Random(11)
    held = 0
    for _ in range(1000):
        one = [random.random() < 0.8 for _ in range(50)]
        other = [hit or random.random() < 0.5 for hit in one]
        found = difference(one, other)
        held += found.low <= 0.1 <= found.high
    assert held >= 930
    assert difference([False] * 2, [True] * 2).low < 0


@given(ITEMS, ITEMS)
def test_likeness_of_lists(one: list[str], other: list[str]) -> None:
    """Both measures are symmetric, 1 of the same items in any order, 0 without common ones."""
    for measure in (f1, jaccard):
        found = measure(one, other)
        assert 0 <= found <= 1
        assert found == measure(other, one)
        assert (found == 1) == (sorted(one) == sorted(other))
        assert (found == 0) == (not set(one) & set(other) and bool(one or other))
    assert jaccard(one, other) <= f1(one, other)


@given(st.text(), st.text())
def test_likeness_of_texts(one: str, other: str) -> None:
    """Case, marks and spaces make no other text, in any script."""
    assert similarity(one, other) == similarity(other, one)
    assert similarity(one, f"  {one}!") == 1
    assert normalised(normalised(one)) == normalised(one)


def test_texts_as_people_read_them() -> None:
    """Words in common count, their order does not."""
    assert similarity("Жёлтая куртка, новая.", "новая жёлтая Куртка") == 1
    assert similarity("a red jacket", "a blue jacket") == pytest.approx(2 / 3)
    assert item(" Red ") == item("red")
    assert len({item(label) for label in ("<10", ">10", "-10", "10")}) == 4
    assert item(3.0) == item(3)
    assert item({"b": 1, "a": 2}) == item({"a": 2, "b": 1})


@given(st.floats(-1e6, 1e6), st.floats(0, 1e3))
def test_numbers_within_a_tolerance(number: float, tolerance: float) -> None:
    """A number agrees with itself, and with others up to the tolerance."""
    assert within(number, number, 0, 0)
    assert within(number, number + tolerance, tolerance, 0)
    assert not within(number, number + 2 * tolerance + 1, tolerance, 0)


@given(st.lists(st.tuples(st.sampled_from("xyz"), st.sampled_from("xyz")), max_size=40))
def test_scores_of_labels_add_up(pairs: list[tuple[str, str]]) -> None:
    """All recalls together are the rows; exchanging the sides exchanges precision and recall."""
    found = {one.label: one for one in label_scores(pairs)}
    assert sum(one.recall.n for one in found.values()) == len(pairs)
    turned = {one.label: one for one in label_scores([(b, a) for a, b in pairs])}
    for label, one in found.items():
        assert one.precision == turned[label].recall


def test_rows_needed() -> None:
    """Five points need 385 rows."""
    assert rows_needed(0.05) == 385
