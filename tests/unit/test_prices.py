"""What calls cost: exact to the nano-ruble."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visionq.contract import Usage
from visionq.prices import (
    Price,
    cost_nano_rubles,
    load_prices,
    nano_rubles,
    rubles,
    worst_case_nano_rubles,
)
from visionq.vision import load_rules

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
        ("gpt-5.6-luna", "52", "310"),
    ],
)
def test_known_prices(model: str, incoming: str, output: str) -> None:
    """A model, its snapshots and its name with the vendor's prefix have one price."""
    found = load_prices().for_model(model)
    assert found is not None
    assert (found.input, found.output) == (Decimal(incoming), Decimal(output))
    assert found.cached == found.input


@pytest.mark.parametrize("model", ["gpt-4.1-nano", "gpt-5.4", "gpt-5.6-sol", "gpt-4o-audio", "x"])
def test_no_price_is_invented(model: str) -> None:
    """A model without a row has no price, and none of a shorter name."""
    assert load_prices().for_model(model) is None


def test_nothing_is_called_confirmed() -> None:
    """No row of the built-in table claims that somebody compared it with a bill."""
    assert not any(row.confirmed for row in load_prices().prices)
    assert load_prices().batch_factor == Decimal("0.5")


def test_every_priced_model_has_vision_rules() -> None:
    """Whatever has a price can be forecast by a rule of its own."""
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


@given(amounts, amounts, amounts, counts, st.data())
def test_the_worst_case_is_never_exceeded(
    incoming: Decimal, output: Decimal, cached: Decimal, tokens: int, data: st.DataObject
) -> None:
    """No call within its forecast and its limit costs more than was reserved for it."""
    row = price(incoming, output, cached)
    usage = Usage(
        input_tokens=tokens,
        cached_tokens=data.draw(st.integers(0, tokens)),
        output_tokens=data.draw(st.integers(0, 4096)),
    )
    assert cost_nano_rubles(row, usage) <= worst_case_nano_rubles(row, tokens, 4096)


@given(st.integers(-(10**27), 10**27))
def test_rubles_and_back(nano: int) -> None:
    """Amounts of the ledger survive the way to rubles and back."""
    assert nano_rubles(rubles(nano)) == nano
