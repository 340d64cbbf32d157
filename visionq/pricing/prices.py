"""Prices of calls in rubles: a dated table and exact arithmetic over it.

Costs are whole nano-rubles (1 ₽ = 1,000,000,000), the ledger's unit, rounded up. Prices are rubles
for a million tokens.
"""

from __future__ import annotations

import functools
from decimal import Decimal
from fractions import Fraction
from math import ceil
from typing import TYPE_CHECKING, Annotated, Final, Self

from pydantic import Field, PositiveInt, StringConstraints, model_validator

from visionq.data import Dated, ExactNumber, Facts, Model, load, match_model, refuse_twice
from visionq.errors import InvalidJob
from visionq.pricing.caching import load_caching
from visionq.pricing.money import nano_rubles, rubles

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from visionq.contract import Usage

__all__ = [
    "ORDINARY_TIERS",
    "LongPrompt",
    "Price",
    "PriceTable",
    "check_tier",
    "cost_nano_rubles",
    "load_prices",
    "nano_rubles",
    "rubles",
    "worst_case_nano_rubles",
]

#: A ruble for a million tokens is this many nano-rubles for one.
_NANO_PER_TOKEN: Final = 1000
#: Service tiers at the row's own prices; `auto` is the tier that the account is set to, by default
#: the ordinary one.
ORDINARY_TIERS: Final = (None, "auto", "default")

#: Not a tier, although the provider's price list shows it beside them.
_BATCH: Final = "batch"

#: Rubles for a million tokens; 6 decimals are a thousandth of a nano-ruble a token. The limit, a
#: ruble for one token, catches typing errors and keeps sums from overflowing.
RublesPerMillion = Annotated[ExactNumber, Field(gt=0, le=1_000_000, decimal_places=6)]
_TierFactor = Annotated[ExactNumber, Field(gt=0, le=100, decimal_places=4)]
#: A call with a long prompt costs more, never less.
_LongFactor = Annotated[ExactNumber, Field(ge=1, le=100, decimal_places=4)]
_BatchFactor = Annotated[ExactNumber, Field(gt=0, le=1, decimal_places=4)]
_Tier = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z_]{0,31}$")]


class LongPrompt(Facts):
    """Factors for a whole call with a prompt of more than `above` tokens."""

    above: PositiveInt
    #: For all input, cached and written tokens included.
    input: _LongFactor
    output: _LongFactor


class Price(Dated):
    """The prices of one model, in rubles for a million tokens."""

    model: Model
    input: RublesPerMillion
    cached_input: RublesPerMillion | None = None
    #: Input that the provider writes to its cache.
    cache_write: RublesPerMillion | None = None
    #: Likewise, for a cache kept 12 hours.
    cache_write_12h: RublesPerMillion | None = None
    output: RublesPerMillion
    #: Service tier → factor on the prices of the row.
    service_tiers: dict[_Tier, _TierFactor] = Field(default_factory=dict)
    #: What a line of a batch costs, in the prices of the row; None: as the table says.
    batch_factor: _BatchFactor | None = None
    long_prompt: LongPrompt | None = None
    #: Whether the row was compared with a bill.
    confirmed: bool

    @property
    def cached(self) -> Decimal:
        """Price of cached input; that of any input if unknown."""
        return self.input if self.cached_input is None else self.cached_input

    @property
    def written(self) -> Decimal:
        """Price of input that the provider writes to its cache."""
        if self.cache_write is not None:
            return self.cache_write
        caching = load_caching().for_model(self.model)
        return self.input if caching is None else self.input * caching.write_factor

    @property
    def written_12h(self) -> Decimal:
        """Price of input written to a cache that is kept for 12 hours."""
        return self.written if self.cache_write_12h is None else self.cache_write_12h

    def times(self, ratio: float | Decimal) -> Price:
        """Return the row with its prices multiplied by `ratio`."""
        names = ("input", "cached_input", "cache_write", "cache_write_12h", "output")
        costs = {name: cost for name in names if (cost := getattr(self, name)) is not None}
        factor = ratio if isinstance(ratio, Decimal) else Decimal(str(round(ratio, 9)))
        return self.model_copy(update={name: cost * factor for name, cost in costs.items()})

    def tier_factor(self, tier: str | None) -> Decimal | None:
        """Return the factor of a service tier on the prices; None if unknown."""
        return Decimal(1) if tier in ORDINARY_TIERS else self.service_tiers.get(tier or "")


