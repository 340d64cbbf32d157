"""Answers as objects of the caller's own pydantic models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pydantic import BaseModel, Field, ValidationError

from visionq.contract import ResultDocument
from visionq.contract.job import describe
from visionq.errors import InvalidJob, InvalidOutput

if TYPE_CHECKING:
    from collections.abc import Mapping

Model = TypeVar("Model", bound=BaseModel)


class TypedResult(ResultDocument, Generic[Model]):
    """A result, and its answer as an object of the model that was asked for."""

    parsed: Model = Field(exclude=True)


def typed(result: ResultDocument, model: type[Model]) -> TypedResult[Model]:
    """Return the result with its data read by the model.

    Raises:
        InvalidOutput: the model does not take the data, as where it has validators of its own; the
            error has the text that was paid for, and its cost.
    """
    try:
        parsed = model.model_validate(result.data)
    except ValidationError as error:
        raise InvalidOutput(
            f"the answer is no {model.__name__}: {describe(error)}",
            text=result.text,
            cost_rub=result.cost_rub,
            usage=result.usage,
            request_id=result.request_id,
        ) from None
    return TypedResult[model](**dict(result), parsed=parsed)  # type: ignore[valid-type]  # a model that is known at run time


def with_schema(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a job with `schema`, a model or a JSON Schema, as its `answer_schema`.

    Raises:
        InvalidJob: `schema` is neither, or `answer_schema` is given as well.
    """
    rest = {name: value for name, value in fields.items() if name != "schema"}
    schema = fields.get("schema")
    if schema is None:
        return rest
    if rest.get("answer_schema") is not None:
        raise InvalidJob("schema: give either schema or answer_schema")
    if isinstance(schema, type) and issubclass(schema, BaseModel):
        schema = schema.model_json_schema()
    if not isinstance(schema, dict):
        raise InvalidJob("schema: give a pydantic model or a JSON Schema")
    return {**rest, "answer_schema": schema}
