"""A record as a table: which columns it has, and what stands in them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from producer.run.errors import RecordRefused
from producer.run.rows import COLUMNS, TECHNICAL, TOKENS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

#: Before the name of a field of `data`.
DATA: Final = "data."
#: Before the name of a column of the source, where OUT has one of that name.
SOURCE: Final = "source."
#: Of a table that is meant to be looked at.
_MOST_FIELDS: Final = 1_000
_LARGEST: Final = 2**63
_BOOLEANS: Final = frozenset({"cached", "cost_is_estimate", "simulated"})
_NUMBERS: Final = frozenset({"row", "attempt", *TOKENS})

Cell = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Column:
    """One column; `kind` is that of all its values."""

    name: str
    kind: type
    #: The column of the source, or the field of `data`, that it holds.
    of_source: str | None = None
    of_data: str | None = None

    @property
    def is_money(self) -> bool:
        """Whether it holds rubles as decimal strings."""
        return self.name == "cost_rub"

    @property
    def is_moment(self) -> bool:
        """Whether it holds moments."""
        return self.name == "finished_at"

    def cell(self, row: dict[str, Any]) -> Cell:
        """Return what stands in this column of a row."""
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

    def _as_cell(self, value: Any) -> Cell:  # noqa: ANN401  # whatever JSON can say
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
) -> list[Column]:
    """Return the columns of a table: those of every row, of the source and of `data`.

    A field whose values are of several kinds is text, and what is nested is JSON. Of the source's
    columns those that are `wanted` come; None: all.

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
            # That it says what ours of that name says shows only at the end.
            source[name] = source.get(name, False) or text != str(row.get(name, ""))
        if len(fields) + len(source) > _MOST_FIELDS:
            raise RecordRefused(f"there are more than {_MOST_FIELDS:,} fields: take the JSONL")
    kept = [name for name in COLUMNS if technical or name not in TECHNICAL]
    ours = {
        column.name
        for name in COLUMNS
        if name != "columns"
        for column in _columns(name, fields, plain=plain)
    }
    told = [
        Column(f"{SOURCE}{name}" if name in ours else name, str, of_source=name)
        for name, differs in source.items()
        if (wanted is None or name in wanted) and (differs or name not in ours)
    ]
    return [
        column
        for name in kept
        for column in (told if name == "columns" else _columns(name, fields, plain=plain))
    ]


def _columns(name: str, fields: dict[str, set[type]], *, plain: bool) -> list[Column]:
    if name == "data":
        found = [
            Column(f"{DATA}{field}", _kind(kinds), of_data=field) for field, kinds in fields.items()
        ]
        # An answer that is a list or a number has no fields of its own.
        return [Column("data", str), *found] if plain else found
    if name == "error":
        return [Column("error_code", str), Column("error_message", str)]
    if name in _BOOLEANS:
        return [Column(name, bool)]
    return [Column(name, int if name in _NUMBERS else str)]


def _kind_of(value: object) -> type:
    """Return a value's kind; a number too large for 64 bits is text."""
    is_large = isinstance(value, int) and not -_LARGEST <= value < _LARGEST
    return str if is_large else type(value)


def _kind(kinds: set[type]) -> type:
    known = kinds - {type(None)}
    if known == {bool}:
        return bool
    if known == {int}:
        return int
    return float if known and known <= {int, float} else str
