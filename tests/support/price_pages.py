"""Price lists as they arrive when a person copies or saves them: our own, in every form."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Models and their prices; None: the page has a dash.
Rows = dict[str, tuple[str, str | None, str]]
ROWS: Rows = {
    "gpt-6-luna": ("25,8", "2,58", "129"),
    "gpt-6.1-terra": ("258", None, "1\u202f290"),
}
HEADINGS = ("Модель", "Ввод", "Кэш", "Вывод")
UNIT = "Цены указаны в ₽ за 1 млн токенов"


def cells(rows: Rows, mark: str = " ₽") -> list[list[str]]:
    return [
        [model, *("—" if price is None else price + mark for price in prices)]
        for model, prices in rows.items()
    ]


def as_tabs(rows: Rows, headings: Sequence[str] = HEADINGS) -> str:
    lines = ["\t".join(line) for line in (headings, *cells(rows))]
    return "\n".join(["OpenAI", UNIT, *lines, "© 2026"])


def as_bars(rows: Rows) -> str:
    lines = [f"| {' | '.join(line)} |" for line in (HEADINGS, *cells(rows))]
    return "\n".join([UNIT, lines[0], "|---|---|---|---|", *lines[1:]])


def as_columns(rows: Rows) -> str:
    """Columns in line, and nothing at all where a price is missing."""
    table = [list(HEADINGS), *cells(rows, "")]
    widths = [max(len(line[at]) for line in table) for at in range(len(HEADINGS))]
    lines = []
    for line in table:
        shown = ["" if cell == "—" else cell for cell in line]
        first = shown[0].ljust(widths[0])
        rest = [cell.rjust(width) for cell, width in zip(shown[1:], widths[1:], strict=True)]
        lines.append("   ".join([first, *rest]).rstrip())
    return "\n".join([UNIT, lines[0], "-" * 40, *lines[1:]])


def as_stack(rows: Rows) -> str:
    """One cell below another, as pages made of blocks are copied."""
    return "\n".join([UNIT, "", *HEADINGS, "", *(cell for line in cells(rows) for cell in line)])


def as_labels(rows: Rows) -> str:
    """Cards: each price behind its name."""
    lines = [UNIT]
    for line in cells(rows):
        labelled = zip(HEADINGS[1:], line[1:], strict=True)
        lines += [line[0], *(f"{name}: {cell}" for name, cell in labelled), ""]
    return "\n".join(lines)


def as_html(rows: Rows) -> str:
    def row(line: Sequence[str], tag: str) -> str:
        inner = "".join(f"<{tag}><span>{escape(cell)}</span></{tag}>" for cell in line)
        return f"<tr>{inner}</tr>"

    body = "".join(row(line, "td") for line in cells(rows, "&nbsp;₽".replace("&nbsp;", "\u00a0")))
    return (
        "<!doctype html><html><head><title>Цены</title><style>td { top: 1px }</style></head><body>"
        f"<script>let price = '$ 5';</script><p>{UNIT}</p><table><thead>{row(HEADINGS, 'th')}"
        f"</thead><tbody>{body}</tbody></table></body></html>"
    )


def as_blocks(rows: Rows) -> str:
    """A page without tables."""
    items = "".join(
        f"<div class='row'>{''.join(f'<div>{escape(cell)}</div>' for cell in line)}</div>"
        for line in (HEADINGS, *cells(rows))
    )
    return f"<html><body><h1>Цены</h1><div>{UNIT}</div>{items}</body></html>"


FORMS = (as_tabs, as_bars, as_columns, as_stack, as_labels, as_html, as_blocks)
