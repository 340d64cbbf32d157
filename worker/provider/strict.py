"""Convert a JSON Schema to the provider's strict form.

The strict form (OpenAI's guide to structured outputs, 2026) closes every object and requires every
property, so a property that may be left out becomes one that may be null. Keywords that it does not
know are left out of what is sent; the answer is held against the whole schema all the same.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

from visionq.answer_schemas import pointed_at

#: What the strict form may hold beside what is rebuilt below.
_KEPT: Final = frozenset(
    {
        "const",
        "description",
        "enum",
        "exclusiveMaximum",
        "exclusiveMinimum",
        "maxItems",
        "maximum",
        "minItems",
        "minimum",
        "multipleOf",
        "pattern",
        "title",
        "type",
    }
)
#: Schemas that use these lose their sense when they are left out, or when objects are closed.
_NOT_STRICT: Final = frozenset(
    {
        "$anchor",
        "$dynamicAnchor",
        "$dynamicRef",
        "$id",
        "$recursiveRef",
        "dependencies",
        "dependentRequired",
        "dependentSchemas",
        "else",
        "if",
        "patternProperties",
        "propertyNames",
        "then",
        "unevaluatedProperties",
    }
)
_FORMATS: Final = frozenset(
    {"date", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "time", "uuid"}
)
#: Keywords that are rebuilt.
_BUILT: Final = frozenset(
    {"additionalProperties", "allOf", "anyOf", "items", "oneOf", "prefixItems", "properties"}
)
#: References to a definition, or to the root.
_WHOLE: Final = re.compile(r"#(?:/(?:\$defs|definitions)/[^/]+)?")
_DEFINITIONS: Final = ("$defs", "definitions")
_TYPES: Final = {str: "string", bool: "boolean", int: "integer", float: "number"}
_NULL: Final = {"type": "null"}
#: Characters of a strict form: what is longer is sent as it came.
_MOST_WRITTEN: Final = 250_000


class _NotStrictError(Exception):
    """The schema has no strict form of the same meaning."""


def strict_form(schema: dict[str, Any]) -> dict[str, Any] | None:
    """Return the schema in strict form, or `None` if that would change its meaning.

    Objects are closed, which narrows what the model may say and widens nothing; those that are
    expressly open have no strict form, and neither has a root that is no object.
    """
    try:
        root = _Strict(schema)
        strict = root.node({key: schema[key] for key in schema if key not in _DEFINITIONS})
        if "$ref" in strict:  # a root that is one of its own definitions
            strict = root.node(root.target(strict["$ref"]))
        if strict.get("type") != "object":
            return None
        named = {name: schema[name] for name in _DEFINITIONS if name in schema}
        for name, definitions in named.items():
            strict[name] = {key: root.node(child) for key, child in definitions.items()}
    except (_NotStrictError, RecursionError):
        return None
    return strict


class _Strict:
    """Rewrites the parts of one schema."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self._schema = schema
        #: References that are being written out: one that leads back into itself stays one.
        self._open: list[str] = []
        self._written = 0

    def node(self, node: object) -> dict[str, Any]:
        """Return one part in the strict form."""
        if not isinstance(node, dict) or node.keys() & _NOT_STRICT:
            raise _NotStrictError
        self._count(node)
        if "$ref" in node:
            return self._reference(node)
        if "allOf" in node:
            return self._merged(node)
        strict = {key: value for key, value in node.items() if key in _KEPT}
        if node.get("format") in _FORMATS:
            strict["format"] = node["format"]
        choices = node.get("anyOf") or node.get("oneOf")
        if choices:
            if node.keys() & {"properties", "items", "not"}:
                raise _NotStrictError
            strict["anyOf"] = [self.node(choice) for choice in choices]
            return strict
        strict["type"] = node.get("type") or _type_of(node)
        kinds = [strict["type"]] if isinstance(strict["type"], str) else strict["type"]
        if "array" in kinds:
            strict["items"] = self._items(node)
        if "object" in kinds:
            strict |= self._closed(node)
        return strict

    def _count(self, node: dict[str, Any]) -> None:
        """Count a part before it is written, once for each reference to it."""
        own = {name: value for name, value in node.items() if name in _KEPT or name == "required"}
        self._written += len(json.dumps(own)) + sum(map(len, node.get("properties", ())))
        if self._written > _MOST_WRITTEN:
            raise _NotStrictError

    def target(self, reference: str) -> dict[str, Any]:
        """Resolve a reference within the schema."""
        found = pointed_at(self._schema, reference)
        if found is None:
            raise _NotStrictError
        return found

    def _reference(self, node: dict[str, Any]) -> dict[str, Any]:
        """Keep a lone reference; inline one that has siblings."""
        reference = node["$ref"]
        company = {key: value for key, value in node.items() if key != "$ref"}
        # The target of any other may be elsewhere in the strict form.
        may_stay = _WHOLE.fullmatch(reference) is not None
        if reference in self._open and not may_stay:
            raise _NotStrictError
        if may_stay and (reference in self._open or not company.keys() & (_KEPT | _BUILT)):
            return {"$ref": reference}
        if company.keys() - {"title", "description", "default", "examples", "deprecated"}:
            raise _NotStrictError
        self._open.append(reference)
        strict = self.node({**self.target(reference), **company})
        self._open.pop()
        return strict

    def _merged(self, node: dict[str, Any]) -> dict[str, Any]:
        """Take `allOf` around a single schema, as older tools write it, for that schema."""
        if len(node["allOf"]) != 1 or not isinstance(node["allOf"][0], dict):
            raise _NotStrictError
        company = {key: value for key, value in node.items() if key != "allOf"}
        return self.node({**node["allOf"][0], **company})

    def _items(self, node: dict[str, Any]) -> dict[str, Any]:
        listed = list(node.get("prefixItems", ()))
        if isinstance(node.get("items"), dict):
            listed.append(node["items"])
        written = map(self.node, listed)
        choices = list({json.dumps(choice, sort_keys=True): choice for choice in written}.values())
        if not choices:
            raise _NotStrictError
        return choices[0] if len(choices) == 1 else {"anyOf": choices}

    def _closed(self, node: dict[str, Any]) -> dict[str, Any]:
        if "properties" not in node and "additionalProperties" not in node:
            raise _NotStrictError  # any object; closed, it could only be empty
        properties, required = node.get("properties", {}), set(node.get("required", ()))
        if node.get("additionalProperties", False) is not False or required - properties.keys():
            raise _NotStrictError
        strict = {name: self.node(child) for name, child in properties.items()}
        return {
            "properties": {
                name: child if name in required else _nullable(child)
                for name, child in strict.items()
            },
            "required": list(properties),
            "additionalProperties": False,
        }


def _type_of(node: dict[str, Any]) -> str | list[str]:
    """Return the type that a list of values, or the presence of properties, implies."""
    if "properties" in node:
        return "object"
    values = node["enum"] if "enum" in node else [node[key] for key in ("const",) if key in node]
    kinds = {"null" if value is None else _TYPES.get(type(value), "") for value in values}
    if not kinds or "" in kinds:
        raise _NotStrictError
    return kinds.pop() if len(kinds) == 1 else sorted(kinds)


def _nullable(node: dict[str, Any]) -> dict[str, Any]:
    if "anyOf" in node:
        admitted = _NULL in node["anyOf"]
        return node if admitted else {**node, "anyOf": [*node["anyOf"], _NULL]}
    return node if "null" in node.get("type", ()) else {"anyOf": [node, _NULL]}
