"""What a model sees of a picture, and how many tokens it counts: pure functions over dated rules.

The rules are `visionq/data/vision.toml` (OpenAI's guide, state of September 2026) or the operator's
own file. Sizes are pixels, all arithmetic is exact.
"""

from __future__ import annotations

import functools
import json
import re
from decimal import Decimal
from math import ceil, isqrt
from typing import TYPE_CHECKING, Annotated, Final, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from visionq.contract import Detail
from visionq.data import Dated, Facts, Model, load, match_model, refuse_twice

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

#: Sides of what the models cut a picture into.
TILE: Final = 512
PATCH: Final = 32

#: Times that a picture is scaled down, and pixels of its short side then, at which print is lost.
_FAR_REDUCED: Final = 4
_NARROW: Final = 256

#: What the roles and separators of a request with instructions and one message add to its texts;
#: about four tokens a message are known, the rest is caution.
REQUEST_TOKENS: Final = 16


class Level(Facts):
    """How far a picture is scaled down at one value of `detail`."""

    max_side: PositiveInt
    short_side: PositiveInt | None = None
    max_patches: PositiveInt | None = None
    base_only: bool = False


class Levels(Facts):
    """The levels of a model; without `original` it stands for `high`."""

    auto: Literal[Detail.LOW, Detail.HIGH, Detail.ORIGINAL]
    low: Level
    high: Level
    original: Level | None = None

    @model_validator(mode="after")
    def _auto_exists(self) -> Self:
        if self.auto == Detail.ORIGINAL and self.original is None:
            raise ValueError("auto is original, which the row does not have")
        return self

    def at(self, detail: Detail) -> Level:
        """Return the level that a value of `detail` means here."""
        chosen = self.auto if detail == Detail.AUTO else detail
        if chosen == Detail.LOW:
            return self.low
        return self.original if chosen == Detail.ORIGINAL and self.original else self.high

    @property
    def all_levels(self) -> tuple[Level, ...]:
        """Every level that the row has."""
        return (self.low, self.high, *((self.original,) if self.original else ()))


class _Family(Levels, Dated):
    name: Annotated[str, Field(min_length=1)]
    models: Annotated[tuple[Model, ...], Field(min_length=1)]


class TileFamily(_Family):
    """Models that count tiles, squares of 512 pixels, on top of a base."""

    kind: Literal["tile"]
    base_tokens: PositiveInt
    tile_tokens: PositiveInt


class PatchFamily(_Family):
    """Models that count patches, squares of 32 pixels."""

    kind: Literal["patch"]
    multiplier: Annotated[Decimal, Field(gt=0, max_digits=9)]

    @model_validator(mode="after")
    def _no_tiles(self) -> Self:
        if any(level.short_side or level.base_only for level in self.all_levels):
            raise ValueError("short_side and base_only are for tile models")
        return self


Family = Annotated[TileFamily | PatchFamily, Field(discriminator="kind")]


class RequestLimits(Dated):
    """What the provider takes in one request; sizes in bytes."""

    media_types: Annotated[tuple[str, ...], Field(min_length=1)]
    max_image_bytes: PositiveInt
    #: The same of its base64 form; None: not limited.
    max_base64_bytes: PositiveInt | None = None
    max_images: PositiveInt
    max_payload_bytes: PositiveInt
    max_patches: PositiveInt


class VisionRules(Facts):
    """The whole table."""

    request: RequestLimits
    unknown: Levels
    families: Annotated[tuple[Family, ...], Field(alias="family", min_length=1)]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        refuse_twice(model for family in self.families for model in family.models)
        for family in (self.unknown, *self.families):
            for level in family.all_levels:
                # The narrowest strip must fit: scaling can't make it cover fewer patches.
                if ceil(level.max_side / PATCH) > (level.max_patches or self.request.max_patches):
                    raise ValueError(f"max_side {level.max_side} exceeds max_patches in a row")
        return self

    @property
    def _by_model(self) -> dict[str, TileFamily | PatchFamily]:
        return {model: family for family in self.families for model in family.models}

    def family_of(self, model: str) -> TileFamily | PatchFamily | None:
        """Return the family of a model, or None if no row speaks of it."""
        return match_model(self._by_model, model)


@functools.cache
def _default_rules() -> VisionRules:
    return load(VisionRules, "vision.toml", None)


def load_rules(path: Path | None = None) -> VisionRules:
    """Read the rules; `ConfigurationError` names file, line, row and field that is wrong."""
    return load(VisionRules, "vision.toml", path) if path else _default_rules()


def seen_size(
    rules: VisionRules, model: str, detail: Detail, width: int, height: int
) -> tuple[int, int]:
    """Return the (width, height) to which the model itself would scale a picture.

    Sending that size changes nothing in what the model sees or counts: scaling it again leaves it
    as it is. Never larger than the picture. A picture that the provider would refuse for its
    patches is scaled to the most that it takes.
    """
    level = (rules.family_of(model) or rules.unknown).at(detail)
    return _scale(level, rules.request.max_patches, width, height)


