"""Tables of benchmark results, as Markdown and as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence


#: Columns of every table of goals; the summary recognizes it by them.
GOAL_COLUMNS: Final = ("goal", "found", "wanted", "met")
Cells = tuple[str | float | None, ...]


@dataclass(frozen=True)
class Table:
    """Rows of figures under a title; `None` is a figure that could not be measured."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str | float | None, ...], ...]
    note: str = ""

    def to_public(self) -> dict[str, Any]:
        """Return the table as plain values, each row as a dict by column."""
        rows = [dict(zip(self.columns, row, strict=True)) for row in self.rows]
        return {"title": self.title, "rows": rows, "note": self.note}

    def to_markdown(self) -> str:
        """Return the table as Markdown."""
        head = [f"### {self.title}", ""]
        lines = [_line(self.columns), _line(["---"] * len(self.columns))]
        lines += [_line([_cell(value) for value in row]) for row in self.rows]
        return "\n".join([*head, *lines, *(["", self.note] if self.note else [])])


def goal(name: str, found: float | None, wanted: float, *, at_least: bool) -> Cells:
    """Return a row of a table of goals; without a figure it is not measured."""
    word = f"{'≥' if at_least else '≤'} {wanted:g}"
    if found is None:
        return (name, None, word, "not measured")
    met = found >= wanted if at_least else found <= wanted
    return (name, found, word, "yes" if met else "no")


def goals(title: str, rows: Sequence[Cells], note: str = "") -> Table:
    """Return a table of goals."""
    return Table(title, GOAL_COLUMNS, tuple(rows), note)


def _line(cells: tuple[str, ...] | list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(value: str | float | None) -> str:
    if value is None:
        return "-"
    if isinstance(value, str):
        return value
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"  # noqa: PLR2004  # three digits
