"""Amounts that others tell."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visionq.pricing.money import nano_rubles, read_rubles


@pytest.mark.parametrize(
    ("told", "amount"),
    [
        ("123.45", "123.45"),
        (100, "100"),
        (-3.5, "-3.5"),
        (Decimal("0.1234567891"), "0.123456789"),
        ("1e-999999999", "0E-9"),
        ("1e3", "1000.000000000"),
        ("1e999999999", None),
        ("9" * 400, None),
        ("NaN", None),
        ("sNaN", None),
        ("Infinity", None),
        ("many", None),
        (True, None),
        (None, None),
        ([1], None),
    ],
)
def test_amounts_of_others(told: object, amount: str | None) -> None:
    """An amount is read as it is written, cut to nano-rubles; what can't be one is none."""
    assert str(read_rubles(told)) == str(amount)


@given(st.text() | st.integers() | st.floats() | st.decimals() | st.none() | st.booleans())
def test_no_amount_breaks_a_bound(told: object) -> None:
    """From any text, the amount is none or a number of nano-rubles that Redis adds up."""
    amount = read_rubles(told)
    assert amount is None or (abs(nano_rubles(amount)) <= 10**18 and len(f"{amount:f}") < 30)
