"""Answers as objects of the caller's pydantic models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Generic, TypeVar

from pydantic import BaseModel, Field, ValidationError

from visionq.contract import ResultDocument
from visionq.errors import InvalidJob, InvalidOutput, VisionqError
from visionq.input_errors import describe

#: How a job ended: with a result, or with the error that `wait` raises.
End = ResultDocument | VisionqError

Model = TypeVar("Model", bound=BaseModel)
Schema = type[BaseModel] | Mapping[str, Any] | None

_NO_SCHEMA: Final = "schema: give a pydantic model or a JSON Schema"


class TypedResult(ResultDocument, Generic[Model]):
    """A result with its answer as an object of your model."""

    parsed: Model = Field(exclude=True)


def model_of(schema: type[Model] | Mapping[str, Any] | None) -> type[Model] | None:
    """Return the model that parses answers; None for a JSON Schema, whose answers are `data`.

    Raises:
        InvalidJob: it is neither a model nor a schema.
    """
    if schema is None or isinstance(schema, dict):
        return None
    if isinstance(schema, type) and issubclass(schema, BaseModel):
        return schema
    raise InvalidJob(_NO_SCHEMA)


def typed(result: ResultDocument, model: type[Model]) -> TypedResult[Model]:
    """Return the result with its data parsed by the model.

    Raises:
        InvalidOutput: the data fail the model's own validators; the error has text and cost.
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


def typed_end(end: End, model: type[Model] | None) -> End:
    """Return the end of a job, parsed; an invalid answer becomes an error.

    Iterators use it: an error of one job must not end the others.
    """
    if model is None or isinstance(end, VisionqError):
        return end
    try:
        return typed(end, model)
    except InvalidOutput as error:
        return error


def result_of(end: End, model: type[Model] | None) -> ResultDocument | TypedResult[Model]:
    """Return the result of a job that has ended, or raise its error."""
    if isinstance(end, VisionqError):
        raise end
    return end if model is None else typed(end, model)


def asking_for(fields: Mapping[str, Any], schema: Schema) -> Mapping[str, Any]:
    """Return the fields of a job with the schema, unless they name one themselves."""
    if schema is None or not isinstance(fields, Mapping):
        return fields
    has_its_own = any(fields.get(name) is not None for name in ("schema", "answer_schema"))
    return fields if has_its_own else {**fields, "schema": schema}


def with_schema(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a job with `schema` turned into `answer_schema`.

    Raises:
        InvalidJob: `schema` is neither, or `answer_schema` is given as well.
    """
    rest = {name: value for name, value in fields.items() if name != "schema"}
    schema = fields.get("schema")
    if schema is None:
        return rest
    if rest.get("answer_schema") is not None:
        raise InvalidJob("schema: give either schema or answer_schema")
    model = model_of(schema)
    return {**rest, "answer_schema": schema if model is None else model.model_json_schema()}
