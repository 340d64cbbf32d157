"""JSON Schemas of answers: whether any answer could be held against one, and at what expense.

`jsonschema_rs` takes time to import: only who asks for a schema pays that.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from visionq.errors import InvalidJob

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from jsonschema_rs import Validator

#: An object without any other demand: the provider is asked for any JSON (`json_object`).
ANY_OBJECT: Final[dict[str, Any]] = {"type": "object"}
_LONGEST_COMPLAINT: Final = 200
#: Of a schema as JSON: characters, levels, and patterns that differ. OpenAI takes 120,000
#: characters of names and values, and ten levels of objects (guide to structured outputs, 2026).
MAX_CHARACTERS: Final = 250_000
MAX_DEPTH: Final = 100
MAX_PATTERNS: Final = 20
#: Subschemas that hold for one and the same value, with all that they refer to written out.
MAX_ALTERNATIVES: Final = 10_000

_DIALECTS: Final = (
    "https://json-schema.org/draft/2020-12/schema",
    "https://json-schema.org/draft/2019-09/schema",
    *(f"http://json-schema.org/draft-0{number}/schema" for number in (4, 6, 7)),
)
#: Keywords of which one subschema, or several, hold for the same value.
_ONE: Final = ("not", "if", "then", "else")
_SEVERAL: Final = ("allOf", "anyOf", "oneOf")
#: Characters of an expression, and bytes of memory that one may take when it is made ready.
MAX_PATTERN_LENGTH: Final = 1000
_MAX_COMPILED: Final = 4_000_000
_MAX_STATES: Final = 1_000_000
#: Steps back for an expression outside the linear engine, and characters of a text for one.
_MAX_STEPS: Final = 1000
MAX_STEPWISE_TEXT: Final = 1000


def check_schema(schema: dict[str, Any]) -> None:
    """Raise `InvalidJob` for a schema that no answer could be held against: before paying."""
    try:
        complaint = _complaint(json.dumps(schema, sort_keys=True))
    except (ValueError, TypeError, RecursionError) as error:
        complaint = str(error)
    if complaint is not None:
        raise InvalidJob(f"answer_schema: {brief(complaint)}")


def brief(text: str) -> str:
    """Return a complaint at a length that people read."""
    return text if len(text) <= _LONGEST_COMPLAINT else text[: _LONGEST_COMPLAINT - 1] + "…"


def in_known_dialect(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema without a dialect that is not known."""
    dialect = schema.get("$schema")
    if not isinstance(dialect, str) or dialect.rstrip("#") in _DIALECTS:
        return schema
    return {name: value for name, value in schema.items() if name != "$schema"}


@lru_cache(maxsize=64)  # a batch asks for one schema thousands of times
def _complaint(schema_json: str) -> str | None:
    """Return the error of a schema."""
    if len(schema_json) > MAX_CHARACTERS:
        return f"{len(schema_json):,} characters as JSON; the limit is {MAX_CHARACTERS:,}"
    schema = json.loads(schema_json)
    nodes = list(_nodes(schema))
    if any(depth > MAX_DEPTH for depth, _ in nodes):
        return f"nested deeper than {MAX_DEPTH} levels"
    try:
        _check_patterns([node for _, node in nodes])
        _check_form(schema)
        _Alternatives(schema).check(node for _, node in nodes)
    except ValueError as error:
        return str(error)
    return None


def _nodes(schema: Any) -> Iterator[tuple[int, dict[str, Any]]]:  # noqa: ANN401  # any JSON value
    """Yield every object of a schema with its depth."""
    waiting: list[tuple[int, Any]] = [(1, schema)]
    while waiting:
        depth, value = waiting.pop()
        children: list[Any] = []
        if isinstance(value, dict):
            yield depth, value
            children = list(value.values())
        elif isinstance(value, list):
            children = value
        waiting += ((depth + 1, child) for child in children if isinstance(child, dict | list))


def _check_patterns(nodes: list[dict[str, Any]]) -> None:
    patterns: dict[str, None] = {}
    for node in nodes:
        own = node.get("pattern")
        named = node.get("patternProperties")
        patterns |= dict.fromkeys([own] if isinstance(own, str) else [])
        patterns |= dict.fromkeys(named if isinstance(named, dict) else [])
    if len(patterns) > MAX_PATTERNS:
        raise ValueError(f"{len(patterns)} different patterns; the limit is {MAX_PATTERNS}")
    for pattern in patterns:
        compiled(pattern)
    keywords = {name for node in nodes for name in node}
    if {"patternProperties", "unevaluatedProperties"} <= keywords:
        raise ValueError("unevaluatedProperties beside patternProperties is not supported")


