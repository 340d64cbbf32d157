"""JSON Schemas of answers: whether any answer could be held against one.

`jsonschema` comes with the extra `worker` and takes a third of a second to import: only who asks
for a schema pays that.
"""

from __future__ import annotations

import json
from functools import lru_cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

from visionq.errors import InvalidJob
from visionq.extras import install_command
from visionq.settings import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jsonschema.protocols import Validator

_LONGEST_COMPLAINT: Final = 200


def check_schema(schema: dict[str, Any]) -> None:
    """Raise `InvalidJob` for a schema that no answer could be held against: before paying."""
    try:
        validator_of(schema)
    except (ValueError, TypeError, RecursionError) as error:
        raise InvalidJob(f"answer_schema: {brief(str(error))}") from None


def validator_of(schema: dict[str, Any]) -> Validator:
    """Return what holds answers against a schema.

    Raises:
        ValueError: it is no JSON Schema, or refers to what is not in it.
    """
    return _validator(json.dumps(schema, sort_keys=True))


def brief(text: str) -> str:
    """Return a complaint at a length that people read."""
    return text if len(text) <= _LONGEST_COMPLAINT else text[: _LONGEST_COMPLAINT - 1] + "…"


@lru_cache(maxsize=64)  # a batch asks for one schema thousands of times; checking it takes 1 ms
def _validator(schema_json: str) -> Validator:
    if find_spec("jsonschema") is None:
        raise ConfigurationError(f"answer_schema: needs an extra: {install_command('worker')}")
    from jsonschema import Draft202012Validator, SchemaError  # noqa: PLC0415  # slow to import
    from jsonschema.validators import validator_for  # noqa: PLC0415  # slow to import
    from referencing.exceptions import Unresolvable  # noqa: PLC0415  # slow to import
    from referencing.jsonschema import DRAFT202012, EMPTY_REGISTRY  # noqa: PLC0415  # likewise

    schema = json.loads(schema_json)
    kind = validator_for(schema, default=Draft202012Validator)
    try:
        kind.check_schema(schema)
    except SchemaError as error:
        raise ValueError(f"{error.json_path}: {error.message}") from None
    resolver = EMPTY_REGISTRY.resolver_with_root(DRAFT202012.create_resource(schema))
    for reference in _references(schema):
        try:
            resolver.lookup(reference)
        except Unresolvable:
            raise ValueError(f"$ref {reference}: not in this schema") from None
    # Its own registry: the default one would fetch what a $ref names.
    return kind(schema, registry=EMPTY_REGISTRY)


def _references(node: Any) -> Iterator[str]:  # noqa: ANN401  # any JSON value
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for child in node.values():
            yield from _references(child)
    elif isinstance(node, list):
        for child in node:
            yield from _references(child)
