"""The smallest sensible JSON value that satisfies a JSON Schema, told with the picture's facts."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias

from visionq.devstack.simulator.bounds import UnsatisfiableError, number
from visionq.devstack.simulator.patterns import example

#: Strings for the formats that OpenAI lists; `{0}` makes one unlike the next.
FORMATS: Final = {
    "date-time": "2026-01-{0:02}T12:00:00Z",
    "date": "2026-01-{0:02}",
    "time": "12:00:{0:02}Z",
    "duration": "P{0}D",
    "email": "picture{0}@example.com",
    "hostname": "picture{0}.example.com",
    "ipv4": "192.0.2.{0}",
    "ipv6": "2001:db8::{0}",
    "uuid": "00000000-0000-4000-8000-{0:012}",
    "uri": "https://example.com/{0}",
}
#: Keywords that show the type of a schema that names none.
TELLTALES: Final = {
    "properties": "object",
    "required": "object",
    "items": "array",
    "prefixItems": "array",
    "minItems": "array",
    "pattern": "string",
    "minLength": "string",
    "maxLength": "string",
    "format": "string",
    "minimum": "number",
    "maximum": "number",
    "multipleOf": "number",
}
DEEPEST: Final = 64

#: Any JSON value.
Json: TypeAlias = Any


@dataclass(frozen=True)
class Maker:
    """Where we are in the schema: its root, the references being followed, which item of a list."""

    root: Mapping[str, Any]
    text: str
    active: tuple[str, ...] = ()
    nth: int = 0

    def make(self, schema: object) -> Json:
        """Return a value for `schema`; raise `UnsatisfiableError` where there seems to be none."""
        if schema is True:
            return self.text
        if not isinstance(schema, Mapping):
            raise UnsatisfiableError("no value is allowed")
        if len(self.active) > DEEPEST:
            raise UnsatisfiableError("the schema is too deep")
        for keyword, make in (
            ("$ref", self._follow),
            ("allOf", self._all),
            ("const", self._constant),
            ("enum", self._enumerated),
            ("anyOf", self._any),
            ("oneOf", self._any),
        ):
            if keyword in schema:
                return make(schema)
        kind = schema.get("type") or _guess(schema)
        if isinstance(kind, list):
            kinds = sorted(kind, key=lambda name: name == "null")
            return self._first([{**schema, "type": name} for name in kinds])
        return self._of_type(kind, schema)

    def _all(self, schema: Mapping[str, Any]) -> Json:
        rest = {key: value for key, value in schema.items() if key != "allOf"}
        return self.make(_merged([rest, *map(self._resolved, _list(schema, "allOf"))]))

    def _constant(self, schema: Mapping[str, Any]) -> Json:
        return schema["const"]

    def _enumerated(self, schema: Mapping[str, Any]) -> Json:
        options = [value for value in _list(schema, "enum") if _is_of(value, schema)]
        if not options:
            raise UnsatisfiableError("no value of the enumeration is of the type")
        return options[self.nth % len(options)]

    def _any(self, schema: Mapping[str, Any]) -> Json:
        key = "anyOf" if "anyOf" in schema else "oneOf"
        rest = {name: value for name, value in schema.items() if name != key}
        options = _list(schema, key)
        return self._first([_merged([rest, {} if each is True else each]) for each in options])

    def _of_type(self, kind: str, schema: Mapping[str, Any]) -> Json:
        match kind:
            case "object":
                return self._object(schema)
            case "array":
                return self._array(schema)
            case "string":
                return self._string(schema)
            case "integer" | "number":
                return number(schema, self.nth, whole=kind == "integer")
            case "boolean":
                return self.nth % 2 == 0
            case "null":
                return None
        raise UnsatisfiableError(f"no type '{kind}'")

    def _first(self, options: list[Any]) -> Json:
        for option in options:
            try:
                return self.make(option)
            except UnsatisfiableError:
                continue
        raise UnsatisfiableError("no alternative has a value")

    def _follow(self, schema: Mapping[str, Any]) -> Json:
        """Follow a reference; one that leads into itself is left to the other alternatives."""
        reference = schema["$ref"]
        if reference in self.active:
            raise UnsatisfiableError(f"{reference} requires itself")
        rest = {key: value for key, value in schema.items() if key != "$ref"}
        target = _at(self.root, reference)
        if rest and isinstance(target, Mapping):
            target = _merged([rest, target])
        return replace(self, active=(*self.active, reference)).make(target)

    def _resolved(self, schema: object) -> Json:
        if isinstance(schema, Mapping) and "$ref" in schema:
            if schema["$ref"] in self.active:
                raise UnsatisfiableError(f"{schema['$ref']} requires itself")
            return _at(self.root, schema["$ref"])
        return schema

    def _object(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        properties = schema.get("properties") or {}
        required = schema.get("required") or []
        others = schema.get("additionalProperties", True)
        most = schema.get("maxProperties", math.inf)
        made: dict[str, Any] = {}
        for name in required:
            made[name] = self.make(properties.get(name, others))
        for name in properties:
            if name in made or len(made) >= most:
                continue
            try:
                made[name] = self.make(properties[name])
            except UnsatisfiableError:
                continue  # it may be left out
        while len(made) < schema.get("minProperties", 0):
            made[f"more_{len(made)}"] = self.make(others)
        if len(made) > most:
            raise UnsatisfiableError("more is required than allowed")
        return {name: made[name] for name in [*properties, *made] if name in made}

    def _array(self, schema: Mapping[str, Any]) -> list[Any]:
        prefix = schema.get("prefixItems") or []
        items = schema.get("items", True)
        least, most = schema.get("minItems", 0), schema.get("maxItems", math.inf)
        wanted = min(max(least, len(prefix), 1), most)
        made: list[Any] = []
        distinct: set[str] = set()
        unique = schema.get("uniqueItems") is True
        tries = 0
        while len(made) < wanted and tries < wanted + DEEPEST:
            place = prefix[len(made)] if len(made) < len(prefix) else items
            try:
                item = replace(self, nth=self.nth + tries).make(place)
            except UnsatisfiableError:
                break
            tries += 1
            spelled = json.dumps(item, sort_keys=True)
            if not unique or spelled not in distinct:
                distinct.add(spelled)
                made.append(item)
        if len(made) < least:
            raise UnsatisfiableError("too few items can be made")
        return made

    def _string(self, schema: Mapping[str, Any]) -> str:
        least, most = schema.get("minLength", 0), schema.get("maxLength")
        pattern, form = schema.get("pattern"), schema.get("format")
        mark = f" {self.nth + 1}" if self.nth else ""
        if pattern is not None:
            found = example(pattern, least, most)
            if found is None:
                raise UnsatisfiableError(f"no text was found for the pattern {pattern}")
            return found
        if form in FORMATS:
            return FORMATS[form].format(self.nth % 28 + 1)
        text = self.text + mark
        if most is not None and len(text) > most:
            text = (
                text[: most - len(mark)] + mark if len(mark) < most else mark[-most:] * bool(most)
            )
        return text.ljust(least, ".")


def instance(schema: Mapping[str, Any], text: str) -> Json:
    """Return a value that satisfies `schema`, with `text` in its free strings.

    Raises `UnsatisfiableError` when the stand-in finds none, or the schema is malformed.
    """
    try:
        return Maker(schema, text).make(schema)
    except (AttributeError, KeyError, TypeError, RecursionError) as error:
        raise UnsatisfiableError(f"a keyword has a value of another type: {error}") from None


def _at(root: Mapping[str, Any], reference: object) -> Json:
    if not isinstance(reference, str) or not reference.startswith("#"):
        raise UnsatisfiableError(f"can't follow {reference}")
    here: Any = root
    for part in reference.removeprefix("#").split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        if not isinstance(here, Mapping) or name not in here:
            raise UnsatisfiableError(f"{reference} leads nowhere")
        here = here[name]
    return here


def _merged(schemas: list[Any]) -> Mapping[str, Any]:
    """Return one schema that demands what all of these do, as far as keywords can be joined."""
    made: dict[str, Any] = {}
    for schema in schemas:
        if not isinstance(schema, Mapping):
            raise UnsatisfiableError("no value is allowed")
        for key, value in schema.items():
            if key not in made:
                made[key] = value
            elif key == "properties":
                made[key] = {**made[key], **value}
            elif key == "required":
                made[key] = [*made[key], *(name for name in value if name not in made[key])]
            elif key.startswith(("min", "exclusiveMin")):
                made[key] = max(made[key], value)
            elif key.startswith(("max", "exclusiveMax")):
                made[key] = min(made[key], value)
            else:
                made[key] = value
    return made


def _list(schema: Mapping[str, Any], key: str) -> list[Any]:
    value = schema[key]
    if not isinstance(value, list) or not value:
        raise UnsatisfiableError(f"{key} must be a list with something in it")
    return value


def _guess(schema: Mapping[str, Any]) -> str:
    return next((kind for key, kind in TELLTALES.items() if key in schema), "string")


def _is_of(value: object, schema: Mapping[str, Any]) -> bool:
    kinds = schema.get("type")
    if kinds is None:
        return True
    kinds = kinds if isinstance(kinds, list) else [kinds]
    number_types = (int, float)
    checks = {
        "string": isinstance(value, str),
        "boolean": isinstance(value, bool),
        "null": value is None,
        "object": isinstance(value, dict),
        "array": isinstance(value, list),
        "number": isinstance(value, number_types) and not isinstance(value, bool),
        "integer": isinstance(value, int) and not isinstance(value, bool),
    }
    return any(checks.get(kind, False) for kind in kinds)