def _check_form(schema: dict[str, Any]) -> None:
    """Raise `ValueError` for an invalid schema, or a reference out of it."""
    from jsonschema_rs import FancyRegexOptions, ValidationError, validator_for  # noqa: PLC0415  # slow

    try:
        validator_for(
            in_known_dialect(schema),
            retriever=_retrieve_nothing,  # the default would fetch what a $ref names
            pattern_options=FancyRegexOptions(),
        )
    except ValidationError as error:
        path = ".".join(str(part) for part in error.instance_path)
        said = error.message
        if path.rpartition(".")[2] == "type":
            said = f"{error.instance!r} is no type of JSON Schema"
        raise ValueError(f"{path}: {said}" if path else said) from None


def _retrieve_nothing(address: str) -> Any:  # noqa: ANN401  # what the library's type asks for
    raise ValueError(f"{address} is not in this schema")


class _Alternatives:
    """Counts the subschemas that one value may have to be held against."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self._schema = schema
        self._known: dict[int, int] = {}
        self._open: set[int] = set()

    def check(self, nodes: Iterator[dict[str, Any]]) -> None:
        """Raise `ValueError` where there are too many, or a reference leads back to itself."""
        for node in nodes:
            if self._count(node) > MAX_ALTERNATIVES:
                raise ValueError(
                    f"more than {MAX_ALTERNATIVES:,} alternatives for one value, with every $ref"
                    " written out"
                )

    def _count(self, node: dict[str, Any]) -> int:
        if id(node) in self._known:
            return self._known[id(node)]
        if id(node) in self._open:
            raise ValueError("a $ref leads back to itself without end")
        self._open.add(id(node))
        found = 1 + sum(map(self._count, self._same_value(node)))
        self._open.discard(id(node))
        self._known[id(node)] = min(found, MAX_ALTERNATIVES + 1)
        return found

    def _same_value(self, node: dict[str, Any]) -> Iterator[dict[str, Any]]:
        found = [node.get(name) for name in _ONE]
        for name in _SEVERAL:
            several = node.get(name)
            found += several if isinstance(several, list) else []
        named, reference = node.get("dependentSchemas"), node.get("$ref")
        found += named.values() if isinstance(named, dict) else []
        found += [pointed_at(self._schema, reference) if isinstance(reference, str) else None]
        return (child for child in found if isinstance(child, dict))


def pointed_at(schema: Mapping[str, Any], reference: str) -> dict[str, Any] | None:
    """Return the subschema at a reference within the schema; None if absent."""
    if reference != "#" and not reference.startswith("#/"):
        return None
    found: Any = schema
    for part in reference.split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(found, list) and name.isdecimal() and int(name) < len(found):
            found = found[int(name)]
        elif isinstance(found, dict) and name in found:
            found = found[name]
        else:
            return None
    return found if isinstance(found, dict) else None


@dataclass(frozen=True, slots=True)
class Pattern:
    """An expression made ready."""

    is_linear: bool
    _validator: Validator

    def is_in(self, text: str) -> bool:
        """Return whether the expression is found anywhere in the text.

        Raises:
            ValueError: the text is too long for an expression outside the linear engine.
        """
        if not self.is_linear and len(text) > MAX_STEPWISE_TEXT:
            raise ValueError(
                f"a pattern with a lookahead or a reference is held against"
                f" {MAX_STEPWISE_TEXT:,} characters at most, and this text has {len(text):,}"
            )
        return self._validator.is_valid(text)


@lru_cache(maxsize=64)
def compiled(pattern: str) -> Pattern:
    """Return the expression made ready.

    Raises:
        ValueError: it is none, or too large.
    """
    from jsonschema_rs import FancyRegexOptions, RegexOptions  # noqa: PLC0415  # slow to import

    if len(pattern) > MAX_PATTERN_LENGTH:
        raise ValueError(f"a pattern of more than {MAX_PATTERN_LENGTH:,} characters")
    bounds = {"size_limit": _MAX_COMPILED, "dfa_size_limit": _MAX_STATES}
    linear = _pattern_validator(pattern, RegexOptions(**bounds))
    if linear is not None:
        return Pattern(is_linear=True, _validator=linear)
    stepwise = _pattern_validator(pattern, FancyRegexOptions(backtrack_limit=_MAX_STEPS, **bounds))
    if stepwise is None:
        raise ValueError(f"not a regex, or one of too many repetitions: {pattern!r}")
    return Pattern(is_linear=False, _validator=stepwise)


def _pattern_validator(pattern: str, options: Any) -> Validator | None:  # noqa: ANN401  # of either engine
    from jsonschema_rs import Draft202012Validator, ValidationError  # noqa: PLC0415  # slow to import

    try:
        return Draft202012Validator({"pattern": pattern}, pattern_options=options)
    except (ValidationError, UnicodeEncodeError):
        return None
