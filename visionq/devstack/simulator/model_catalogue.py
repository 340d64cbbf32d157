"""Models, their picture tokens and prices, from `visionq/data`.

Written against the data files alone. The worker's own reading of them is checked by this one.
"""

from __future__ import annotations

import math
import re
import tomllib
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from fractions import Fraction
from importlib import resources
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import date
    from pathlib import Path

PATCH: Final = 32
TILE: Final = 512
#: The service tier of calls that name none.
ORDINARY: Final = "default"
PER_MILLION: Final = Decimal(1_000_000)
Row = TypeVar("Row")
SNAPSHOT: Final = re.compile(r"-(\d{4}-\d{2}-\d{2}|\d{8}|\d{3}|latest|preview)$")
#: The vendor of models whose names do not say it.
OPENAI: Final = "openai/"


class UnsupportedDetailError(ValueError):
    """The model has no such level of detail; `args[0]` are the levels it has."""


class TooManyPatchesError(ValueError):
    """The picture is larger than the model takes, even after scaling."""


@dataclass(frozen=True)
class Family:
    """How models of one family count pictures: one row of `vision.toml`."""

    row: Mapping[str, Any]
    max_patches: int

    def tokens(self, width: int, height: int, detail: str) -> int:
        """Return what a picture of this size counts at `detail` (`auto` included)."""
        if self.row["kind"] in {"area", "grid", "fixed"}:
            return self._tokens_without_detail(width, height, detail)
        level = self.row["auto"] if detail == "auto" else detail
        rule = self.row.get(level)
        if rule is None:
            names = tuple(name for name in ("low", "high", "original") if name in self.row)
            raise UnsupportedDetailError((*names, "auto"))
        if self.row["kind"] == "tile":
            return self._tile_tokens(width, height, rule)
        return self._patch_tokens(width, height, rule)

    def _tile_tokens(self, width: int, height: int, rule: Mapping[str, Any]) -> int:
        base = int(self.row["base_tokens"])
        if rule.get("base_only"):
            return base
        # The two steps of the guide as one, so that nothing is rounded between them.
        scale = Fraction(rule["max_side"], max(width, height))
        if "short_side" in rule:
            scale = min(scale, Fraction(rule["short_side"], min(width, height)))
        if scale < 1:
            width, height = max(1, int(width * scale)), max(1, int(height * scale))
        tiles = _blocks(width, TILE) * _blocks(height, TILE)
        return base + tiles * int(self.row["tile_tokens"])

    def _tokens_without_detail(self, width: int, height: int, detail: str) -> int:
        row = self.row
        if detail != "auto":
            raise UnsupportedDetailError(("auto",))
        if row["kind"] == "fixed":
            return int(row["image_tokens"])
        width, height = _within(width, height, row["max_side"])
        if row["kind"] == "area":
            tokens = math.ceil(Fraction(width * height, row["pixels_per_token"]))
            if tokens <= row["max_tokens"]:
                return tokens
            # Scaled in proportion until it fits, to whole pixels.
            scale = math.sqrt(row["max_tokens"] * row["pixels_per_token"] / (width * height))
            width, height = _whole(width * scale), _whole(height * scale)
            return math.ceil(Fraction(width * height, row["pixels_per_token"]))
        is_small = width <= row["small_side"] and height <= row["small_side"]
        tiles = _blocks(width, row["tile_side"]) * _blocks(height, row["tile_side"])
        return int(row["tile_tokens"]) * (1 if is_small else tiles)

    def _patch_tokens(self, width: int, height: int, rule: Mapping[str, Any]) -> int:
        width, height = _within(width, height, rule["max_side"])
        budget = rule.get("max_patches")
        if budget and _patches(width, height) > budget:
            width, height = _within_patches(width, height, budget)
        patches = _patches(width, height)
        if patches > self.max_patches:
            raise TooManyPatchesError(patches)
        tokens = Decimal(str(self.row["multiplier"])) * patches
        return int(tokens.to_integral_value(ROUND_CEILING))


