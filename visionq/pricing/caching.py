"""Models that write a prompt cache, and their terms: `visionq/data/caching.toml`."""

from __future__ import annotations

import functools
from typing import Annotated, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from visionq.contract import Api
from visionq.data import Dated, ExactNumber, Facts, Model, load, match_model, refuse_twice

#: Least time for which a written prompt is kept: values of `prompt_cache_options.ttl`.
Lifetime = Literal["30m", "12h"]


class Caching(Dated):
    """Models with the same caching terms, which take `prompt_cache_options`."""

    models: Annotated[tuple[Model, ...], Field(min_length=1)]
    #: Price of a written token, as a multiple of an input token's.
    write_factor: Annotated[ExactNumber, Field(ge=1, le=10, decimal_places=4)]
    #: Prompts with fewer tokens are neither written nor read.
    min_tokens: PositiveInt
    #: The default first; `chat_lifetimes` for Chat Completions, if it takes fewer.
    lifetimes: Annotated[tuple[Lifetime, ...], Field(min_length=1)]
    chat_lifetimes: Annotated[tuple[Lifetime, ...], Field(min_length=1)] | None = None

    def lifetimes_of(self, api: Api) -> tuple[str, ...]:
        """Return the lifetimes that an API takes."""
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
        """Return the terms of a model or its snapshot; None if unknown."""
        return match_model({name: row for row in self.rows for name in row.models}, model)


@functools.cache
def load_caching() -> CachingRules:
    """Read the table."""
    return load(CachingRules, "caching.toml", None)
