"""Refuse parts of requests by name, in one line that begins with the field."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel, ConfigDict
from pydantic_core import PydanticCustomError, core_schema

from visionq.input_errors import also, wording

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic.json_schema import JsonSchemaValue

#: The type of errors about unsupported values, which come before all others.
NOT_SUPPORTED: Final = "not_supported"


def complaint(errors: Sequence[Any]) -> tuple[str, str]:
    """Return the field of pydantic's first error, and a line about all of them."""
    first = next((error for error in errors if error["type"] == NOT_SUPPORTED), errors[0])
    if first["type"] == "json_invalid":
        return "body", f"body: {wording(first)}"
    field = ".".join(_path(first)) or "body"
    said = "not supported here" if first["type"] == "extra_forbidden" else wording(first)
    if first["type"] != NOT_SUPPORTED:
        # Pydantic also reports parts of each form of a value that it tries.
        said += also([(_path(error) or ["body"])[0] for error in (first, *errors)])
    return field, f"{field}: {said[:1].lower()}{said[1:]}"


def _path(error: Any) -> list[str]:  # noqa: ANN401  # pydantic's own type is a loose one
    return [str(part) for part in error["loc"] if part not in {"body", "query", "header", "path"}]


_LONGEST_KIND: Final = 64


class Part(BaseModel):
    """A part of a request; it refuses unknown fields by name."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def not_supported(words: str, *, kind: str = "") -> PydanticCustomError:
    """Return the error for a validator that meets an unsupported value.

    `kind` is the client's name of it, with which the message begins.
    """
    if kind:
        # A lone surrogate, which JSON allows, breaks pydantic's rendering of messages.
        shown = kind[:_LONGEST_KIND].encode("utf-8", "backslashreplace").decode()
        words = f"{shown} {words}"
    return PydanticCustomError(NOT_SUPPORTED, "{words}", {"words": words})


@dataclass(frozen=True)
class NotSupported:
    """Marks an unsupported field, which may be null or one of the neutral values `but`."""

    #: The unsupported feature, and its replacement.
    words: str
    but: tuple[object, ...] = ()

    def __get_pydantic_core_schema__(
        self, _: object, __: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        """Return pydantic's schema of the field."""
        return core_schema.no_info_plain_validator_function(self._check)

    def __get_pydantic_json_schema__(
        self, _: core_schema.CoreSchema, __: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Return the field's JSON Schema for the OpenAPI document."""
        return {"enum": [None, *self.but], "description": f"Not supported: {self.words}"}

    def _check(self, value: Any) -> None:  # noqa: ANN401  # any JSON value
        # 0 and false are equal in Python, but not in JSON.
        if not any(type(value) is type(one) and value == one for one in (None, *self.but)):
            raise not_supported(self.words)
