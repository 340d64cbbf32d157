"""What a model sees of a picture, and how many tokens it counts: pure functions over dated rules.

The rules are `visionq/data/vision.toml` (what the vendors' guides say) or the operator's own file.
Sizes are pixels, all arithmetic is exact.
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


class DetailLevel(Facts):
    """How far a picture is scaled down at one value of `detail`."""

    max_side: PositiveInt
    short_side: PositiveInt | None = None
    max_patches: PositiveInt | None = None
    base_only: bool = False


class DetailLevels(Facts):
    """The levels of a model; without `original` it stands for `high`."""

    auto: Literal[Detail.LOW, Detail.HIGH, Detail.ORIGINAL]
    low: DetailLevel
    high: DetailLevel
    original: DetailLevel | None = None

    @model_validator(mode="after")
    def _auto_exists(self) -> Self:
        if self.auto == Detail.ORIGINAL and self.original is None:
            raise ValueError("auto is original, which the row does not have")
        return self

    @property
    def details(self) -> tuple[Detail, ...]:
        """What can be asked for by name."""
        return (Detail.LOW, Detail.HIGH, *((Detail.ORIGINAL,) if self.original else ()))

    def meaning(self, detail: Detail) -> Detail:
        """Return what `auto` stands for here; any other value stands for itself."""
        return self.auto if detail == Detail.AUTO else detail

    def at(self, detail: Detail) -> DetailLevel:
        """Return the level that a value of `detail` means here."""
        chosen = self.meaning(detail)
        if chosen == Detail.LOW:
            return self.low
        return self.original if chosen == Detail.ORIGINAL and self.original else self.high

    @property
    def all_levels(self) -> tuple[DetailLevel, ...]:
        """Every level that the row has."""
        return (self.low, self.high, *((self.original,) if self.original else ()))

    def scale(self, detail: Detail, width: int, height: int, max_patches: int) -> tuple[int, int]:
        """Return the size to which a picture is scaled; `max_patches` where the level has none."""
        level = self.at(detail)
        width, height = _within_sides(width, height, level.max_side, level.short_side)
        return _within_patches(width, height, level.max_patches or max_patches)


class _Family(Dated):
    name: Annotated[str, Field(min_length=1)]
    models: Annotated[tuple[Model, ...], Field(min_length=1)]
    #: What one request may hold where that is less than `[request]` says; a picture as a file, and
    #: in base64.
    max_images: PositiveInt | None = None
    max_image_bytes: PositiveInt | None = None


class TileFamily(DetailLevels, _Family):
    """Models that count tiles, squares of 512 pixels, on top of a base."""

    kind: Literal["tile"]
    base_tokens: PositiveInt
    tile_tokens: PositiveInt

    def tokens(self, detail: Detail, width: int, height: int) -> int:
        """Count a picture that is already scaled."""
        tiles = 0 if self.at(detail).base_only else _pieces(width, height, TILE)
        return self.base_tokens + self.tile_tokens * tiles

    def most_tokens(self, detail: Detail, _max_patches: int) -> int:
        """Return the tokens that no picture exceeds."""
        level = self.at(detail)
        return self.tokens(detail, level.max_side, level.short_side or level.max_side)


class PatchFamily(DetailLevels, _Family):
    """Models that count patches, squares of 32 pixels."""

    kind: Literal["patch"]
    multiplier: Annotated[Decimal, Field(gt=0, max_digits=9)]

    @model_validator(mode="after")
    def _no_tiles(self) -> Self:
        if any(level.short_side or level.base_only for level in self.all_levels):
            raise ValueError("short_side and base_only are for tile models")
        return self

    def tokens(self, _detail: Detail, width: int, height: int) -> int:
        """Count a picture that is already scaled."""
        return ceil(self.multiplier * _pieces(width, height, PATCH))

    def most_tokens(self, detail: Detail, max_patches: int) -> int:
        """Return the tokens that no picture exceeds."""
        level = self.at(detail)
        square = _pieces(level.max_side, level.max_side, PATCH)
        return ceil(self.multiplier * min(square, level.max_patches or max_patches))


class _OneLevelFamily(_Family):
    """Models that take no `detail`: every picture is scaled by the same rule."""

    max_side: PositiveInt

    @property
    def details(self) -> tuple[Detail, ...]:
        """What can be asked for by name."""
        return (Detail.AUTO,)

    def meaning(self, _detail: Detail) -> Detail:
        """Return what any `detail` stands for here."""
        return Detail.AUTO

    def scale(self, _detail: Detail, width: int, height: int, _patches: int) -> tuple[int, int]:
        """Return the size to which a picture is scaled."""
        return _within_sides(width, height, self.max_side)


class AreaFamily(_OneLevelFamily):
    """Models that count the area of a picture."""

    kind: Literal["area"]
    pixels_per_token: PositiveInt
    #: A picture that counts more is scaled down to so many.
    max_tokens: PositiveInt

    def scale(self, _detail: Detail, width: int, height: int, _patches: int) -> tuple[int, int]:
        """Return the size to which a picture is scaled."""
        width, height = _within_sides(width, height, self.max_side)
        most = self.max_tokens * self.pixels_per_token
        if width * height <= most:
            return width, height
        return isqrt(most * width // height), isqrt(most * height // width)

    def tokens(self, _detail: Detail, width: int, height: int) -> int:
        """Count a picture that is already scaled."""
        return -(-width * height // self.pixels_per_token)

    def most_tokens(self, detail: Detail, _max_patches: int) -> int:
        """Return the tokens that no picture exceeds."""
        return min(self.max_tokens, self.tokens(detail, self.max_side, self.max_side))


class GridFamily(_OneLevelFamily):
    """Models that count the tiles of a grid; a small picture is one tile."""

    kind: Literal["grid"]
    tile_tokens: PositiveInt
    #: The sides of a tile, and those of a picture that is one, in pixels.
    tile_side: PositiveInt
    small_side: PositiveInt

    def tokens(self, _detail: Detail, width: int, height: int) -> int:
        """Count a picture that is already scaled."""
        is_small = max(width, height) <= self.small_side
        return self.tile_tokens * (1 if is_small else _pieces(width, height, self.tile_side))

    def most_tokens(self, detail: Detail, _max_patches: int) -> int:
        """Return the tokens that no picture exceeds."""
        return self.tokens(detail, self.max_side, self.max_side)


class FixedFamily(_OneLevelFamily):
    """Models that count the same for every picture."""

    kind: Literal["fixed"]
    image_tokens: PositiveInt

    def tokens(self, _detail: Detail, _width: int, _height: int) -> int:
        """Count a picture."""
        return self.image_tokens

    def most_tokens(self, _detail: Detail, _max_patches: int) -> int:
        """Return the tokens that no picture exceeds."""
        return self.image_tokens


AnyFamily = TileFamily | PatchFamily | AreaFamily | GridFamily | FixedFamily
Family = Annotated[AnyFamily, Field(discriminator="kind")]


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
    unknown: DetailLevels
    families: Annotated[tuple[Family, ...], Field(alias="family", min_length=1)]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        refuse_twice(model for family in self.families for model in family.models)
        with_levels = (each for each in self.families if isinstance(each, DetailLevels))
        for level in (each for row in (self.unknown, *with_levels) for each in row.all_levels):
            # The narrowest strip must fit: scaling can't make it cover fewer patches.
            if ceil(level.max_side / PATCH) > (level.max_patches or self.request.max_patches):
                raise ValueError(f"max_side {level.max_side} exceeds max_patches in a row")
        return self

    @property
    def _by_model(self) -> dict[str, AnyFamily]:
        return {model: family for family in self.families for model in family.models}

    def family_of(self, model: str) -> AnyFamily | None:
        """Return the family of a model, or None if no row speaks of it."""
        return match_model(self._by_model, model)

    def request_of(self, model: str) -> RequestLimits:
        """Return what one request to a model may hold."""
        family = self.family_of(model)
        if family is None:
            return self.request
        limits = {
            "max_images": family.max_images,
            "max_image_bytes": family.max_image_bytes,
            "max_base64_bytes": family.max_image_bytes,
        }
        return self.request.model_copy(
            update={
                name: min(most, getattr(self.request, name) or most)
                for name, most in limits.items()
                if most
            }
        )


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
    family = rules.family_of(model) or rules.unknown
    return family.scale(detail, width, height, rules.request.max_patches)


def lost_detail(size: tuple[int, int], seen: tuple[int, int]) -> float | None:
    """Return by how much a picture is scaled down, where so little is left that print is lost.

    A photo keeps its short side whatever its pixels; of a long page only a strip remains.
    """
    reduction = max(size) / max(seen)
    return reduction if reduction >= _FAR_REDUCED and min(seen) < _NARROW else None


def image_tokens(rules: VisionRules, model: str, detail: Detail, width: int, height: int) -> int:
    """Forecast the tokens of a picture; for an unknown model the most that any family counts."""
    seen, most = seen_size(rules, model, detail, width, height), rules.request.max_patches
    return max(
        family.tokens(detail, *family.scale(detail, *seen, most))
        for family in _candidates(rules, model)
    )


def most_image_tokens(rules: VisionRules, model: str, detail: Detail) -> int:
    """Return tokens that no picture exceeds: the reserve for one whose size is not known."""
    most = rules.request.max_patches
    return max(family.most_tokens(detail, most) for family in _candidates(rules, model))


def _candidates(rules: VisionRules, model: str) -> tuple[AnyFamily, ...]:
    family = rules.family_of(model)
    return (family,) if family else rules.families


def _pieces(width: int, height: int, side: int) -> int:
    return -(-width // side) * -(-height // side)


def _within_sides(
    width: int, height: int, max_side: int, short_side: int | None = None
) -> tuple[int, int]:
    """Fit both sides. Exact: no side is a pixel short for want of digits."""
    if width < 1 or height < 1:
        raise ValueError(f"a picture of {width} by {height} pixels")
    long, short = max(width, height), min(width, height)
    limit, side = max_side, long
    if short_side and short_side * long < limit * short:
        limit, side = short_side, short
    if side > limit:
        width, height = max(1, width * limit // side), max(1, height * limit // side)
    return width, height


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
    """Return tokens that no text exceeds, of whichever vendor.

    Assumed of all tokenizers: they cut bytes, or letters with bytes as the fallback, so that no
    token is shorter than a byte.
    """
    return sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)


_RUNS: Final = re.compile(
    r"(?P<latin>[A-Za-z]+)"
    r"|(?P<digits>[0-9]+)"
    r"|(?P<european>(?:(?![\W\d_])[\u00aa-\u052f])+)"
    r"|(?P<letter>[^\W\d_])"
    r"| (?=\S)"
    r"|(?P<blank>\s+)"
    r"|(?P<sign>[!-/:-@\[-`{-~]+)"
    r"|(?P<rest>.)",
    re.DOTALL,
)


def forecast_text_tokens(text: str) -> int:
    """Forecast the tokens of a text, rather high than low, without the model's vocabulary.

    Counted in runs: Latin words a token for every 6 letters begun, Cyrillic, Greek and accented
    ones for every 4, numbers for every 3 digits, signs of ASCII for every 2; letters of all other
    scripts one each, a run of blanks one, any other character half its bytes in UTF-8; a blank
    before anything else is part of that. Held against OpenAI's o200k_base on 2026-11-30, English
    and Russian prose, JSON and Python come out at 1.06 to 1.37 of what it counts. What is reserved
    never rests on this: see `most_text_tokens`.
    """
    return sum(_run_tokens(run.lastgroup, run.group()) for run in _RUNS.finditer(text))


#: Characters of a token, by the kind of run.
_PER_TOKEN: Final = {"latin": 6, "digits": 3, "european": 4, "sign": 2, "letter": 1}


def _run_tokens(kind: str | None, run: str) -> int:
    match kind:
        case None:
            return 0
        case "blank":
            return 1
        case "rest":
            return -(-len(run.encode("utf-8", "surrogatepass")) // 2)
    return -(-len(run) // _PER_TOKEN[kind])
