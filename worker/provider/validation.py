"""Validate answers against callers' schemas, within a limit of CPU time.

The cost of a schema with alternatives depends on the answer and is unknown beforehand, so
validation stops when it takes too long. Each keyword by itself costs little: a linear engine
applies patterns, and hashes find equal items.
"""

# ruff: noqa: ANN401  # schemas and answers are any JSON values

from __future__ import annotations

import json
import threading
import time
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from jsonschema import Draft202012Validator, ValidationError
from jsonschema.validators import extend, validator_for
from referencing.jsonschema import EMPTY_REGISTRY

from visionq.answer_schemas import compiled, in_known_dialect, pointed_at

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator

    from jsonschema.protocols import Validator

    Check = Callable[[Validator, Any, Any, Any], Iterable[ValidationError] | None]

#: CPU seconds of one thread for one answer; an ordinary one takes a millisecond.
SECONDS: Final = 1.0

_end: ContextVar[float] = ContextVar("allowance", default=float("inf"))


class ExhaustedError(Exception):
    """The allowance is used up."""


@contextmanager
def allowance() -> Iterator[None]:
    """Limit this thread's CPU time for code that calls `spend`."""
    token = _end.set(time.thread_time() + SECONDS)
    try:
        yield
    finally:
        _end.reset(token)


def spend() -> None:
    """Raise `ExhaustedError` when the allowance is used up."""
    if time.thread_time() > _end.get():
        raise ExhaustedError


_extend: Any = extend  # untyped in the library
#: Checks within checks. Each takes four frames; at Python's own limit a library in Rust panics.
_DEEPEST: Final = 200
_nesting = threading.local()


def validator_of(schema: dict[str, Any]) -> Validator:
    """Return the validator of a schema that passed `check_schema`."""
    return _validator(json.dumps(schema, sort_keys=True))


@lru_cache(maxsize=64)  # a batch asks for one schema thousands of times
def _validator(schema_json: str) -> Validator:
    schema = in_known_dialect(json.loads(schema_json))
    kind = _bounded(validator_for(schema, default=Draft202012Validator))
    # Its own registry: the default one would fetch what a $ref names.
    return kind(schema, registry=EMPTY_REGISTRY)


@lru_cache
def _bounded(kind: type[Validator]) -> Callable[..., Validator]:
    own = {
        "pattern": _pattern,
        "patternProperties": _pattern_properties,
        "additionalProperties": _additional_properties(kind.VALIDATORS["additionalProperties"]),
        "uniqueItems": _unique_items,
    }
    checks = {**kind.VALIDATORS, **own}
    bounded: Any = _extend(kind, {name: _spending(check) for name, check in checks.items()})
    made: Callable[..., Validator] = bounded
    return made


def _spending(check: Check) -> Check:
    def checked(
        validator: Validator, value: Any, instance: Any, schema: Any
    ) -> Iterator[ValidationError]:
        spend()
        depth = getattr(_nesting, "depth", 0)
        if depth >= _DEEPEST:
            raise RecursionError(f"the schema leads more than {_DEEPEST} checks deep")
        _nesting.depth = depth + 1
        try:
            yield from check(validator, value, instance, schema) or ()
        finally:
            _nesting.depth = depth

    return checked


def _pattern(
    validator: Validator, pattern: str, instance: Any, _: Any
) -> Iterator[ValidationError]:
    if not validator.is_type(instance, "string"):
        return
    try:
        found = compiled(pattern).is_in(instance)
    except ValueError as error:
        yield ValidationError(str(error))
        return
    if not found:
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


def _pattern_properties(
    validator: Any, patterns: dict[str, Any], instance: Any, _: Any
) -> Iterator[ValidationError]:
    if not validator.is_type(instance, "object"):
        return
    for pattern, subschema in patterns.items():
        for name, value in instance.items():
            if _is_named(name, pattern):
                yield from validator.descend(value, subschema, path=name, schema_path=pattern)


def _is_named(name: str, pattern: str) -> bool:
    spend()
    try:
        return compiled(pattern).is_in(name)
    except ValueError:
        return False


def _additional_properties(check: Check) -> Check:
    """Return the check with what `patternProperties` speak of left out beforehand."""

    def checked(
        validator: Validator, value: Any, instance: Any, schema: Any
    ) -> Iterable[ValidationError] | None:
        patterns = schema.get("patternProperties")
        if patterns and validator.is_type(instance, "object"):
            schema = {name: part for name, part in schema.items() if name != "patternProperties"}
            instance = {
                name: part
                for name, part in instance.items()
                if not any(_is_named(name, pattern) for pattern in patterns)
            }
        return check(validator, value, instance, schema)

    return checked


def _unique_items(
    validator: Validator,
    wanted: object,
    instance: Any,
    _: Any,
) -> Iterator[ValidationError]:
    is_list = bool(wanted) and validator.is_type(instance, "array")
    if is_list and len(set(map(_key, instance))) < len(instance):
        yield ValidationError(f"{instance!r} has non-unique elements")


def _key(value: Any) -> Hashable:
    """Return a key by which JSON values are equal: numbers by value, no booleans."""
    spend()
    if isinstance(value, dict):
        return frozenset((name, _key(part)) for name, part in value.items())
    if isinstance(value, list):
        return tuple(map(_key, value))
    return (type(value).__name__, value) if isinstance(value, bool | str) else value


def without_absent(data: Any, schema: Any, validator: Validator) -> Any:
    """Return the answer without nulls that mean an absent property.

    `validator` is that of the whole schema; `data` is not changed.
    """
    spend()
    if not isinstance(schema, dict):
        return data
    for branch in _alike(schema, validator):
        data = without_absent(data, branch, validator)
    branches = [*schema.get("anyOf", ()), *schema.get("oneOf", ())]
    for branch in branches:
        candidate = without_absent(data, branch, validator)
        if _admits(validator, branch, candidate):
            return candidate
    if isinstance(data, dict):
        return dict(_present(data, schema, validator))
    if isinstance(data, list):
        first, others = schema.get("prefixItems", ()), schema.get("items")
        return [
            without_absent(item, first[place] if place < len(first) else others, validator)
            for place, item in enumerate(data)
        ]
    return data


def _present(
    data: dict[str, Any], schema: dict[str, Any], validator: Validator
) -> Iterable[tuple[str, Any]]:
    properties, required = schema.get("properties", {}), schema.get("required", ())
    for name, value in data.items():
        own = properties.get(name)
        if value is None and name in properties and name not in required:
            if _admits(validator, own, None):
                yield name, None
        else:
            yield name, without_absent(value, own, validator)


def _alike(schema: dict[str, Any], validator: Validator) -> Iterable[Any]:
    """Yield the schemas that hold beside this one."""
    yield from schema.get("allOf", ())
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference.startswith("#"):
        target = pointed_at(validator.schema, reference)  # type: ignore[arg-type]  # it has references, so it is no bare boolean
        if target is None:
            raise ValueError(f"{reference} points to nothing")
        yield target


def _admits(validator: Validator, schema: Any, value: Any) -> bool:
    return validator.evolve(schema=schema).is_valid(value)
