"""When models end: the dates that are announced, and what to tell people about them.

The table holds OpenAI's announcements; the `shutdown_date` of the provider's own list of models
(`visionq.pricing.model_list`) is preferred to it.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from datetime import date
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Final, Self

from pydantic import Field, model_validator

from visionq.data import Dated, Facts, Model, load, match_model, refuse_twice

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

#: How many days ahead people are warned.
WARNING_DAYS: Final = 90
_NONE_LISTED: Final[Mapping[str, date]] = MappingProxyType({})


class Shutdown(Dated):
    """The models that end on one day; `date` is that of the source."""

    on: date
    models: Annotated[tuple[Model, ...], Field(min_length=1)]
    #: The model that the provider names in their place.
    replacement: Model | None = None


class ModelEnds(Facts):
    """All announced ends."""

    shutdowns: Annotated[tuple[Shutdown, ...], Field(alias="shutdown", min_length=1)]

    @model_validator(mode="after")
    def _once_each(self) -> Self:
        refuse_twice(model for shutdown in self.shutdowns for model in shutdown.models)
        return self


@dataclass(frozen=True, slots=True)
class ModelEnd:
    """When one model ends."""

    on: date
    #: Who says so.
    source: str
    replacement: str | None = None

    def days_left(self, today: date) -> int:
        """Return the days until then; 0 or less: it has ended."""
        return (self.on - today).days


@functools.cache
def _default_ends() -> ModelEnds:
    return load(ModelEnds, "models.toml", None)


def load_model_ends(path: Path | None = None) -> ModelEnds:
    """Read the dates; `ConfigurationError` names file, line, row and field that is wrong."""
    return load(ModelEnds, "models.toml", path) if path else _default_ends()


def end_of(
    model: str, listed: Mapping[str, date] = _NONE_LISTED, table: ModelEnds | None = None
) -> ModelEnd | None:
    """Return when a model, or the model of a snapshot, is announced to end.

    `listed` are the dates of the provider's own list, by bare name: they are preferred.
    """
    rows = {name: row for row in (table or load_model_ends()).shutdowns for name in row.models}
    name = match_model({known: known for known in (*rows, *listed)}, model)
    if name is None:
        return None
    if (on := listed.get(name)) is not None:
        return ModelEnd(on, "the provider's list of models", replacement_of(name, table))
    row = rows[name]
    return ModelEnd(row.on, f"{row.source}, {row.date}", row.replacement)


def replacement_of(model: str, table: ModelEnds | None = None) -> str | None:
    """Return the model that is named in place of one that ends, or None."""
    rows = (table or load_model_ends()).shutdowns
    named = {name: row.replacement for row in rows for name in row.models}
    return match_model(named, model)


def warning_for(model: str, today: date, listed: Mapping[str, date] = _NONE_LISTED) -> str | None:
    """Say in one line that a model has ended or ends within 90 days, or return None."""
    end = end_of(model, listed)
    if end is None:
        return None
    days = end.days_left(today)
    if days > WARNING_DAYS:
        return None
    if days <= 0:
        when = "was announced to shut down on"
    else:
        when = f"shuts down in {days} day{'s' if days > 1 else ''}, on"
    return f"model {model} {when} {end.on} ({end.source}){in_its_place(end)}"


def in_its_place(end: ModelEnd) -> str:
    """Return `; use MODEL`, or nothing where none is named."""
    return f"; use {end.replacement}" if end.replacement else ""
