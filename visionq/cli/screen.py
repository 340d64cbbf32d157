"""Output for people: fitted tables and amounts in a terminal, full fields in a pipe."""

from __future__ import annotations

import re
import sys
from typing import IO, TYPE_CHECKING, Any, Final, cast

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from decimal import Decimal

    from rich.console import Console


_UNITS: Final = (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1))


def duration(seconds: float) -> str:
    """Return a time in its two largest units, as `1 min 5 s`."""
    left, parts = max(0, round(seconds)), []
    for unit, size in _UNITS:
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2]) or "0 s"


def money(amount: Decimal | None) -> str:
    """Format rubles: kopecks, or more digits below a ruble."""
    if amount is None:
        return "?"
    return f"{amount:,.2f}" if abs(amount) >= 1 or not amount else f"{amount:.4f}"


def plain(amount: Decimal | None) -> str | None:
    """Return an amount as a decimal string."""
    return None if amount is None else format(amount.normalize(), "f")


#: Of what is printed into a pipe: no field is cut or wrapped.
_WHOLE: Final = 100_000
_PADDING: Final = 2
#: Columns whose values are aligned right.
_FIGURES: Final = ("BYTES", "COST ₽")
_TRAILING: Final = re.compile(r"(?<! ) ++(?=\n|\Z)")


class _Trimmed:
    """A stream without the blanks by which a table fills its lines."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write it; returns the characters that were given."""
        self._stream.write(_TRAILING.sub("", text))
        return len(text)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  # what a stream has
        return getattr(self._stream, name)


def people_console(*, err: bool = False) -> Console:
    """Return the console for people; it interprets no markup in user text."""
    from rich.console import Console  # noqa: PLC0415  # only people need it, not --json

    stream = sys.stderr if err else sys.stdout
    if stream.isatty():
        return Console(file=stream, markup=False, emoji=False, highlight=False)
    trimmed = cast("IO[str]", _Trimmed(stream))
    return Console(file=trimmed, width=_WHOLE, markup=False, emoji=False, highlight=False)


def print_facts(facts: Mapping[str, str]) -> None:
    """Print names and values that are not empty, one a line."""
    from rich.table import Table  # noqa: PLC0415  # only people need it

    table = Table(box=None, show_header=False, padding=(0, _PADDING, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    for name, value in facts.items():
        if value:
            table.add_row(name, value)
    people_console().print(table)


def print_rows(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table: tab-separated in a pipe, wrapped by words in a terminal."""
    listed = [[" ".join(cell.split()) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        for row in (headings, *listed):
            sys.stdout.write("\t".join(row) + "\n")
        return
    from rich.table import Table  # noqa: PLC0415  # only people need it

    console = people_console()
    table = Table(box=None, padding=(0, _PADDING, 0, 0), header_style="dim")
    columns = list(zip(headings, *listed, strict=True))
    widths = [
        max(len(word) for cell in column for word in cell.split() or [""]) for column in columns
    ]
    for heading, width in zip(headings, widths, strict=True):
        right = heading in _FIGURES
        table.add_column(heading, justify="right" if right else "left", min_width=width)
    for row in listed:
        table.add_row(*row)
    # Where words have no room beside each other, the terminal itself wraps whole lines.
    needed = sum(widths) + _PADDING * len(widths)
    console.print(table, width=max(needed, console.width), crop=False, no_wrap=False)
