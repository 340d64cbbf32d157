"""When models end: the dates that OpenAI has announced, and what to tell people about them."""

from __future__ import annotations

import functools
from datetime import date
from typing import TYPE_CHECKING, Annotated, Final, Self

from pydantic import Field, model_validator

from visionq.data import Dated, Facts, Model, load, match_model, refuse_twice

if TYPE_CHECKING:
    from pathlib import Path

#: How many days ahead people are warned.
WARNING_DAYS: Final = 90


class Shutdown(Dated):
    """The models that end on one day; `date` is that of the source."""

    on: date
    models: Annotated[tuple[Model, ...], Field(min_length=1)]


class ModelEnds(Facts):
    """All announced ends."""

    shutdowns: Annotated[tuple[Shutdown, ...], Field(alias="shutdown", min_length=1)]

    @model_validator(mode="after")
    def _once_each(self) -> Self:
        refuse_twice(model for shutdown in self.shutdowns for model in shutdown.models)
        return self

    @property
    def _by_model(self) -> dict[str, Shutdown]:
        return {model: shutdown for shutdown in self.shutdowns for model in shutdown.models}

    def for_model(self, model: str) -> Shutdown | None:
        """Return the announced end of a model or of a snapshot of it."""
        return match_model(self._by_model, model)


@functools.cache
def _default_ends() -> ModelEnds:
    return load(ModelEnds, "models.toml", None)


def load_model_ends(path: Path | None = None) -> ModelEnds:
    """Read the dates; `ConfigurationError` names file, line, row and field that is wrong."""
    return load(ModelEnds, "models.toml", path) if path else _default_ends()


def shutdown_of(model: str, ends: ModelEnds | None = None) -> date | None:
    """Return the day on which a model is announced to end, or None."""
    shutdown = (ends or load_model_ends()).for_model(model)
    return shutdown.on if shutdown else None


def warning_for(model: str, today: date, ends: ModelEnds | None = None) -> str | None:
    """Say in one line that a model has ended or ends within 90 days, or return None."""
    shutdown = (ends or load_model_ends()).for_model(model)
    if shutdown is None:
        return None
    days = (shutdown.on - today).days
    if days > WARNING_DAYS:
        return None
    if days <= 0:
        when = "was announced to shut down on"
    else:
        when = f"shuts down in {days} day{'s' if days > 1 else ''}, on"
    return f"model {model} {when} {shutdown.on} ({shutdown.source}, {shutdown.date})"
