"""What calls cost: exact to the nano-ruble."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visionq.contract import Usage
from visionq.pricing.prices import (
    LongPrompt,
    Price,
    cost_nano_rubles,
    load_prices,
    nano_rubles,
    rubles,
    worst_case_nano_rubles,
)
from visionq.pricing.vision import load_rules

amounts = st.decimals("0.000001", "100000", places=6, allow_nan=False)
counts = st.integers(0, 10_000_000)


def price(incoming: Decimal, output: Decimal, cached: Decimal | None = None) -> Price:
    return Price(
        model="m",
        input=incoming,
        output=output,
        cached_input=cached,
        source="test",
        date=dt.date(2026, 1, 1),
        confirmed=True,
    )


@pytest.mark.parametrize(
    ("model", "incoming", "output"),
    [
        ("gpt-4o", "645", "2577"),
        ("gpt-4.1-2025-04-14", "516", "2062"),
        ("o3", "607", "1685"),
        ("openai/gpt-4o-mini", "39", "155"),
        ("gpt-4o-mini-2024-07-18", "39", "155"),
        ("gpt-5.6-luna", "51.6", "309.6"),
        ("gpt-6-luna", "25.8", "129"),
    ],
)
def test_known_prices(model: str, incoming: str, output: str) -> None:
    """A model, its snapshots and its name with the vendor's prefix have one price."""
    found = load_prices().for_model(model)
    assert found is not None
    assert (found.input, found.output) == (Decimal(incoming), Decimal(output))


@pytest.mark.parametrize("model", ["gpt-4.1-nano", "gpt-5.4", "gpt-6-sol", "gpt-4o-audio", "x"])
def test_no_price_is_invented(model: str) -> None:
    """A model without a row has no price, and none of a shorter name."""
    assert load_prices().for_model(model) is None


def test_nothing_is_called_confirmed() -> None:
    """No row of the built-in table claims that someone compared it with a bill."""
    assert not any(row.confirmed for row in load_prices().prices)
    assert load_prices().batch_factor == Decimal("0.5")


def test_every_priced_model_has_vision_rules() -> None:
    """Every model with a price can be forecast by a rule of its own."""
    assert all(load_rules().family_of(row.model) for row in load_prices().prices)


def test_a_call_by_hand() -> None:
    """25,501 tokens of picture, 12 of prompt and 50 of answer cost 1.002757 ₽ on gpt-4o-mini."""
    row = load_prices().for_model("gpt-4o-mini")
    assert row is not None
    nano = cost_nano_rubles(row, Usage(input_tokens=25_513, output_tokens=50))
    assert rubles(nano) == Decimal("1.002757")


def test_cached_tokens_have_their_own_price() -> None:
    """The cached part of the input is charged at the cached price, the rest at the full one."""
    row = price(Decimal(100), Decimal(400), Decimal(10))
    usage = Usage(input_tokens=1000, cached_tokens=600, output_tokens=10, reasoning_tokens=10)
    assert rubles(cost_nano_rubles(row, usage)) == Decimal("0.05")


def test_more_cached_than_sent() -> None:
    """A usage that claims more cached tokens than there were never lowers the cost below them."""
    row = price(Decimal(100), Decimal(400), Decimal(10))
    absurd = Usage(input_tokens=100, cached_tokens=5000)
    assert cost_nano_rubles(row, absurd) == cost_nano_rubles(
        row, Usage(input_tokens=100, cached_tokens=100)
    )


def test_rounded_up() -> None:
    """A cost below one nano-ruble is one nano-ruble, and nothing costs nothing."""
    row = price(Decimal("0.000001"), Decimal(1))
    assert cost_nano_rubles(row, Usage(input_tokens=1)) == 1
    assert cost_nano_rubles(row, Usage()) == 0


@given(amounts, amounts, amounts, st.tuples(counts, counts, counts))
def test_costs_are_exact(
    incoming: Decimal, output: Decimal, cached: Decimal, tokens: tuple[int, int, int]
) -> None:
    """The cost is the exact product, less than one nano-ruble above it, and never below."""
    row = price(incoming, output, cached)
    fresh, stored, answer = tokens
    usage = Usage(input_tokens=fresh + stored, cached_tokens=stored, output_tokens=answer)
    exact = (
        fresh * Fraction(incoming) + stored * Fraction(cached) + answer * Fraction(output)
    ) * 1000
    assert 0 <= cost_nano_rubles(row, usage) - exact < 1


@st.composite
def prices(draw: st.DrawFn) -> Price:
    """Return any price, of any model: with and without prices of the cache, tiers and lengths."""
    maybe = st.none() | amounts
    factors = st.decimals("1", "100", places=4, allow_nan=False)
    return Price(
        model=draw(st.sampled_from(("m", "gpt-6-luna"))),
        input=draw(amounts),
        output=draw(amounts),
        cached_input=draw(maybe),
        cache_write=draw(maybe),
        cache_write_12h=draw(maybe),
        service_tiers=draw(
            st.dictionaries(
                st.sampled_from(("flex", "fast")), st.decimals("0.0001", "100", places=4)
            )
        ),
        long_prompt=draw(
            st.none()
            | st.builds(LongPrompt, above=st.integers(1, 10**6), input=factors, output=factors)
        ),
        source="test",
        date=dt.date(2026, 1, 1),
        confirmed=True,
    )


