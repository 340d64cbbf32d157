"""The fields of answers: their kinds by the schema, and whether two values agree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from producer.compare.measures import f1, item, jaccard, normalised, similarity, within
from visionq.answer_schemas import pointed_at

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

#: The field of an answer without a schema, and of one whose schema is no object.
TEXT: Final = "text"
ANSWER: Final = "answer"
_DEEPEST: Final = 8


class FieldKind(StrEnum):
    """How two values of a field are compared."""

    LABEL = "label"
    """One of a few values: equal or not."""
    NUMBER = "number"
    """Equal within a tolerance."""
    LIST = "list"
    """The items that both have, in any order."""
    TEXT = "text"
    """The words that both have."""


@dataclass(frozen=True, slots=True)
class FieldRule:
    """How a field is compared."""

    kind: FieldKind
    #: Of numbers: by how much they may differ, and by which share of the larger one.
    absolute: float = 0.0
    relative: float = 0.0

    def agree(self, one: object, other: object) -> bool:
        """Return whether two values are the same answer."""
        if one is None or other is None:
            return one is other
        if self.kind is FieldKind.NUMBER and _is_number(one) and _is_number(other):
            return within(one, other, self.absolute, self.relative)  # type: ignore[arg-type]  # numbers
        if self.kind is FieldKind.LIST:
            return sorted(_items(one)) == sorted(_items(other))
        if self.kind is FieldKind.TEXT and isinstance(one, str) and isinstance(other, str):
            return is_same_text(one, other)
        return item(one) == item(other)

    def score(self, one: object, other: object) -> float | None:
        """Return the likeness of lists or texts, 0 to 1; else None."""
        if self.kind not in (FieldKind.LIST, FieldKind.TEXT):
            return None
        if one is None or other is None:
            return float(one is other)
        if self.kind is FieldKind.LIST:
            return f1(_items(one), _items(other))
        return similarity(str(one), str(other))

    def overlap(self, one: object, other: object) -> float | None:
        """Return the Jaccard index of two lists; None of other kinds."""
        if self.kind is not FieldKind.LIST:
            return None
        if one is None or other is None:
            return float(one is other)
        return jaccard(_items(one), _items(other))


def read_rule(text: str) -> tuple[str, FieldRule]:
    """Return field and rule of `NAME=KIND`, where KIND is `number:0.5` or `number:2%` as well.

    Raises:
        ValueError: it has another form; the message says which forms there are.
    """
    name, found, kind = text.partition("=")
    kind, _, tolerance = kind.partition(":")
    kinds = ", ".join(one.value for one in FieldKind)
    if not found or not name or kind not in set(FieldKind):
        raise ValueError(f"{text!r}: give NAME=KIND, KIND one of {kinds}, or number:2%")
    rule = FieldRule(FieldKind(kind))
    if not tolerance:
        return name, rule
    try:
        amount = float(tolerance.removesuffix("%"))
    except ValueError:
        amount = -1.0
    if kind != FieldKind.NUMBER or not 0 <= amount < float("inf"):
        raise ValueError(f"{text!r}: a tolerance is of numbers, such as number:0.5 or number:2%")
    if tolerance.endswith("%"):
        return name, FieldRule(FieldKind.NUMBER, relative=amount / 100)
    return name, FieldRule(FieldKind.NUMBER, absolute=amount)


def fields_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of an answer in a record; nested ones as `outer.inner`."""
    data = row.get("data")
    if data is None:
        return {TEXT: row.get("text") or ""}
    return flat(data) if isinstance(data, Mapping) else {ANSWER: data}


def flat(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the values of an object, nested ones as `outer.inner`."""
    found: dict[str, Any] = {}
    for name, value in data.items():
        if isinstance(value, Mapping) and value:
            found |= flat(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = value
    return found


def rules_of(schema: Mapping[str, Any] | None) -> dict[str, FieldRule]:
    """Return the fields that answers to a schema have, and how each is compared."""
    if schema is None:
        return {TEXT: FieldRule(FieldKind.TEXT)}
    leaves = list(_leaves(schema, schema, (), _DEEPEST))
    return {".".join(path) or ANSWER: FieldRule(_kind_of(leaf)) for path, leaf in leaves}


def _leaves(
    schema: object, root: Mapping[str, Any], path: tuple[str, ...], depth: int
) -> Iterable[tuple[tuple[str, ...], Mapping[str, Any]]]:
    found = _resolved(schema, root, depth)
    properties = found.get("properties")
    if not isinstance(properties, Mapping) or depth == 0:
        yield path, found
        return
    for name, one in properties.items():
        yield from _leaves(one, root, (*path, name), depth - 1)


def _resolved(schema: object, root: Mapping[str, Any], depth: int) -> Mapping[str, Any]:
    """Follow references, and of alternatives take the first that is not null."""
    if not isinstance(schema, Mapping):
        return {}
    reference = schema.get("$ref")
    if isinstance(reference, str) and depth:
        return _resolved(pointed_at(root, reference), root, depth - 1)
    for key in ("anyOf", "oneOf"):
        options = [one for one in schema.get(key) or () if one != {"type": "null"}]
        if options:
            return _resolved(options[0], root, depth - 1) if depth else {}
    return schema


def _kind_of(leaf: Mapping[str, Any]) -> FieldKind:
    types = leaf.get("type")
    kinds = {types} if isinstance(types, str) else set(types or ())
    if "enum" in leaf or "const" in leaf or "boolean" in kinds:
        return FieldKind.LABEL
    if kinds & {"integer", "number"}:
        return FieldKind.NUMBER
    if "array" in kinds or "items" in leaf:
        return FieldKind.LIST
    return FieldKind.TEXT


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _items(value: object) -> Sequence[str]:
    return [item(one) for one in value] if isinstance(value, list) else [item(value)]


def is_same_text(one: str, other: str) -> bool:
    """Return whether two texts differ in nothing but case, marks and spaces."""
    return (normalised(one) or item(one)) == (normalised(other) or item(other))
