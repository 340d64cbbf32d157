"""Columns of a table of answers: of every row, of the source, and of the answers' fields."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from producer.run.run_record import COLUMNS, TECHNICAL, TOKENS
from visionq.errors import RecordRefused

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

#: Prefix of columns for fields of `data`.
DATA: Final = "data."
#: Prefix of columns of the source whose names OUT uses itself.
SOURCE: Final = "source."
#: Most columns: more fields are for programs, not for people.
_MOST_FIELDS: Final = 1_000
_LARGEST: Final = 2**63
#: Columns of OUT that are not text.
_KINDS: Final[dict[str, type]] = {
    **dict.fromkeys(("cached", "cost_is_estimate", "simulated"), bool),
    **dict.fromkeys(("row", "attempt", *TOKENS), int),
    "latency_s": float,
}

Cell = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class TableColumn:
    """One column, whose values are all of one `kind`."""

    name: str
    kind: type
    #: The column of the source, or the field of `data`, with its values.
    of_source: str | None = None
    of_data: str | None = None

    @property
    def is_money(self) -> bool:
        """Whether its values are rubles as decimal strings."""
        return self.name == "cost_rub"

    @property
    def is_moment(self) -> bool:
        """Whether its values are moments."""
        return self.name == "finished_at"

    def cell(self, row: dict[str, Any]) -> Cell:
        """Return the value of a row in this column."""
        if self.of_source is not None:
            value = (row.get("columns") or {}).get(self.of_source)
        elif self.of_data is not None:
            data = row["data"]
            value = data.get(self.of_data) if isinstance(data, dict) else None
        elif self.name in ("error_code", "error_message"):
            value = (row["error"] or {}).get(self.name.removeprefix("error_"))
        else:
            value = row.get(self.name)
        return self._as_cell(value)

    def _as_cell(self, value: Any) -> Cell:  # noqa: ANN401  # any JSON value
        if value is None:
            return None
        if self.kind is not str:
            cell: Cell = self.kind(value)
            return cell
        if self.name in ("pictures", "warnings"):
            return "; ".join(value)
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def columns_of(
    rows: Iterable[dict[str, Any]],
    wanted: Collection[str] | None = None,
    *,
    technical: bool = True,
) -> list[TableColumn]:
    """Return the columns of a table: of every row, of the source, and of `data`.

    Fields with values of several kinds become text, nested values JSON. `wanted` selects columns
    of the source; None: all.

    Raises:
        RecordRefused: there are too many fields for a table.
    """
    fields: dict[str, set[type]] = {}
    source: dict[str, bool] = {}
    plain = False
    for row in rows:
        data = row["data"]
        if isinstance(data, dict):
            for name, value in data.items():
                fields.setdefault(name, set()).add(_kind_of(value))
        else:
            plain = plain or data is not None
        for name, text in (row.get("columns") or {}).items():
            # Whether it always equals our column of that name is known only at the end.
            source[name] = source.get(name, False) or text != str(row.get(name, ""))
        if len(fields) + len(source) > _MOST_FIELDS:
            raise RecordRefused(f"there are more than {_MOST_FIELDS:,} fields: take the JSONL")
    kept = [name for name in COLUMNS if technical or name not in TECHNICAL]
    own = {
        column.name
        for name in COLUMNS
        if name != "columns"
        for column in _columns(name, fields, plain=plain)
    }
    repeated = [
        TableColumn(_source_name(name, own, source), str, of_source=name)
        for name, differs in source.items()
        if (wanted is None or name in wanted) and (differs or name not in own)
    ]
    return [
        column
        for name in kept
        for column in (repeated if name == "columns" else _columns(name, fields, plain=plain))
    ]


def _source_name(name: str, own: Collection[str], source: Collection[str]) -> str:
    """Return a name that no other column of the table has."""
    found = name
    while found in own or (found != name and found in source):
        found = f"{SOURCE}{found}"
    return found


def _columns(name: str, fields: dict[str, set[type]], *, plain: bool) -> list[TableColumn]:
    if name == "data":
        found = [
            TableColumn(f"{DATA}{field}", _kind(kinds), of_data=field)
            for field, kinds in fields.items()
        ]
        # An answer that is a list or a number has no fields.
        return [TableColumn("data", str), *found] if plain else found
    if name == "error":
        return [TableColumn("error_code", str), TableColumn("error_message", str)]
    return [TableColumn(name, _KINDS.get(name, str))]


def _kind_of(value: object) -> type:
    """Return the kind of a value; an integer beyond 64 bits is text."""
    is_large = isinstance(value, int) and not -_LARGEST <= value < _LARGEST
    return str if is_large else type(value)


def _kind(kinds: set[type]) -> type:
    known = kinds - {type(None)}
    if known == {bool}:
        return bool
    if known == {int}:
        return int
    return float if known and known <= {int, float} else str