@given(prices(), counts, st.data())
def test_the_worst_case_is_never_exceeded(row: Price, most: int, data: st.DataObject) -> None:
    """No call within its forecast and its limit costs more than was reserved for it.

    Cache reads and writes, and whether the tier that was asked for serves
    the call or the ordinary one.
    """
    tokens = data.draw(st.integers(0, most))
    tier = data.draw(st.sampled_from((None, "auto", *row.service_tiers)))
    usage = Usage(
        input_tokens=tokens,
        cached_tokens=data.draw(st.integers(0, tokens)),
        cache_write_tokens=data.draw(st.integers(0, tokens)),
        cache_write_12h_tokens=data.draw(st.integers(0, tokens)),
        output_tokens=data.draw(st.integers(0, 4096)),
    )
    for served in (tier, None):
        cost = cost_nano_rubles(row, usage, served)
        assert cost <= worst_case_nano_rubles(row, most, 4096, tier)


def test_written_tokens_cost_more() -> None:
    """1,000 of 3,000 tokens written to the cache: 2,000 at 25.8 ₽ a million, 1,000 at 32.25 ₽."""
    row = load_prices().for_model("gpt-6-luna")
    assert row is not None
    usage = Usage(input_tokens=3000, cache_write_tokens=1000, output_tokens=10)
    assert cost_nano_rubles(row, usage) == 2000 * 25_800 + 1000 * 32_250 + 10 * 129_000


def test_lifetimes_have_their_own_price() -> None:
    """A write for 12 hours costs as its row says, and without one as any write."""
    row = price(Decimal(10), Decimal(1)).model_copy(update={"cache_write": Decimal(20)})
    usage = Usage(input_tokens=100, cache_write_tokens=100, cache_write_12h_tokens=40)
    assert cost_nano_rubles(row, usage) == 100 * 20_000
    longer = row.model_copy(update={"cache_write_12h": Decimal(30)})
    assert cost_nano_rubles(longer, usage) == 60 * 20_000 + 40 * 30_000


def test_a_written_token_of_a_row_without_its_price() -> None:
    """An own row that says nothing of it: 1.25 x input from GPT-5.6 on, else as input."""
    own = price(Decimal(100), Decimal(1))
    assert own.written == own.written_12h == 100
    newer = own.model_copy(update={"model": "openai/gpt-5.6-luna-2026-09-01"})
    assert newer.written == newer.written_12h == 125
    assert all(row.written >= row.input for row in load_prices().prices)


@pytest.mark.parametrize(
    ("tier", "factor"),
    [(None, "1"), ("auto", "1"), ("default", "1"), ("flex", "0.5"), ("fast", "2"), ("turbo", None)],
)
def test_service_tiers(tier: str | None, factor: str | None) -> None:
    """Each tier costs what its row says; one without a factor has no price, and none is assumed."""
    row = load_prices().for_model("gpt-6-luna")
    assert row is not None
    usage = Usage(input_tokens=1000, output_tokens=100)
    assert row.tier_factor(tier) == (None if factor is None else Decimal(factor))
    if factor is None:
        with pytest.raises(ValueError, match="'turbo' of gpt-6-luna has no price"):
            cost_nano_rubles(row, usage, tier)
        with pytest.raises(ValueError, match="turbo"):
            worst_case_nano_rubles(row, 1000, 100, tier)
    else:
        cost = cost_nano_rubles(row, usage, tier)
        assert cost == Decimal(factor) * cost_nano_rubles(row, usage)


def test_a_tier_that_is_full() -> None:
    """A call at a cheaper tier reserves what the ordinary one costs, which may serve it."""
    row = load_prices().for_model("gpt-6-luna")
    assert row is not None
    ordinary = worst_case_nano_rubles(row, 1000, 100)
    assert worst_case_nano_rubles(row, 1000, 100, "flex") == ordinary
    assert worst_case_nano_rubles(row, 1000, 100, "priority") == 2 * ordinary


def test_long_prompts_cost_more() -> None:
    """One token above 272,000, all input costs twice and the answer half as much again."""
    row = load_prices().for_model("gpt-6-luna")
    assert row is not None
    most = Usage(input_tokens=272_000, cached_tokens=100, output_tokens=10)
    more = Usage(input_tokens=272_001, cached_tokens=100, output_tokens=10)
    assert cost_nano_rubles(row, most) == 271_900 * 25_800 + 100 * 2_580 + 10 * 129_000
    assert cost_nano_rubles(row, more) == 2 * (271_901 * 25_800 + 100 * 2_580) + 15 * 129_000


@given(st.integers(-(10**27), 10**27))
def test_rubles_and_back(nano: int) -> None:
    """Amounts of the ledger survive the way to rubles and back."""
    assert nano_rubles(rubles(nano)) == nano
