"""The quote names each lane's price and end, and what it assumes; no lane is dearer than online."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producer.quote.lanes import LaneFacts, lane_notes, quote_lanes
from producer.quote.rendering import lane_words, moment
from visionq.pricing.batch_lane import load_batch_table

if TYPE_CHECKING:
    from producer.quote.document import LaneQuote

NOW = dt.datetime(2026, 12, 1, 1, 0, tzinfo=dt.timezone(dt.timedelta(hours=3)))
HOUR = 3600.0
DAY = 24 * HOUR
RUBLE = 10**9
LIMITS = load_batch_table(None).limits


def facts(
    rub: int = 6_300,
    *,
    batch: bool = True,
    flex: bool = False,
    tokens: float = 1_000,
    took: tuple[float, ...] = (),
    refused: str = "",
) -> LaneFacts:
    online = (rub * RUBLE // 2, rub * RUBLE, rub * RUBLE * 2)
    low, expected, high = (each // 2 for each in online)
    half = (low, expected, high)
    return LaneFacts(
        model="m",
        tokens=tokens,
        online=online,
        flex=half if flex else None,
        batch=half if batch else None,
        limits=LIMITS,
        window=DAY,
        took=took,
        refused=refused,
    )


def lanes(
    one: LaneFacts, *, seconds: float | None = 70 * 60, hours: float | None = None
) -> dict[str, LaneQuote]:
    by = None if hours is None else NOW + dt.timedelta(hours=hours)
    return {lane.lane: lane for lane in quote_lanes([one], seconds, by, NOW)}


def test_all_lanes_are_named_with_price_and_end() -> None:
    found = lanes(facts(), hours=8)
    assert " · ".join(lane_words(one, NOW) for one in found.values()) == (
        "all online 6,300.00 ₽ by 02:10"
        " · half price 3,150.00 ₽ by tomorrow 01:00"
        " · auto 3,307.50 ₽ by 09:00"
    )


def test_without_a_deadline_there_is_no_auto() -> None:
    assert list(lanes(facts())) == ["online", "batch"]


def test_without_batches_there_is_online_alone() -> None:
    assert list(lanes(facts(batch=False), hours=8)) == ["online"]
    assert quote_lanes([], 1.0, None, NOW) == ()


def test_flex_is_a_third_price() -> None:
    found = lanes(facts(flex=True))
    assert list(found) == ["online", "flex", "batch"]
    assert lane_words(found["flex"], NOW) == "flex 3,150.00 ₽"
    assert any(
        "flex is slower" in note for note in lane_notes([facts(flex=True)], [*found.values()])
    )


@pytest.mark.parametrize(
    ("hours", "took", "in_batches", "rub"),
    [
        (1, (), 0, "6300"),
        (2, (), 0.95, "3307.5"),
        (2, (3 * HOUR,), 0, "6300"),
        (4, (3 * HOUR,), 0.95, "3307.5"),
        (4, (HOUR, 3 * HOUR, 20 * HOUR), 0.95, "3307.5"),
    ],
)
def test_auto_sends_what_can_wait_as_long_as_batches_take(
    hours: float, took: tuple[float, ...], in_batches: float, rub: str
) -> None:
    auto = lanes(facts(took=took), hours=hours)["auto"]
    assert auto.in_batches == in_batches
    assert auto.rub.expected == Decimal(rub)


def test_what_batches_took_is_what_half_price_promises() -> None:
    batch = lanes(facts(took=(HOUR / 2, 2 * HOUR)))["batch"]
    assert batch.done == NOW + dt.timedelta(hours=2)
    (note,) = lane_notes([facts(took=(HOUR / 2, 2 * HOUR))], [batch])
    assert note == "half price of m: the last 2 batches took 0.5 h to 2 h"


def test_more_tokens_than_may_be_enqueued_take_rounds() -> None:
    three = facts(tokens=LIMITS.enqueued_tokens * 2.5)
    batch = lanes(three)["batch"]
    assert batch.done == NOW + dt.timedelta(hours=72)
    assert any("3 rounds of batches" in note for note in lane_notes([three], [batch]))
    auto = lanes(three, hours=2.5)["auto"]
    assert auto.in_batches == round(0.95 * 2 / 3, 3)


def test_a_lane_that_the_provider_refused_is_named() -> None:
    one = facts(batch=False, refused="no pictures in lines")
    assert list(lanes(one)) == ["online"]
    (note,) = lane_notes([one], [])
    assert note == "the provider takes no batches of m (no pictures in lines): it goes online"


def test_a_deadline_that_nobody_can_keep_is_not_promised() -> None:
    auto = lanes(facts(), seconds=5 * HOUR, hours=1)["auto"]
    assert auto.done == NOW + dt.timedelta(hours=5)


@given(
    rub=st.integers(1, 10**7),
    hours=st.floats(0.01, 700),
    seconds=st.none() | st.floats(0, 10**7),
    took=st.lists(st.floats(1, DAY), max_size=5),
    tokens=st.floats(1, 10**13),
)
def test_auto_costs_between_batches_and_online(
    rub: int, hours: float, seconds: float | None, took: list[float], tokens: float
) -> None:
    one = facts(rub, tokens=tokens, took=tuple(took))
    found = lanes(one, seconds=seconds, hours=hours)
    online, batch, auto = (found[name].rub for name in ("online", "batch", "auto"))
    assert batch.expected is not None
    assert online.expected is not None
    assert auto.expected is not None
    assert batch.expected <= auto.expected <= online.expected
    assert 0 <= found["auto"].in_batches <= 1


@given(hours=st.lists(st.floats(0.01, 700), min_size=2, max_size=5), tokens=st.floats(1, 10**10))
def test_more_time_is_never_dearer(hours: list[float], tokens: float) -> None:
    one = facts(tokens=tokens)
    costs = [lanes(one, hours=each)["auto"].rub.expected or 0 for each in sorted(hours)]
    assert costs == sorted(costs, reverse=True)


@pytest.mark.parametrize(
    ("hours", "text"), [(1, "02:00"), (24, "tomorrow 01:00"), (72, "2026-12-04 01:00")]
)
def test_times_are_those_of_this_machine(hours: int, text: str) -> None:
    assert moment(NOW + dt.timedelta(hours=hours), NOW) == text
