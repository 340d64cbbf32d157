"""The requested answer form, and the provider's rules for JSON Schemas."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from visionq.devstack.simulator.refusals import (
    SimulatedRefusal,
    by_openai,
    missing,
    wrong_type,
    wrong_value,
)

KINDS: Final = ("text", "json_object", "json_schema")
NAME: Final = re.compile(r"^[A-Za-z0-9_-]{1,64}$")
#: Keywords that hold further schemas: one, a list of them, or a name for each.
ONE: Final = ("items", "additionalProperties", "not")
MANY: Final = ("anyOf", "oneOf", "allOf", "prefixItems")
NAMED: Final = ("properties", "$defs", "definitions")


@dataclass(frozen=True)
class RequestedFormat:
    """`text`, `json_object`, or `json_schema` with the schema."""

    kind: str = "text"
    schema: Mapping[str, Any] | None = None
    name: str = ""
    param: str = ""


def read_format(value: object, param: str, *, nested: str | None) -> RequestedFormat:
    """Return the requested answer form.

    Chat Completions puts name and schema into an object of its own (`nested`), Responses beside
    the type. Raises the provider's `SimulatedRefusal` for a form or a schema that it does not take.
    """
    if value is None:
        return RequestedFormat()
    if not isinstance(value, Mapping):
        raise wrong_type(param, "an object", value)
    kind = value.get("type")
    if kind is None:
        raise missing(f"{param}.type")
    if kind not in KINDS:
        raise wrong_value(f"{param}.type", kind, KINDS)
    if kind != "json_schema":
        return RequestedFormat(kind)
    holder = value
    if nested:
        param = f"{param}.{nested}"
        holder = value.get(nested) or {}
        if not isinstance(holder, Mapping):
            raise wrong_type(param, "an object", holder)
    return _read_schema(holder, param)


def _read_schema(holder: Mapping[str, Any], param: str) -> RequestedFormat:
    name, schema = holder.get("name"), holder.get("schema")
    if name is None:
        raise missing(f"{param}.name")
    if not isinstance(name, str) or not NAME.match(name):
        message = f"Invalid '{param}.name': expected 1 to 64 letters, digits, '_' or '-'."
        raise by_openai(message, param=f"{param}.name", code="invalid_value")
    if schema is None:
        raise missing(f"{param}.schema")
    if not isinstance(schema, Mapping):
        raise wrong_type(f"{param}.schema", "an object", schema)
    fault = strictness_fault(schema) if holder.get("strict") else None
    if fault is not None:
        raise invalid_schema(name, fault, param)
    return RequestedFormat("json_schema", schema, name, param)


def invalid_schema(name: str, fault: str, param: str) -> SimulatedRefusal:
    """Return the refusal of an invalid schema."""
    message = f"Invalid schema for response_format '{name}': {fault}"
    return by_openai(message, param=f"{param}.schema", code="invalid_json_schema")


def strictness_fault(schema: Mapping[str, Any]) -> str | None:
    """Return why a schema can't be `strict`; `None` if it can.

    Strict: the root is an object; every object forbids further properties and requires its own.
    """
    if schema.get("type") != "object":
        return "the root must have type 'object'."
    return _fault(schema, ())


def _fault(schema: object, path: tuple[str, ...]) -> str | None:
    if not isinstance(schema, Mapping):
        return None
    properties = schema.get("properties")
    if schema.get("type") == "object" or isinstance(properties, Mapping):
        names = set(properties) if isinstance(properties, Mapping) else set()
        required = schema.get("required")
        if schema.get("additionalProperties") is not False:
            return f"In context={path}, 'additionalProperties' must be given and be false."
        lacking = names.difference(required if isinstance(required, list) else ())
        if lacking:
            return f"In context={path}, 'required' must name every property: {sorted(lacking)}."
    for child, where in _children(schema):
        found = _fault(child, (*path, *where))
        if found:
            return found
    return None


def _children(schema: Mapping[str, Any]) -> list[tuple[object, tuple[str, ...]]]:
    found: list[tuple[object, tuple[str, ...]]] = [
        (schema[key], (key,)) for key in ONE if key in schema
    ]
    for key in MANY:
        listed = schema.get(key)
        if isinstance(listed, list):
            found += [(child, (key, str(index))) for index, child in enumerate(listed)]
    for key in NAMED:
        named = schema.get(key)
        if isinstance(named, Mapping):
            found += [(child, (key, name)) for name, child in named.items()]
    return found
