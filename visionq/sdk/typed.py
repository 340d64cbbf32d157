"""Answers as objects of the caller's own pydantic models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from pydantic import BaseModel, Field, ValidationError

from visionq.contract import ResultDocument
from visionq.errors import InvalidJob, InvalidOutput, VisionqError
from visionq.input_errors import describe

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping

Model = TypeVar("Model", bound=BaseModel)

_NO_SCHEMA: Final = "schema: give a pydantic model or a JSON Schema"


class TypedResult(ResultDocument, Generic[Model]):
    """A result, and its answer as an object of the model that was asked for."""

    parsed: Model = Field(exclude=True)


def model_of(schema: type[Model] | Mapping[str, Any] | None) -> type[Model] | None:
    """Return the model that answers are read by; none for a JSON Schema, whose answers are `data`.

    Raises:
        InvalidJob: it is neither; to be asked before anything is paid.
    """
    if schema is None or isinstance(schema, dict):
        return None
    if isinstance(schema, type) and issubclass(schema, BaseModel):
        return schema
    raise InvalidJob(_NO_SCHEMA)


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


def typed_end(
    end: ResultDocument | VisionqError, model: type[Model] | None
) -> ResultDocument | VisionqError:
    """Return the end of a job with its answer read by the model; what it does not take is an error.

    For where ends are handed out one by one, and that of one job may not end the others.
    """
    if model is None or isinstance(end, VisionqError):
        return end
    try:
        return typed(end, model)
    except InvalidOutput as error:
        return error


def asking_for(
    jobs: Iterable[Mapping[str, Any]], schema: type[Model] | Mapping[str, Any] | None
) -> Iterable[Mapping[str, Any]]:
    """Return the jobs, each asking for the schema unless it names one itself."""
    return jobs if schema is None else (_asking_for(fields, schema) for fields in jobs)


async def asking_for_async(
    jobs: AsyncIterator[Mapping[str, Any]], schema: type[Model] | Mapping[str, Any] | None
) -> AsyncIterator[Mapping[str, Any]]:
    """Do the same for asyncio."""
    async for fields in jobs:
        yield fields if schema is None else _asking_for(fields, schema)


def _asking_for(
    fields: Mapping[str, Any], schema: type[Model] | Mapping[str, Any]
) -> Mapping[str, Any]:
    has_its_own = any(fields.get(name) is not None for name in ("schema", "answer_schema"))
    return fields if has_its_own else {**fields, "schema": schema}


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
    model = model_of(schema)
    return {**rest, "answer_schema": schema if model is None else model.model_json_schema()}
