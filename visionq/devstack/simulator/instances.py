"""The smallest sensible JSON value that satisfies a JSON Schema, with the facts of pictures."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class UnsatisfiableError(ValueError):
    """No value was found for a schema."""


def number(schema: Mapping[str, Any], nth: int, *, whole: bool) -> int | float:
    """Return the nth number, from zero or the lower bound on, that the bounds allow."""
    low, above = _bound(schema, "minimum", "exclusiveMinimum", max)
    high, below = _bound(schema, "maximum", "exclusiveMaximum", min)
    multiple = schema.get("multipleOf")
    step = Fraction(str(multiple)) if multiple else Fraction(1)
    if whole and step.denominator != 1:
        step *= step.denominator
    if not whole and not multiple and low is not None and high is not None:
        step = min(step, (high - low) / (nth + 2)) or step
    if low is None:
        start = Fraction(0) if high is None or high > 0 else high
        start = math.floor(start / step) * step
        if high is not None and (start > high or (below and start == high)):
            start -= step
        found = start - nth * step if high is not None else start + nth * step
    else:
        grid = whole or multiple
        start = math.ceil(low / step) * step if grid else low
        if above and start == low:
            start += step
        found = start + nth * step
    if high is not None and (found > high or (below and found == high)):
        raise UnsatisfiableError("no number lies within the bounds")
    return int(found) if whole or found.denominator == 1 else float(found)


def _bound(
    schema: Mapping[str, Any], plain: str, exclusive: str, tighter: Callable[..., Fraction]
) -> tuple[Fraction | None, bool]:
    found = [
        (Fraction(str(schema[name])), name == exclusive)
        for name in (plain, exclusive)
        if schema.get(name) is not None
    ]
    if not found:
        return None, False
    value = tighter(value for value, _ in found)
    return value, any(strict for each, strict in found if each == value)


# The standard library's own parser; `sre_parse`, its public name, is deprecated without successor.
_parser: Any = import_module("re._parser")

#: What the parser gives beside an operation: a character code, a tuple, a list.
Token: TypeAlias = Any

#: Characters tried where an expression leaves the choice.
CANDIDATES: Final = "a0A -_.,:/@#" + "".join(map(chr, range(33, 127)))
#: Repetitions tried beyond the least, to reach a length.
MOST_REPEATS: Final = 64


def example(pattern: str, least: int = 0, most: int | None = None) -> str | None:
    """Return a string of `least` to `most` characters that matches; `None`: none was found."""
    try:
        tree = _parser.parse(pattern)
    except (re.error, RecursionError, OverflowError):
        return None
    for repeats in range(MOST_REPEATS + 1):
        text = _sequence(tree, repeats, {})
        if text is None:
            return None
        fits = len(text) >= least and (most is None or len(text) <= most)
        if fits and re.search(pattern, text):
            return text
    return None


def _sequence(tree: Iterable[Any], repeats: int, groups: dict[int, str]) -> str | None:
    parts = []
    for operation, argument in tree:
        part = _one(str(operation), argument, repeats, groups)
        if part is None:
            return None
        parts.append(part)
    return "".join(parts)


def _one(operation: str, argument: Token, repeats: int, groups: dict[int, str]) -> str | None:
    make = _SINGLE.get(operation)
    if make is not None:
        return make(argument)
    if operation == "GROUPREF":
        return groups.get(argument)
    if operation == "BRANCH":
        options = (_sequence(option, repeats, groups) for option in argument[1])
        return next((option for option in options if option is not None), None)
    if operation == "SUBPATTERN":
        text = _sequence(argument[3], repeats, groups)
        if text is not None and argument[0] is not None:
            groups[argument[0]] = text
        return text
    if operation.endswith("_REPEAT"):
        least, most, tree = argument
        text = _sequence(tree, repeats, groups)
        return None if text is None else text * min(least + repeats, int(most))
    return None


def _member(items: list[tuple[Any, Any]]) -> str | None:
    """Return a character of a set such as `[a-z0-9]` or `[^"]`."""
    negated = str(items[0][0]) == "NEGATE"
    listed = [chr(value) for name, value in items if str(name) == "LITERAL"]
    listed += [chr(value[0]) for name, value in items if str(name) == "RANGE"]
    choices = CANDIDATES if negated else [*listed, *CANDIDATES]
    return next((char for char in choices if _listed(char, items) is not negated), None)


def _listed(char: str, items: list[tuple[Any, Any]]) -> bool:
    for kind, value in items:
        name = str(kind)
        if name == "LITERAL" and ord(char) == value:
            return True
        if name == "RANGE" and value[0] <= ord(char) <= value[1]:
            return True
        if name == "CATEGORY" and _in_category(char, str(value)):
            return True
    return False


def _in_category(char: str, category: str) -> bool:
    kind = category.removeprefix("CATEGORY_").removeprefix("NOT_")
    classes = {"DIGIT": char.isdigit(), "SPACE": char.isspace()}
    found = classes.get(kind, char.isalnum() or char == "_")
    return found is not category.startswith("CATEGORY_NOT_")


#: Parts that are one character or none.
_SINGLE: Final[dict[str, Callable[[Token], str | None]]] = {
    "LITERAL": chr,
    "NOT_LITERAL": lambda code: next(char for char in CANDIDATES if ord(char) != code),
    "ANY": lambda _: CANDIDATES[0],
    "IN": _member,
    "AT": lambda _: "",
}


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
    """The position in the schema: its root, references being followed, item of a list."""

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
        """Follow a reference; leave a recursive one to the other alternatives."""
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

    Raises `UnsatisfiableError` when the simulator finds none, or the schema is malformed.
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
    """Merge schemas, as far as their keywords can be combined."""
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
