"""When models shut down: announced dates, and warnings about them.

The table holds OpenAI's announcements; a `shutdown_date` in the provider's own list of models
(`visionq.pricing.model_list`) takes precedence.
"""

from __future__ import annotations

import functools
from collections import ChainMap
from dataclasses import dataclass
from datetime import date
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Final, Self

from pydantic import Field, model_validator

from visionq.data import Dated, Facts, Model, load, match_model, refuse_twice
from visionq.wording import counted

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

#: Days before a shutdown from which a warning is given.
WARNING_DAYS: Final = 90
_NONE_LISTED: Final[Mapping[str, date]] = MappingProxyType({})


class Shutdown(Dated):
    """Models that shut down on one day; `date` is that of the source."""

    on: date
    models: Annotated[tuple[Model, ...], Field(min_length=1)]
    #: The replacement that the provider recommends.
    replacement: Model | None = None


class ModelEnds(Facts):
    """All announced shutdowns."""

    shutdowns: Annotated[tuple[Shutdown, ...], Field(alias="shutdown", min_length=1)]

    @model_validator(mode="after")
    def _once_each(self) -> Self:
        refuse_twice(model for shutdown in self.shutdowns for model in shutdown.models)
        return self

    @functools.cached_property
    def by_model(self) -> dict[str, Shutdown]:
        """The rows by model."""
        return {model: row for row in self.shutdowns for model in row.models}


@dataclass(frozen=True, slots=True)
class ModelEnd:
    """The shutdown of one model."""

    on: date
    #: Where it was announced.
    source: str
    replacement: str | None = None

    def days_left(self, today: date) -> int:
        """Return the days left; 0 or less if it has ended."""
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
    """Return the announced end of a model or its snapshot, or None.

    `listed` has the dates of the provider's own list by bare name; they take precedence.
    """
    rows = (table or load_model_ends()).by_model
    known: Mapping[str, date | Shutdown] = ChainMap(listed, rows)  # type: ignore[arg-type]  # read only
    found = match_model(known, model)
    if isinstance(found, Shutdown):
        return ModelEnd(found.on, f"{found.source}, {found.date}", found.replacement)
    if found is None:
        return None
    return ModelEnd(found, "the provider's list of models", replacement_of(model, table))


def replacement_of(model: str, table: ModelEnds | None = None) -> str | None:
    """Return the recommended replacement of a model, or None."""
    row = match_model((table or load_model_ends()).by_model, model)
    return row.replacement if row else None


def warning_for(model: str, today: date, listed: Mapping[str, date] = _NONE_LISTED) -> str | None:
    """Return a warning if a model has ended or ends within 90 days."""
    end = end_of(model, listed)
    if end is None:
        return None
    days = end.days_left(today)
    if days > WARNING_DAYS:
        return None
    if days <= 0:
        when = "was announced to shut down on"
    else:
        when = f"shuts down in {counted(days, 'day')}, on"
    return f"model {model} {when} {end.on} ({end.source}){in_its_place(end)}"


def in_its_place(end: ModelEnd) -> str:
    """Return `; use MODEL`, or an empty string if there is no replacement."""
    return f"; use {end.replacement}" if end.replacement else ""
