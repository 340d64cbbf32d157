"""JSON Schemas of answers: checked before the call, held against the answer that came.

`jsonschema` takes a third of a second to import: only jobs that ask for a schema pay that.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from visionq.errors import InvalidJob
from worker.provider.strict import without_absent

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jsonschema.protocols import Validator

_FENCED: Final = re.compile(r"\s*```(?:json)?\s*\n(.*)\n\s*```\s*", re.DOTALL)
_LONGEST_COMPLAINT: Final = 200


class Mismatch(ValueError):
    """The answer is no JSON, or not of the form asked for; the text says where."""


def check_schema(schema: dict[str, Any]) -> None:
    """Raise `InvalidJob` for a schema that no answer could be held against: before paying."""
    try:
        _validator(_canonical(schema))
    except (ValueError, TypeError, RecursionError) as error:
        raise InvalidJob(f"answer_schema: {_brief(str(error))}") from None


def parse_answer(text: str, schema: dict[str, Any]) -> Any:  # noqa: ANN401  # any JSON value
    """Return the answer as plain values; raises `Mismatch` where the schema does not admit it.

    In the strict form every property is required, and null stands for one that may be left out:
    such a null is left out of what is returned.
    """
    data = _plain_json(text)
    try:
        validator = _validator(_canonical(schema))
        if not validator.is_valid(data):
            data = without_absent(data, schema, validator)
        error = next(validator.iter_errors(data), None)
    except Exception as failure:  # a schema may break its validator: endless $ref, bad pattern
        raise Mismatch(f"the schema can't be applied: {type(failure).__name__}") from failure
    if error is not None:
        raise Mismatch(f"{error.json_path}: {_brief(error.message)}")
    return data


def _canonical(schema: dict[str, Any]) -> str:
    return json.dumps(schema, sort_keys=True)


@lru_cache(maxsize=64)  # a batch asks for one schema thousands of times; checking it takes 1 ms
def _validator(schema_json: str) -> Validator:
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


def _plain_json(text: str) -> Any:  # noqa: ANN401  # any JSON value
    fenced = _FENCED.fullmatch(text)
    try:
        data = json.loads(fenced[1] if fenced else text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise Mismatch(f"not JSON: {_brief(str(error))}") from None
    # An escape can hold half a surrogate pair, which no document of ours could be written with.
    written = json.dumps(data, ensure_ascii=False)
    clean = written.encode("utf-8", "replace").decode()
    return data if clean == written else json.loads(clean)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _brief(text: str) -> str:
    return text if len(text) <= _LONGEST_COMPLAINT else text[: _LONGEST_COMPLAINT - 1] + "…"