def lost_detail(size: tuple[int, int], seen: tuple[int, int]) -> float | None:
    """Return by how much a picture is scaled down, where so little is left that print is lost.

    A photo keeps its short side whatever its pixels; of a long page only a strip remains.
    """
    reduction = max(size) / max(seen)
    return reduction if reduction >= _FAR_REDUCED and min(seen) < _NARROW else None


def image_tokens(rules: VisionRules, model: str, detail: Detail, width: int, height: int) -> int:
    """Forecast the tokens of a picture; for an unknown model the most that any family counts."""
    seen = seen_size(rules, model, detail, width, height)
    counts = []
    for family in _candidates(rules, model):
        level = family.at(detail)
        counts.append(_tokens(family, level, *_scale(level, rules.request.max_patches, *seen)))
    return max(counts)


def most_image_tokens(rules: VisionRules, model: str, detail: Detail) -> int:
    """Return tokens that no picture exceeds: the reserve for one whose size is not known."""
    return max(
        _most_tokens(family, family.at(detail), rules.request.max_patches)
        for family in _candidates(rules, model)
    )


def _candidates(rules: VisionRules, model: str) -> tuple[TileFamily | PatchFamily, ...]:
    family = rules.family_of(model)
    return (family,) if family else rules.families


def _tokens(family: TileFamily | PatchFamily, level: Level, width: int, height: int) -> int:
    """Count a picture that is already scaled."""
    if isinstance(family, PatchFamily):
        return ceil(family.multiplier * _pieces(width, height, PATCH))
    tiles = 0 if level.base_only else _pieces(width, height, TILE)
    return family.base_tokens + family.tile_tokens * tiles


def _most_tokens(family: TileFamily | PatchFamily, level: Level, max_patches: int) -> int:
    if isinstance(family, TileFamily):
        return _tokens(family, level, level.max_side, level.short_side or level.max_side)
    square = _pieces(level.max_side, level.max_side, PATCH)
    return ceil(family.multiplier * min(square, level.max_patches or max_patches))


def _pieces(width: int, height: int, side: int) -> int:
    return -(-width // side) * -(-height // side)


def _scale(level: Level, max_patches: int, width: int, height: int) -> tuple[int, int]:
    """Fit the sides, then the patches. Exact: no side is a pixel short for want of digits."""
    if width < 1 or height < 1:
        raise ValueError(f"a picture of {width} by {height} pixels")
    long, short = max(width, height), min(width, height)
    limit, side = level.max_side, long
    if level.short_side and level.short_side * long < limit * short:
        limit, side = level.short_side, short
    if side > limit:
        width, height = max(1, width * limit // side), max(1, height * limit // side)
    return _within_patches(width, height, level.max_patches or max_patches)


def _within_patches(width: int, height: int, budget: int) -> tuple[int, int]:
    """Scale to at most `budget` patches, one of the sides to whole patches.

    OpenAI's formula: the scale at which the areas agree, made smaller until one side is a whole
    number of patches and the other at most one. √(budget · w / h) patches then lie across.
    """
    if _pieces(width, height, PATCH) <= budget:
        return width, height
    across, down = isqrt(budget * width // height), isqrt(budget * height // width)
    if across * height <= down * width:
        return PATCH * across, PATCH * across * height // width
    return PATCH * down * width // height, PATCH * down


def forecast_texts(
    prompt: str, instructions: str | None, schema: Mapping[str, object] | None
) -> int:
    """Forecast the tokens of all that a request holds beside its pictures, on the high side."""
    texts = (prompt, instructions or "", json.dumps(schema or ""))
    return REQUEST_TOKENS + sum(forecast_text_tokens(text) for text in texts)


def most_text_tokens(*texts: str) -> int:
    """Return tokens that no text exceeds: tokenizers over bytes make at most one of each byte."""
    return sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)


_RUNS: Final = re.compile(
    r"(?P<latin>[A-Za-z]+)"
    r"|(?P<digits>[0-9]+)"
    r"|(?P<european>(?:(?![\W\d_])[\u00aa-\u052f])+)"
    r"|(?P<other>[^\W\d_])"
    r"| (?=\w)"
    r"|(?P<rest>.)",
    re.DOTALL,
)


def forecast_text_tokens(text: str) -> int:
    """Forecast the tokens of a text on the high side, without the model's vocabulary.

    Counted in the runs that OpenAI's tokenizers never join: Latin words and numbers a token for
    every 3 characters begun, runs of Cyrillic, Greek and accented letters one for every 2, letters
    of all other scripts 2 each, any other character its bytes in UTF-8; a blank before a word is
    part of the word. Current vocabularies cut Russian prose into longer pieces than that (3 to 4
    letters, by common experience; not measured here), capitals and rare names into such as these.
    """
    return sum(_run_tokens(run.lastgroup, run.group()) for run in _RUNS.finditer(text))


def _run_tokens(kind: str | None, run: str) -> int:
    match kind:
        case "latin" | "digits":
            return -(-len(run) // 3)
        case "european":
            return -(-len(run) // 2)
        case "other":
            return 2
        case "rest":
            return len(run.encode("utf-8", "surrogatepass"))
    return 0