class PriceTable(Facts):
    """Prices by model."""

    #: The provider's batch prices as a fraction of these.
    batch_factor: _BatchFactor
    prices: Annotated[tuple[Price, ...], Field(alias="price", min_length=1)]

    @model_validator(mode="after")
    def _once_each(self) -> Self:
        refuse_twice(price.model for price in self.prices)
        return self

    @property
    def _by_model(self) -> dict[str, Price]:
        return {price.model: price for price in self.prices}

    def for_model(self, model: str) -> Price | None:
        """Return the price of a model or its snapshot; None if unknown."""
        return match_model(self._by_model, model)

    def of_batch(self, model: str) -> Price | None:
        """Return the prices of a model in batches; None if unknown."""
        price = self.for_model(model)
        return price and price.times(price.batch_factor or self.batch_factor)

    def as_charged(self, ratios: Mapping[str, float]) -> PriceTable:
        """Return the prices corrected by the costs that a seller reports.

        Args:
            ratios: model → reported cost divided by the cost by this table.
        """
        known = {row.model: ratios[name] for name in ratios if (row := self.for_model(name))}
        prices = tuple(row.times(known.get(row.model, 1)) for row in self.prices)
        return self.model_copy(update={"prices": prices}) if known else self


def check_tier(prices: PriceTable, model: str, tier: str | None) -> None:
    """Refuse a service tier without a price if its model has one.

    Raises:
        InvalidJob: the message names the tier and those with a price.
    """
    if tier == _BATCH:
        raise InvalidJob("service_tier: batch is a lane, not a tier: set `lane` to batch, or `by`")
    price = prices.for_model(model)
    if price is None or price.tier_factor(tier) is not None:
        return
    known = ", ".join(("auto", "default", *price.service_tiers))
    raise InvalidJob(
        f"service_tier: {tier} has no price for {model} (known: {known}); choose one of these, or"
        " enter its factor as `service_tiers` in the file that VISIONQ_PRICES_FILE names"
    )


@functools.cache
def _default_prices() -> PriceTable:
    return load(PriceTable, "prices.toml", None)


def load_prices(path: Path | None = None) -> PriceTable:
    """Read the prices; `ConfigurationError` names file, line, row and field that is wrong."""
    if path is None:
        return _default_prices()
    try:
        written = path.stat().st_mtime_ns
    except OSError:
        written = 0  # `load` reports the error
    return _own_prices(path, written)


@functools.lru_cache(8)
def _own_prices(path: Path, _written: int) -> PriceTable:
    return load(PriceTable, "prices.toml", path)


def cost_nano_rubles(
    price: Price, usage: Usage, service_tier: str | None = None, *, calls: int = 1
) -> int:
    """Return the cost of a call, or of several equal `calls` together.

    Input tokens include cached and written ones, output tokens include reasoning. `service_tier` is
    the one that served the call.

    Raises:
        ValueError: the tier has no price.
    """
    cached = min(usage.cached_tokens, usage.input_tokens)
    written = min(usage.cache_write_tokens, usage.input_tokens - cached)
    longest = min(usage.cache_write_12h_tokens, written)
    into = (
        (usage.input_tokens - cached - written, price.input),
        (cached, price.cached),
        (written - longest, price.written),
        (longest, price.written_12h),
    )
    return _nano(price, service_tier, usage.input_tokens / calls, into, usage.output_tokens)


def worst_case_nano_rubles(
    price: Price, input_tokens: int, max_output_tokens: int, service_tier: str | None = None
) -> int:
    """Return the most that a call can cost at its tier or the ordinary one.

    That is the longest answer allowed and all input at its highest price, be it plain, cached or
    written to the provider's cache.

    Raises:
        ValueError: the tier has no price.
    """
    dearest = max(price.input, price.cached, price.written, price.written_12h)
    into = ((input_tokens, dearest),)
    # The provider may serve the call at the ordinary tier when the requested one is full.
    return max(
        _nano(price, tier, input_tokens, into, max_output_tokens) for tier in (service_tier, None)
    )


def _nano(
    price: Price,
    tier: str | None,
    prompt: float,
    into: tuple[tuple[int, Decimal], ...],
    answered: int,
) -> int:
    factor = price.tier_factor(tier)
    if factor is None:
        raise ValueError(f"service_tier {tier!r} of {price.model} has no price")
    long = price.long_prompt if price.long_prompt and prompt > price.long_prompt.above else None
    read = sum(tokens * Fraction(each) for tokens, each in into) * Fraction(
        long.input if long else 1
    )
    wrote = answered * Fraction(price.output) * Fraction(long.output if long else 1)
    return ceil((read + wrote) * Fraction(factor) * _NANO_PER_TOKEN)
