"""A comparison as one HTML file that opens from disk and by mail, without a script."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any, Final

from producer.compare.comparison_plan import PAGE
from producer.compare.comparison_rendering import (
    judged_line,
    pair_title,
    percent,
    shown,
    variant_cells,
)
from producer.html_pages import html_page, picture_of
from visionq.cli.screen import money
from visionq.wording import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from producer.compare.comparison_document import (
        ComparedRow,
        FieldOutcome,
        PairOutcome,
        VariantComparison,
    )
    from producer.sources import Row

#: Pictures of a row that are shown.
_MOST_PICTURES: Final = 4


def page_of(found: VariantComparison, rows: Sequence[ComparedRow], sources: Sequence[Row]) -> str:
    """Return the page: figures, agreement, and the rows that differ with their pictures."""
    images = {row.id: row.images for row in sources}
    parts = [
        f"<h1>{_title(found)}</h1>",
        f'<p class="note">{escape(_drawn(found))}. In brackets: 95 % intervals.</p>',
        _figures(found),
        *_said("What this can't tell", found.limits),
        *_said("The judge", [judged_line(one) for one in found.judged]),
        "<h2>Agreement</h2>",
        *(
            _pair(pair, is_open=place < len(found.variants))
            for place, pair in enumerate(found.pairs)
        ),
        *_rows(rows, images),
    ]
    return html_page(PAGE, "visionq compare", parts)


def _title(found: VariantComparison) -> str:
    variants = counted(len(found.variants), "variant")
    return f"{variants} over {counted(found.sample, 'picture')}"


def _drawn(found: VariantComparison) -> str:
    rows = f"{found.sample:,} of {found.rows:,} rows, seed {found.seed}"
    return f"{found.source}: {rows}; spent {money(found.spent_rub)} ₽"


def _figures(found: VariantComparison) -> str:
    heads = ["", *(one.letter for one in found.variants)]
    body = [[heading, *cells] for heading, cells in variant_cells(found)]
    return _table(heads, body)


def _said(title: str, lines: Sequence[str]) -> Iterator[str]:
    if lines:
        items = "".join(f"<li>{escape(line)}</li>" for line in lines)
        yield f"<h2>{escape(title)}</h2><ul>{items}</ul>"


def _table(heads: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(one)}</th>" for one in heads)
    lines = "".join(
        f"<tr><th>{escape(first)}</th>"
        + "".join(f'<td class="n">{escape(cell)}</td>' for cell in cells)
        + "</tr>"
        for first, *cells in body
    )
    return _framed(head, lines)


def _framed(head: str, lines: str) -> str:
    whole = f"<thead><tr>{head}</tr></thead><tbody>{lines}</tbody>"
    return f'<div class="wide"><table>{whole}</table></div>'


def _pair(pair: PairOutcome, *, is_open: bool) -> str:
    heads = ("field", "kind", "equal", "F1", "Jaccard", "rows")
    body: list[Sequence[str]] = [
        (
            *(one.field, one.kind, percent(one.agreement), percent(one.f1), percent(one.jaccard)),
            f"{one.agreement.n:,}",
        )
        for one in pair.fields
    ]
    body.append(("all fields", "", percent(pair.agreement), "", "", f"{pair.agreement.n:,}"))
    tables = "".join(_confusion(one, pair) for one in pair.fields if one.confusion)
    opened = " open" if is_open else ""
    title = f"{pair_title(pair)}: {percent(pair.agreement)} equal in all fields"
    whole = f"{_table(heads, body)}{tables}"
    return f"<details{opened}><summary>{escape(title)}</summary>{whole}</details>"


def _confusion(one: FieldOutcome, pair: PairOutcome) -> str:
    """Return the table of a field's labels, those of the reference in lines."""
    table, labels = one.confusion or {}, one.labels or ()
    names = [label.label for label in labels]
    heads = [f"{pair.reference} ↓ {pair.variant} →", *names, "recall", "precision"]
    body = [
        (
            label.label,
            *(str(table.get(label.label, {}).get(name, "")) for name in names),
            percent(label.recall),
            percent(label.precision),
        )
        for label in labels
    ]
    return (
        f"<details><summary>labels of {escape(one.field)}</summary>{_table(heads, body)}</details>"
    )


# Rows ---------------------------------------------------------------------------------------------


def _rows(rows: Sequence[ComparedRow], images: dict[str, tuple[str, ...]]) -> Iterator[str]:
    differing = [row for row in rows if row.differ or row.errors]
    yield f"<h2>Rows that differ: {len(differing):,} of {len(rows):,}</h2>"
    for row in differing:
        yield _article(row, images.get(row.id, ()))
    alike = [row for row in rows if not row.differ and not row.errors]
    if alike:
        names = ", ".join(escape(row.id) for row in alike)
        yield f"<details><summary>{len(alike):,} rows with equal answers</summary>{names}</details>"


def _article(row: ComparedRow, images: Sequence[str]) -> str:
    pictures = "".join(picture_of(image) for image in images[:_MOST_PICTURES])
    title = row.id if row.file in ("", row.id) else f"{row.id}: {row.file}"
    has_golden = row.golden is not None
    heads = ["", *(["golden"] if has_golden else []), *row.answers]
    head = "".join(f"<th>{escape(one)}</th>" for one in heads)
    body = "".join(_line(row, field, has_golden=has_golden) for field in _fields(row))
    errors = "".join(
        f"<p>{escape(letter)}: no answer, {escape(code)}</p>" for letter, code in row.errors.items()
    )
    table = _framed(head, body)
    return f"<article>{pictures}<div><h3>{escape(title)}</h3>{errors}{table}</div></article>"


def _fields(row: ComparedRow) -> list[str]:
    """Return the fields of a row, those that differ first."""
    every = [*row.differ, *(row.golden or {})]
    every += [field for answer in row.answers.values() for field in answer or {}]
    return list(dict.fromkeys(every))


def _line(row: ComparedRow, field: str, *, has_golden: bool) -> str:
    right = "same" if field in row.differ else ""
    cells = [_cell((row.golden or {}).get(field), right)] if has_golden else []
    for letter, answer in row.answers.items():
        deviates = field in row.deviating.get(letter, ())
        cells.append(_cell((answer or {}).get(field), "miss" if deviates else ""))
    return f"<tr><th>{escape(field)}</th>{''.join(cells)}</tr>"


def _cell(value: Any, style: str) -> str:  # noqa: ANN401  # any JSON value
    text = value if isinstance(value, str) else shown(value)
    return f'<td class="{style}">{escape(text)}</td>' if style else f"<td>{escape(text)}</td>"