def _blocks(side: int, size: int) -> int:
    return -(-side // size)


def _patches(width: int, height: int) -> int:
    return _blocks(width, PATCH) * _blocks(height, PATCH)


def _within(width: int, height: int, limit: int) -> tuple[int, int]:
    longest = max(width, height)
    if longest <= limit:
        return width, height
    return max(1, width * limit // longest), max(1, height * limit // longest)


def _within_patches(width: int, height: int, budget: int) -> tuple[int, int]:
    scale = math.sqrt(PATCH * PATCH * budget / (width * height))
    columns, rows = width * scale / PATCH, height * scale / PATCH
    scale *= min(_whole(columns) / columns, _whole(rows) / rows)
    return max(1, _whole(width * scale)), max(1, _whole(height * scale))


def _whole(length: float) -> int:
    """Return the integer part, tolerating float error: 49.999999999 is 50."""
    return math.floor(length + 1e-9)


@dataclass(frozen=True)
class Counted:
    """Tokens of a call. Cache reads and writes are part of the input."""

    input: int
    output: int
    read: int = 0
    written_30m: int = 0
    written_12h: int = 0


@dataclass(frozen=True)
class SimulatedPrice:
    """Rubles for a million tokens, and their modifiers."""

    input: Decimal
    output: Decimal
    read: Decimal
    written_30m: Decimal
    written_12h: Decimal
    #: Service tier → factor; the ordinary one is not among them.
    tiers: Mapping[str, Decimal]
    #: What a line of a batch costs of these prices.
    batch: Decimal
    #: Input tokens above which input and output cost more, and the factors of both.
    long_prompt: tuple[int, Decimal, Decimal] | None = None

    def of(self, counted: Counted, tier: str = ORDINARY) -> Decimal:
        """Return the exact rubles for a call at a tier of the model."""
        plain = counted.input - counted.read - counted.written_30m - counted.written_12h
        question = (
            self.input * plain
            + self.read * counted.read
            + self.written_30m * counted.written_30m
            + self.written_12h * counted.written_12h
        )
        answer = self.output * counted.output
        if self.long_prompt is not None and counted.input > self.long_prompt[0]:
            question, answer = question * self.long_prompt[1], answer * self.long_prompt[2]
        factor = Decimal(1) if tier == ORDINARY else self.tiers[tier]
        return (question + answer) * factor / PER_MILLION


@dataclass(frozen=True)
class CacheTerms:
    """Terms of a model's prompt cache: a row of `caching.toml`."""

    write_factor: Decimal
    min_tokens: int
    lifetimes: tuple[str, ...]


@dataclass(frozen=True)
class Catalogue:
    """Every model that the simulator knows."""

    families: Mapping[str, Family]
    prices: Mapping[str, SimulatedPrice]
    caching: Mapping[str, CacheTerms]
    #: Effort → tokens that an answer usually spends on reasoning, and model → effort of none given.
    effort_tokens: Mapping[str, int]
    default_efforts: Mapping[str, str]
    #: Model → the day on which it ends.
    ends: Mapping[str, date]
    max_images: int
    max_image_bytes: int

    def models(self) -> list[str]:
        """Return the names of all models, including those shut down."""
        return sorted({*self.families, *self.prices})

    def end(self, model: str) -> date | None:
        """Return the shutdown date of a model; a listed snapshot has its own."""
        return _found(self.ends, model)

    def knows(self, model: str) -> bool:
        """Return whether the provider has the model, by its name or that of a snapshot."""
        return _found(self.families, model) is not None or _found(self.prices, model) is not None

    def price(self, model: str) -> SimulatedPrice:
        """Return the model's price; one without a row costs the highest price."""
        found = _found(self.prices, model)
        if found is not None:
            return found
        return max(self.prices.values(), key=lambda row: (row.input, row.output))

    def cache_terms(self, model: str) -> CacheTerms | None:
        """Return the model's cache terms; None if it has no cache."""
        return _found(self.caching, model)

    def default_effort(self, model: str) -> str | None:
        """Return the model's default effort; None if it does not reason."""
        return _found(self.default_efforts, model)

    def tokens(self, model: str, width: int, height: int, detail: str) -> int:
        """Return the tokens of a picture; an unknown model counts the most of any.

        Raises `UnsupportedDetailError`, and `TooManyPatchesError`.
        """
        family = _found(self.families, model)
        if family is not None:
            return family.tokens(width, height, detail)
        return max(_lenient(each, width, height, detail) for each in self.families.values())


def _found(rows: Mapping[str, Row], model: str) -> Row | None:
    name = model.removeprefix(OPENAI)
    return rows.get(name) or rows.get(SNAPSHOT.sub("", name))


def _lenient(family: Family, width: int, height: int, detail: str) -> int:
    try:
        return family.tokens(width, height, detail)
    except (UnsupportedDetailError, TooManyPatchesError):
        return 0


def load_catalogue(prices_file: Path | None = None) -> Catalogue:
    """Read the data files; `prices_file` replaces the built-in price table as a whole."""
    data = resources.files("visionq") / "data"
    vision = tomllib.loads((data / "vision.toml").read_text("utf-8"))
    source = prices_file or data / "prices.toml"
    prices = tomllib.loads(source.read_text("utf-8"))
    caching = _caching(tomllib.loads((data / "caching.toml").read_text("utf-8"))["caching"])
    options = tomllib.loads((data / "options.toml").read_text("utf-8"))
    shutdowns = tomllib.loads((data / "models.toml").read_text("utf-8"))["shutdown"]
    request = vision["request"]
    lane = {"batch_factor": prices.get("batch_factor", 1)}
    return Catalogue(
        families=_families(vision["family"], request["max_patches"]),
        prices={
            row["model"]: _price(lane | row, _found(caching, row["model"]))
            for row in prices["price"]
        },
        caching=caching,
        effort_tokens={row["name"]: row["tokens"] for row in options["effort"]},
        default_efforts={
            model: row["default_effort"]
            for row in options["model"]
            for model in row["models"]
            if "default_effort" in row
        },
        ends={model: row["on"] for row in shutdowns for model in row["models"]},
        max_images=request["max_images"],
        max_image_bytes=request["max_image_bytes"],
    )


def _caching(rows: Iterable[Mapping[str, Any]]) -> dict[str, CacheTerms]:
    return {
        model: CacheTerms(Decimal(row["write_factor"]), row["min_tokens"], tuple(row["lifetimes"]))
        for row in rows
        for model in row["models"]
    }


def _price(row: Mapping[str, Any], terms: CacheTerms | None) -> SimulatedPrice:
    incoming = Decimal(row["input"])
    written = incoming * (terms.write_factor if terms else 1)
    written_30m = Decimal(row.get("cache_write", written))
    long_prompt = row.get("long_prompt")
    return SimulatedPrice(
        input=incoming,
        output=Decimal(row["output"]),
        read=Decimal(row.get("cached_input", incoming)),
        written_30m=written_30m,
        written_12h=Decimal(row.get("cache_write_12h", written_30m)),
        tiers={tier: Decimal(each) for tier, each in row.get("service_tiers", {}).items()},
        batch=Decimal(row["batch_factor"]),
        long_prompt=long_prompt
        and (long_prompt["above"], Decimal(long_prompt["input"]), Decimal(long_prompt["output"])),
    )


def _families(rows: Iterable[Mapping[str, Any]], max_patches: int) -> dict[str, Family]:
    return {model: Family(row, max_patches) for row in rows for model in row["models"]}
