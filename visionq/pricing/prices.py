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
#: Service tiers that cost what the row says: `auto` is what the account is set to, the ordinary one
#: unless someone changed that.
ORDINARY_TIERS: Final = (None, "auto", "default")

#: What is no tier, though the provider's price list has it beside them.
_BATCH: Final = "batch"

#: Rubles for a million tokens; 6 decimals are a thousandth of a nano-ruble a token. No more than a
#: ruble for one: a slip of the keyboard is told at once, and no sum of costs overflows.
RublesPerMillion = Annotated[ExactNumber, Field(gt=0, le=1_000_000, decimal_places=6)]
_TierFactor = Annotated[ExactNumber, Field(gt=0, le=100, decimal_places=4)]
#: Above a length of the prompt a call gets dearer, never cheaper.
_LongFactor = Annotated[ExactNumber, Field(ge=1, le=100, decimal_places=4)]
_BatchFactor = Annotated[ExactNumber, Field(gt=0, le=1, decimal_places=4)]
_Tier = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z_]{0,31}$")]


class LongPrompt(Facts):
    """The dearer prices of a whole call whose prompt is longer than `above` tokens."""

    above: PositiveInt
    #: Of all input, read from a cache or written to it as well.
    input: _LongFactor
    output: _LongFactor


class Price(Dated):
    """What the tokens of one model cost, in rubles for a million of them."""

    model: Model
    input: RublesPerMillion
    cached_input: RublesPerMillion | None = None
    #: Input that the provider writes to its cache.
    cache_write: RublesPerMillion | None = None
    #: The same, written to be kept for 12 hours.
    cache_write_12h: RublesPerMillion | None = None
    output: RublesPerMillion
    #: Service tier → what a call costs there, in the prices of the row.
    service_tiers: dict[_Tier, _TierFactor] = Field(default_factory=dict)
    #: What a line of a batch costs, in the prices of the row; None: as the table says.
    batch_factor: _BatchFactor | None = None
    long_prompt: LongPrompt | None = None
    #: Whether somebody has compared the row with a bill.
    confirmed: bool

    @property
    def cached(self) -> Decimal:
        """Price of input that the provider had cached: that of any input, where it is not known."""
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
        """The same, written to be kept for 12 hours."""
        return self.written if self.cache_write_12h is None else self.cache_write_12h

    def times(self, ratio: float | Decimal) -> Price:
        """Return a row whose tokens cost so many times as much."""
        names = ("input", "cached_input", "cache_write", "cache_write_12h", "output")
        costs = {name: cost for name in names if (cost := getattr(self, name)) is not None}
        factor = ratio if isinstance(ratio, Decimal) else Decimal(str(round(ratio, 9)))
        return self.model_copy(update={name: cost * factor for name, cost in costs.items()})

    def tier_factor(self, tier: str | None) -> Decimal | None:
        """Return what a call costs at a service tier, in the prices of the row; None: not known."""
        return Decimal(1) if tier in ORDINARY_TIERS else self.service_tiers.get(tier or "")


class PriceTable(Facts):
    """The prices of all models that have one."""

    #: What the provider's batch lane costs of these prices.
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
        """Return the price of a model or of a snapshot of it, or None: no price is assumed."""
        return match_model(self._by_model, model)

    def of_batch(self, model: str) -> Price | None:
        """Return the price of a model's lines in a batch, or None: no price is assumed."""
        price = self.for_model(model)
        return price and price.times(price.batch_factor or self.batch_factor)

    def as_charged(self, ratios: Mapping[str, float]) -> PriceTable:
        """Return the prices as a seller's own figures show them.

        Args:
            ratios: model → what its calls cost, of what the table says.
        """
        known = {row.model: ratios[name] for name in ratios if (row := self.for_model(name))}
        prices = tuple(row.times(known.get(row.model, 1)) for row in self.prices)
        return self.model_copy(update={"prices": prices}) if known else self


def check_tier(prices: PriceTable, model: str, tier: str | None) -> None:
    """Refuse a service tier that has no price, of a model that has one.

    Raises:
        InvalidJob: the message names the tier, and those of the model that have a price.
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
        written = 0  # reading it says what is wrong
    return _own_prices(path, written)


@functools.lru_cache(8)
def _own_prices(path: Path, _written: int) -> PriceTable:
    return load(PriceTable, "prices.toml", path)


def cost_nano_rubles(
    price: Price, usage: Usage, service_tier: str | None = None, *, calls: int = 1
) -> int:
    """Return what a call cost at the tier that served it, or so many `calls` alike together.

    Cached and written tokens are part of the input tokens, and reasoning tokens part of the output
    tokens.

    Raises:
        ValueError: the price of the tier is not known.
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
    """Return the most that a call can cost at the tier that is asked for, or the ordinary one.

    That is the whole answer that it may give, and all input at its dearest: plain, read from the
    provider's cache, or written to it.

    Raises:
        ValueError: the price of the tier is not known.
    """
    dearest = max(price.input, price.cached, price.written, price.written_12h)
    into = ((input_tokens, dearest),)
    # Where a tier is full, the provider may serve the call at the ordinary one.
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
