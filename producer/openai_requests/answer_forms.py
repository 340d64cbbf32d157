"""The requested form of the answer: text, JSON, JSON with a schema, or a function call.

No function is called here. Clients request an object by a function whose parameters describe it:
they become the schema of the answer, which is returned as that call.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from pydantic import (
    BeforeValidator,
    Field,
    JsonValue,
    StrictBool,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from producer.openai_requests.unsupported import NotSupported, Part, not_supported
from visionq.answer_schemas import ANY_OBJECT, check_schema
from visionq.contract import AnswerFormat
from visionq.errors import InvalidJob

#: The name of a schema or a function.
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
_NO_PARAMETERS: Final = {"type": "object", "properties": {}, "additionalProperties": False}
_FUNCTION: Final = "function"
_ONE_FUNCTION: Final = (
    "no tool is run here; give one function, and its parameters are the form of the answer"
)
_CHOICES: Final = ("none", "auto", "required")
_WRONG_CHOICE: Final = "give none, auto, required, or the function by its name, in this API's form"


class TextFormat(Part):
    """Free text."""

    type: Literal["text"]


class ObjectFormat(Part):
    """Any JSON object."""

    type: Literal["json_object"]


class NamedSchema(Part):
    """A JSON Schema under a name."""

    name: Name
    schema_: dict[str, JsonValue] = Field(alias="schema")
    description: str | None = None
    #: The schema is always enforced, strictly if its form allows.
    strict: StrictBool | None = None


class Function(Part):
    """A function; its parameters are the form of the answer."""

    name: Name
    description: str | None = None
    parameters: dict[str, JsonValue] | None = None
    strict: StrictBool | None = None


class ResponsesTool(Function):
    """A function in the form of `/v1/responses`."""

    type: Literal["function"]
    allowed_callers: Annotated[None, NotSupported(_ONE_FUNCTION)] = None
    defer_loading: Annotated[None, NotSupported(_ONE_FUNCTION, but=(False,))] = None
    output_schema: Annotated[None, NotSupported(_ONE_FUNCTION)] = None


class ChatTool(Part):
    """A function in the form of `/v1/chat/completions`."""

    type: Literal["function"]
    function: Function


class NamedFunction(Part):
    """The function to call."""

    name: Name


class ResponsesChoice(NamedFunction):
    """The choice of one function, in the form of `/v1/responses`."""

    type: Literal["function"]


class ChatChoice(Part):
    """The choice of one function, in the form of `/v1/chat/completions`."""

    type: Literal["function"]
    function: NamedFunction


def _one_function(tools: object) -> object:
    given = tools if isinstance(tools, list) else []
    for tool in given:
        kind = tool.get("type") if isinstance(tool, dict) else None
        if isinstance(kind, str) and kind != _FUNCTION:
            raise not_supported(f"is not supported: {_ONE_FUNCTION}", kind=kind)
    if len(given) > 1:
        raise not_supported(f"several tools are not supported: {_ONE_FUNCTION}")
    return tools


def _known_choice(choice: object, read: ValidatorFunctionWrapHandler) -> object:
    kind = choice.get("type") if isinstance(choice, dict) else choice
    if isinstance(kind, str) and kind not in (*_CHOICES, _FUNCTION):
        wanted = "is not supported: give none, auto, required, or the function"
        raise not_supported(wanted, kind=kind)
    try:
        return read(choice)
    except ValidationError:  # pydantic would report the first form
        raise not_supported(_WRONG_CHOICE) from None


OneFunction = BeforeValidator(_one_function)
KnownChoice = WrapValidator(_known_choice)
WordOfChoice = Literal["none", "auto", "required"]


@dataclass(frozen=True, slots=True)
class AnswerForm:
    """The form of an answer, as fields of a job."""

    answer_schema: dict[str, Any] | None = None
    answer_format: AnswerFormat | None = None

    def to_fields(self) -> dict[str, Any]:
        """Return the fields that are not empty."""
        given = self.answer_format and self.answer_format.model_dump(exclude_none=True)
        fields = {"answer_schema": self.answer_schema, "answer_format": given}
        return {name: value for name, value in fields.items() if value is not None}


TEXT: Final = AnswerForm()
JSON_OBJECT: Final = AnswerForm(ANY_OBJECT)


def form_of_schema(named: NamedSchema, field: str) -> AnswerForm:
    """Return the form for a schema; raise `ValueError` that begins with `field`."""
    schema = _described(named.schema_, named.description, field)
    given = named.model_dump(include={"name", "description", "strict"})
    return AnswerForm(schema, AnswerFormat(type="json_schema", **given))


def form_of_call(function: Function | None, choice: str | None, field: str) -> AnswerForm | None:
    """Return the form for a function call, or None if there is none to make.

    `choice` is `none`, `auto`, `required`, or the name of the function.

    Raises:
        ValueError: there is no such function, or its parameters are not a schema.
    """
    word: Any = choice or "auto"
    if word == "none" or (function is None and word == "auto"):
        return None
    if function is None or word not in {*_CHOICES, function.name}:
        raise ValueError(f"tool_choice: {word}, but there is no such function in tools")
    if word not in _CHOICES:
        word = _FUNCTION
    schema = _described(function.parameters or _NO_PARAMETERS, function.description, field)
    given = function.model_dump(include={"name", "description", "strict"})
    return AnswerForm(schema, AnswerFormat(type=_FUNCTION, tool_choice=word, **given))


def _described(schema: dict[str, Any], description: str | None, field: str) -> dict[str, Any]:
    """Return the schema with its description, which the model reads there."""
    if description and "description" not in schema:
        schema = {**schema, "description": description}
    try:
        check_schema(schema)
    except InvalidJob as error:
        raise ValueError(error.message.replace("answer_schema", field, 1)) from None
    return schema
