"""Rate limits of a model at the provider."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, TypeAdapter

from visionq.contract.base import Document, ModelName

#: Within what arithmetic over minutes bears.
PerMinute = Annotated[float, Field(ge=0.001, le=1e9)]


class Limits(Document):
    """Limits of one model; unset ones do not limit."""

    requests_per_minute: PerMinute | None = None
    tokens_per_minute: PerMinute | None = None
    #: Calls at a time.
    concurrency: Annotated[int, Field(ge=1, le=1_000_000)] | None = None

    def to_compact_json(self) -> str:
        """Return the limits that are set."""
        return self.model_dump_json(exclude_none=True)


#: All models that no limits are named for.
ALL_MODELS = "*"
MODEL_NAME: TypeAdapter[str] = TypeAdapter(ModelName)
