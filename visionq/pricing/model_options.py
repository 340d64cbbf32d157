"""Request options that each model takes: pure functions over `visionq/data/options.toml`."""

from __future__ import annotations

import functools
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Final, Self

from pydantic import Field, NonNegativeInt, StringConstraints, model_validator

from visionq.contract.job import Detail, Effort
from visionq.data import Dated, Facts, Model, load, match_model, refuse_twice
from visionq.errors import ConfigurationError, InvalidJob

if TYPE_CHECKING:
    from pathlib import Path

    from visionq.contract import JobDocument

#: Values of VISIONQ_DEFAULT_EFFORT besides efforts: the least that the model takes; none sent, so
#: that the provider's default applies.
LEAST: Final = "least"
PROVIDER: Final = "provider"
#: No reasoning at all.
NO_EFFORT: Final = "none"


class Temperature(StrEnum):
    """When a model takes `temperature`."""

    ALWAYS = "always"
    WITHOUT_REASONING = "without_reasoning"
    NEVER = "never"


class EffortRow(Dated):
    """The reasoning tokens of one answer that an effort implies."""

    name: Effort
    tokens: NonNegativeInt
    room: NonNegativeInt


class ModelOptions(Dated):
    """The options that the models of one row take."""

    name: Annotated[str, StringConstraints(min_length=1)]
    models: Annotated[tuple[Model, ...], Field(min_length=1)]
    #: The least first.
    efforts: tuple[Effort, ...]
    default_effort: Effort | None = None
    temperature: Temperature
    structured_outputs: bool = True
    #: Whether it takes `detail` for pictures.
    detail: bool = True

    @model_validator(mode="after")
    def _known_default(self) -> Self:
        if bool(self.efforts) != (self.default_effort is not None):
            raise ValueError("default_effort belongs to a model that takes efforts")
        if self.default_effort is not None and self.default_effort not in self.efforts:
            raise ValueError(f"default_effort: {self.default_effort} is none of efforts")
        return self

    @property
    def least_effort(self) -> str | None:
        """The least effort that the model takes, or None."""
        return self.efforts[0] if self.efforts else None


class OptionTable(Facts):
    """Options of all known models, and the reasoning tokens of each effort."""

    efforts: Annotated[tuple[EffortRow, ...], Field(alias="effort")] = ()
    models: Annotated[tuple[ModelOptions, ...], Field(alias="model", min_length=1)]

    @model_validator(mode="after")
    def _once_each(self) -> Self:
        refuse_twice(model for row in self.models for model in row.models)
        refuse_twice(effort.name for effort in self.efforts)
        return self

    @functools.cached_property
    def _by_model(self) -> dict[str, ModelOptions]:
        return {model: row for row in self.models for model in row.models}

    @functools.cached_property
    def _by_effort(self) -> dict[str, EffortRow]:
        return {row.name: row for row in self.efforts}

    def for_model(self, model: str) -> ModelOptions | None:
        """Return the options of a model or its snapshot; None if unknown."""
        return match_model(self._by_model, model)

    def takes_detail(self, model: str) -> bool:
        """Return whether a model takes `detail`; true for unknown models."""
        row = self.for_model(model)
        return row is None or row.detail

    def effort_of(self, model: str, default: str) -> str | None:
        """Return the effort for a job that names none; None: send none.

        Args:
            model: the job's model.
            default: VISIONQ_DEFAULT_EFFORT; an effort that the model does not take means the least.
        """
        row = self.for_model(model)
        if row is None or default == PROVIDER:
            return None
        return default if default in row.efforts else row.least_effort

    def check_default_effort(self, default: str) -> None:
        """Refuse a VISIONQ_DEFAULT_EFFORT that no model takes.

        Raises:
            ConfigurationError: the message names the variable and the known values.
        """
        known = dict.fromkeys(effort for row in self.models for effort in row.efforts)
        if default not in (LEAST, PROVIDER, *known):
            there_are = ", ".join((LEAST, PROVIDER, *known))
            message = (
                f"VISIONQ_DEFAULT_EFFORT: {default!r} is not an effort; use one of: {there_are}"
            )
            raise ConfigurationError(message)

    def reasoning_tokens(self, model: str, effort: str | None) -> int:
        """Return the reasoning tokens expected of an answer before any has been seen."""
        row = self._meant(model, effort)
        return row.tokens if row else 0

    def room(self, model: str, effort: str | None) -> int:
        """Return the tokens added to the output limit for reasoning."""
        row = self._meant(model, effort)
        return row.room if row else 0

    def _meant(self, model: str, effort: str | None) -> EffortRow | None:
        row = self.for_model(model)
        name = effort or (row.default_effort if row else None)
        return self._by_effort.get(name) if name else None


@functools.lru_cache(maxsize=16)
def load_option_table(path: Path | None = None) -> OptionTable:
    """Read the table once per process.

    Raises:
        ConfigurationError: the message names file, line, row and field that is wrong.
    """
    return load(OptionTable, "options.toml", path)


def check_model_options(job: JobDocument, table: OptionTable) -> None:
    """Refuse options that the job's model does not take.

    Raises:
        InvalidJob: the message names the field and the known values.
    """
    row = table.for_model(job.model) if job.model is not None else None
    if row is None:
        return
    if job.effort is not None and job.effort not in row.efforts:
        there_are = f"takes {', '.join(row.efforts)}" if row.efforts else "takes no effort"
        leave = "" if row.efforts else ": leave it out"
        raise InvalidJob(f"effort: {job.model} {there_are}, not {job.effort!r}{leave}")
    if job.temperature is not None and (why := _no_temperature(row, job.effort)):
        raise InvalidJob(f"temperature: {job.model} {why}")
    if job.answer_schema is not None and not row.structured_outputs:
        raise InvalidJob(
            f"answer_schema: {job.model} takes no JSON Schema: describe the format in the prompt,"
            " or choose another model"
        )
    if job.detail is not Detail.AUTO and not row.detail:
        raise InvalidJob(f"detail: {job.model} takes none: leave it out, or set it to auto")


def check_report(job: JobDocument, asked: tuple[str, ...], table: OptionTable) -> None:
    """Refuse picture findings of a model that takes no JSON Schema.

    Raises:
        InvalidJob: the message names the first of `asked`.
    """
    row = table.for_model(job.model or "")
    if asked and row is not None and not row.structured_outputs:
        raise InvalidJob(
            f"pictures.{asked[0]}: {job.model} takes no JSON Schema, which this report needs:"
            " switch it off, use a local detector, or choose another model"
        )


def _no_temperature(row: ModelOptions, effort: str | None) -> str | None:
    """Return why the model takes no temperature; None if it does."""
    match row.temperature:
        case Temperature.NEVER:
            return "takes none: leave it out"
        case Temperature.WITHOUT_REASONING if (effort or row.default_effort) != NO_EFFORT:
            return f"takes one only without reasoning: leave it out, or set effort to {NO_EFFORT}"
    return None
