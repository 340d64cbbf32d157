"""Which models write a prompt cache by themselves, on what terms: `visionq/data/caching.toml`."""

from __future__ import annotations

import functools
from typing import Annotated, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from visionq.contract import Api
from visionq.data import Dated, ExactNumber, Facts, Model, load, match_model, refuse_twice

#: How long a written prompt is kept at least: values of `prompt_cache_options.ttl`.
Lifetime = Literal["30m", "12h"]


class Caching(Dated):
    """The models that cache on the same terms, and take `prompt_cache_options`."""

    models: Annotated[tuple[Model, ...], Field(min_length=1)]
    #: What a written token costs, in prices of an input token.
    write_factor: Annotated[ExactNumber, Field(ge=1, le=10, decimal_places=4)]
    #: Tokens below which a prompt is neither written nor read.
    min_tokens: PositiveInt
    #: The default first; of Chat Completions, where it takes fewer.
    lifetimes: Annotated[tuple[Lifetime, ...], Field(min_length=1)]
    chat_lifetimes: Annotated[tuple[Lifetime, ...], Field(min_length=1)] | None = None

    def lifetimes_of(self, api: Api) -> tuple[str, ...]:
        """Return the lifetimes that one of the APIs takes."""
        is_chat = api is Api.CHAT_COMPLETIONS
        return self.chat_lifetimes if is_chat and self.chat_lifetimes else self.lifetimes


class CachingRules(Facts):
    """The whole table."""

    rows: Annotated[tuple[Caching, ...], Field(alias="caching", min_length=1)]

    @model_validator(mode="after")
    def _once_each(self) -> Self:
        refuse_twice(model for row in self.rows for model in row.models)
        return self

    def for_model(self, model: str) -> Caching | None:
        """Return the terms of a model or of a snapshot of it; None: it is not known to write."""
        return match_model({name: row for row in self.rows for name in row.models}, model)


@functools.cache
def load_caching() -> CachingRules:
    """Read the table."""
    return load(CachingRules, "caching.toml", None)
