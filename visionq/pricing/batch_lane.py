"""Limits of the provider's batches: pure functions over `visionq/data/batches.toml`."""

from __future__ import annotations

import functools
from statistics import median
from typing import TYPE_CHECKING, Annotated, Final, Self

from pydantic import Field, model_validator

from visionq.data import Dated, Facts, Model, load, match_model, refuse_twice

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

#: Seconds that a batch is taken to need until one has shown it: most are done within the hour.
FIRST_GUESS: Final = 3600.0
#: Seconds that stopping a batch may take, until its lines are back.
STOPPING: Final = 900.0

_Tokens = Annotated[int, Field(strict=True, ge=1, le=10**12)]


class BatchLimits(Dated):
    """The most that one batch may hold."""

    lines: Annotated[int, Field(strict=True, ge=1, le=1_000_000)]
    bytes: Annotated[int, Field(strict=True, ge=1_000, le=10**10)]
    #: Input tokens that a model may have in batches that have not ended, all together.
    enqueued_tokens: _Tokens


class EnqueuedRow(Dated):
    """That limit for some models."""

    models: Annotated[tuple[Model, ...], Field(min_length=1)]
    tokens: _Tokens


class BatchTable(Facts):
    """The limits of all models."""

    limits: BatchLimits
    enqueued: tuple[EnqueuedRow, ...] = ()

    @model_validator(mode="after")
    def _once_each(self) -> Self:
        refuse_twice(model for row in self.enqueued for model in row.models)
        return self

    def for_model(self, model: str) -> BatchLimits:
        """Return the limits of a model, or of a snapshot of it."""
        row = match_model({name: row for row in self.enqueued for name in row.models}, model)
        if row is None:
            return self.limits
        changes = {"enqueued_tokens": row.tokens, "confirmed": row.confirmed}
        return self.limits.model_copy(update=changes | {"source": row.source, "date": row.date})


def usual_seconds(took: Sequence[float], guess: float = FIRST_GUESS) -> float:
    """Return the seconds that a batch takes, as a rule, by those that others took."""
    return median(took) if took else guess


@functools.lru_cache(maxsize=16)
def load_batch_table(path: Path | None) -> BatchTable:
    """Read the table once per process.

    Raises:
        ConfigurationError: the message names file, line, row and field that is wrong.
    """
    return load(BatchTable, "batches.toml", path)
