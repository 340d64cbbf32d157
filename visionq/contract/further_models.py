"""Further models of a job: whom to ask when its own is away, refuses, or is not sure enough."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Final

from pydantic import Field, StringConstraints

from visionq.contract.base import Document, ModelName, Rubles
from visionq.sureness import Sureness

#: Models that a job may name beside its own, in a fallback or in a cascade.
MOST_FURTHER_MODELS: Final = 4
FurtherModels = Annotated[tuple[ModelName, ...], Field(max_length=MOST_FURTHER_MODELS)]
#: Why a job goes on to the next model of its cascade although it has a valid answer.
UNSURE: Final = "unsure"


class Cascade(Document):
    """The models to ask after the job's own, each only if the one before is not good enough.

    An answer is not good enough if it is invalid, refused, cut off, or less sure than `sure_at`.
    That of the last model is taken as it is.
    """

    models: Annotated[FurtherModels, Field(min_length=1)]
    #: None: no answer is sure enough, so that every model is asked.
    sure_at: Annotated[float, Field(ge=0, le=1)] | None
    sureness: Sureness = Sureness.FIELD
    #: Where the answer says how sure it is: `confidence`, or deeper as `quality.confidence`.
    field: Annotated[str, StringConstraints(pattern=r"^[^.\s]+(\.[^.\s]+)*$", max_length=256)] = (
        "confidence"
    )


class JobStep(Document):
    """A model that a job was asked of, and left."""

    model: str
    #: Why: `unsure`, an error's code, or what held the model.
    reason: str
    #: What its calls cost.
    cost_rub: Rubles = Decimal(0)
    #: How sure its answer was; None: there was none, or it did not say.
    sureness: float | None = None
    #: What it wrote all the same; empty: nothing.
    text: str = ""
