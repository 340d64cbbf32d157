"""The answers in a record as columns: values, errors and costs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from visionq.answer_schemas import pointed_at
from visionq.errors import InvalidSource, RecordRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

#: Levels of a schema that become structs within structs.
_DEEPEST: Final = 8
_SCALARS: Final = {
    "string": "String",
    "integer": "Int64",
    "number": "Float64",
    "boolean": "Boolean",
}
_MOST: Final = 2**63
_TOO_LARGE: Final = "invalid_output: a number takes more than 64 bits; the cache has the answer"
_LEFT_OUT: Final = "budget_exhausted: max_rub was used up before this row"


def answers_in(record: Path) -> dict[str, dict[str, Any]]:
    """Return the last row of each id in a record, but no torn line.

    Raises:
        RecordRefused: a line is not a row; the message names it.
    """
    found: dict[str, dict[str, Any]] = {}
    if record.exists():
        with record.open("rb") as file:
            for number, line in enumerate(file, 1):
                if line.endswith(b"\n"):
                    try:
                        row = json.loads(line)
                        found[row["id"]] = row
                    except (ValueError, TypeError, KeyError):
                        raise RecordRefused(
                            f"{record}: line {number} is not a row; move the file away"
                        ) from None
    return found


@dataclass(frozen=True, slots=True)
class AnswerColumn:
    """A new column of a frame."""

    name: str
    values: list[Any]
    #: Returns narwhals' type; only asked where it is loaded.
    data_type: Callable[[], Any]


@dataclass(frozen=True, slots=True)
class AnswerColumns:
    """The columns that a frame gets."""

    into: str
    schema: dict[str, Any] | None

    @property
    def _names(self) -> tuple[str, str, str]:
        return self.into, f"{self.into}_error", f"{self.into}_cost_rub"

    def check(self, columns: Sequence[str]) -> None:
        """Refuse to replace a column.

        Raises:
            InvalidSource: the frame has one of the names.
        """
        taken = next((name for name in self._names if name in columns), None)
        if taken is not None:
            raise InvalidSource(f"the frame has a column {taken!r} already: name another with into")

    def made_of(
        self, ids: Sequence[str], answers: Mapping[str, dict[str, Any]]
    ) -> list[AnswerColumn]:
        """Return the columns; of equal rows the first has the cost."""
        shape = None if self.schema is None else _shape(self.schema, self.schema, 0)
        rows = [answers.get(row_id) for row_id in ids]
        seen: set[str] = set()
        costs = []
        for row_id, row in zip(ids, rows, strict=True):
            costs.append(Decimal(0) if row is None or row_id in seen else Decimal(row["cost_rub"]))
            seen.add(row_id)
        ends = [self._end(row, shape) for row in rows]
        answer, error, cost = self._names
        return [
            AnswerColumn(answer, [value for value, _ in ends], lambda: _data_type(shape)),
            AnswerColumn(error, [said for _, said in ends], lambda: _data_type("String")),
            AnswerColumn(cost, costs, lambda: None),
        ]

    def _end(self, row: dict[str, Any] | None, shape: Any) -> tuple[Any, str | None]:  # noqa: ANN401  # any JSON value
        """Return the value of a row, or its error."""
        if row is None:
            return None, _LEFT_OUT
        if (error := row["error"]) is not None:
            return None, f"{error['code']}: {error['message']}"
        if self.schema is None:
            return row["text"], None
        if shape is None:
            return json.dumps(row["data"], ensure_ascii=False), None
        try:
            return _shaped(row["data"], shape), None
        except OverflowError:
            return None, _TOO_LARGE


def _shape(schema: Any, whole: dict[str, Any], depth: int) -> Any:  # noqa: ANN401  # a name, a list or a dict
    """Return a scalar's name, `[of each]`, `{field: form}`, or None for no fixed form."""
    if not isinstance(schema, Mapping) or depth > _DEEPEST:
        return None
    if isinstance(reference := schema.get("$ref"), str):
        return _shape(pointed_at(whole, reference), whole, depth + 1)
    choices = schema.get("anyOf") or schema.get("oneOf")
    if choices:
        real = [one for one in choices if one != {"type": "null"}]
        return _shape(real[0], whole, depth + 1) if len(real) == 1 else None
    kind = schema.get("type")
    if isinstance(kind, list):
        real_kinds = [one for one in kind if one != "null"]
        kind = real_kinds[0] if len(real_kinds) == 1 else None
    if kind is None and all(isinstance(one, str) for one in schema.get("enum") or (0,)):
        kind = "string"
    if kind == "array":
        each = _shape(schema.get("items"), whole, depth + 1)
        return None if each is None else [each]
    if kind == "object" and schema.get("properties"):
        fields = {name: _shape(one, whole, depth + 1) for name, one in schema["properties"].items()}
        return None if None in fields.values() else fields
    return _SCALARS.get(kind) if isinstance(kind, str) else None


def _shaped(value: Any, shape: Any) -> Any:  # noqa: ANN401  # any JSON value
    if value is None:
        return None
    if isinstance(shape, dict):
        return {name: _shaped(value.get(name), one) for name, one in shape.items()}
    if isinstance(shape, list):
        return [_shaped(one, shape[0]) for one in value]
    if shape == "Int64" and not -_MOST <= value < _MOST:
        raise OverflowError
    return float(value) if shape == "Float64" else value


def _data_type(shape: Any) -> Any:  # noqa: ANN401  # narwhals'
    import narwhals as nw  # noqa: PLC0415  # an extra

    if isinstance(shape, dict):
        return nw.Struct({name: _data_type(one) for name, one in shape.items()})
    if isinstance(shape, list):
        return nw.List(_data_type(shape[0]))
    return getattr(nw, shape or "String")()
