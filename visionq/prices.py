"""What calls cost in rubles: a dated table, and exact arithmetic over it.

Money is counted in whole nano-rubles (1 ₽ = 1,000,000,000), the ledger's unit, and a cost
is rounded up to the next one. Prices are rubles for a million tokens.
"""

from __future__ import annotations

import functools
from decimal import Decimal
from fractions import Fraction
from math import ceil
from typing import TYPE_CHECKING, Annotated, Final, Self

from pydantic import BeforeValidator, Field, model_validator

from visionq.data import Dated, Facts, Model, load, match_model, refuse_twice
from visionq.money import nano_rubles, rubles

if TYPE_CHECKING:
    from pathlib import Path

    from visionq.contract import Usage

__all__ = [
    "Price",
    "PriceTable",
    "cost_nano_rubles",
    "load_prices",
    "nano_rubles",
    "rubles",
    "worst_case_nano_rubles",
]

#: A ruble for a million tokens is this many nano-rubles for one.
_NANO_PER_TOKEN: Final = 1000


def _not_a_float(value: object) -> object:
    if isinstance(value, float):
        raise ValueError(f'write the number in quotes: "{value}"')  # noqa: TRY004  # pydantic's way
    return value


_Number = Annotated[Decimal, BeforeValidator(_not_a_float)]
#: Rubles for a million tokens; 6 decimals are a thousandth of a nano-ruble a token. No more than a
#: ruble for one: a slip of the keyboard is told at once, and no sum of costs overflows.
RublesPerMillion = Annotated[_Number, Field(gt=0, le=1_000_000, decimal_places=6)]


class Price(Dated):
    """What the tokens of one model cost, in rubles for a million of them."""

    model: Model
    input: RublesPerMillion
    cached_input: RublesPerMillion | None = None
    output: RublesPerMillion
    #: Whether somebody has compared the row with a bill.
    confirmed: bool

    @property
    def cached(self) -> Decimal:
        """Price of input that the provider had cached: that of any input, where it is not known."""
        return self.input if self.cached_input is None else self.cached_input


class PriceTable(Facts):
    """The prices of all models that have one."""

    #: What the provider's batch lane costs of these prices.
    batch_factor: Annotated[_Number, Field(gt=0, le=1)]
    prices: Annotated[tuple[Price, ...], Field(alias="price", min_length=1)]

    @model_validator(mode="after")
    def _once_each(self) -> Self:
        refuse_twice(price.model for price in self.prices)
        return self

    @property
    def _by_model(self) -> dict[str, Price]:
        return {price.model: price for price in self.prices}

    def for_model(self, model: str) -> Price | None:
        """Return the price of a model or of a snapshot of it, or None: no price is assumed."""
        return match_model(self._by_model, model)


@functools.cache
def _default_prices() -> PriceTable:
    return load(PriceTable, "prices.toml", None)


def load_prices(path: Path | None = None) -> PriceTable:
    """Read the prices; `ConfigurationError` names file, line, row and field that is wrong."""
    return load(PriceTable, "prices.toml", path) if path else _default_prices()


def cost_nano_rubles(price: Price, usage: Usage) -> int:
    """Return what a call cost.

    Cached tokens are part of the input tokens and reasoning tokens part of the output tokens.
    """
    cached = min(usage.cached_tokens, usage.input_tokens)
    return _nano(
        (usage.input_tokens - cached, price.input),
        (cached, price.cached),
        (usage.output_tokens, price.output),
    )


def worst_case_nano_rubles(price: Price, input_tokens: int, max_output_tokens: int) -> int:
    """Return the most that a call can cost: the whole answer that it may give, nothing cached."""
    return _nano((input_tokens, max(price.input, price.cached)), (max_output_tokens, price.output))


def _nano(*items: tuple[int, Decimal]) -> int:
    return ceil(sum(tokens * Fraction(price) * _NANO_PER_TOKEN for tokens, price in items))
