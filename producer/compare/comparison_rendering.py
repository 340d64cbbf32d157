"""A comparison as people read it in a terminal."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from rich.console import Group
from rich.table import Table
from rich.text import Text

from producer.sources.source import printable
from visionq.cli.screen import money, people_console
from visionq.wording import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import RenderableType

    from producer.compare.comparison_document import (
        ComparedRow,
        Figure,
        JudgeOutcome,
        PairOutcome,
        VariantComparison,
    )

_MOST_ROWS: Final = 5
_LONGEST: Final = 70
_DASH: Final = "—"


def say_comparison(found: VariantComparison, rows: Sequence[ComparedRow]) -> None:
    """Print the figures, the first rows that differ, and what is left open."""
    people_console().print(draw_comparison(found, rows))


def draw_comparison(found: VariantComparison, rows: Sequence[ComparedRow]) -> RenderableType:
    """Return the comparison for rich's console."""
    parts: list[RenderableType] = [_variants(found), Text()]
    for pair in found.pairs:
        if pair.reference == found.pairs[0].reference:
            parts += [_pair(pair), Text()]
    parts += [Text(line) for line in _judged(found)]
    differing = [row for row in rows if row.differ or row.errors]
    if differing:
        parts += [_beside(differing[:_MOST_ROWS]), Text()]
    parts += [Text(printable(f"! {line}"), style="yellow") for line in found.limits]
    answers = f"{len(differing):,} of {len(rows):,} rows differ, beside each other in {found.page}"
    parts += [Text(), Text(answers), Text(f"spent in all: {money(found.spent_rub)} ₽")]
    return Group(*parts)


def percent(figure: Figure | None) -> str:
    """Return a share with its interval: `92 % (81 to 97)`."""
    if figure is None or figure.value is None or figure.low is None or figure.high is None:
        return _DASH
    return f"{figure.value:.0%} ({figure.low * 100:.0f} to {figure.high * 100:.0f})"


def amount(figure: Figure, *, whole: bool) -> str:
    """Return rubles with their interval."""
    if figure.value is None or figure.low is None or figure.high is None:
        return _DASH
    value, low, high = (money(Decimal(str(one))) for one in (figure.value, figure.low, figure.high))
    return f"{value} ({low} to {high})" if whole else value


def shown(value: Any) -> str:  # noqa: ANN401  # any JSON value
    """Return a value in one printable line; a dash for a missing one."""
    if value is None:
        return _DASH
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    line = printable(" ".join(text.split()))
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"


def variant_cells(found: VariantComparison) -> Iterator[tuple[str, list[str]]]:
    """Yield heading and cells of each line, a cell for each variant."""
    every = found.variants
    yield "variant", [one.name for one in every]
    yield "model", [one.model for one in every]
    yield "detail, effort", [", ".join(filter(None, (one.detail, one.effort))) for one in every]
    if any(one.ends for one in every):
        yield "model ends", [str(one.ends or _DASH) for one in every]
    yield "₽ a million in / out", [f"{one.input_rub} / {one.output_rub}" for one in every]
    if found.golden is not None:
        yield "right, all fields", [percent(one.right) for one in every]
    yield "₽ a picture", [amount(one.row_rub, whole=False) for one in every]
    yield f"₽ for all {found.rows:,}", [amount(one.source_rub, whole=True) for one in every]
    yield (
        "tokens in / out",
        [f"{one.input_tokens:,.0f} / {one.output_tokens:,.0f}" for one in every],
    )
    yield (
        "seconds, median / p95",
        [
            _DASH
            if one.latency_median_s is None
            else f"{one.latency_median_s:.1f} / {one.latency_p95_s:.1f}"
            for one in every
        ],
    )
    yield "no answer", [percent(one.failures) for one in every]
    if any(one.misfits is not None for one in every):
        yield "misfits of the schema", [percent(one.misfits) for one in every]
    if any(one.failed for one in every):
        codes = (
            ", ".join(f"{code} {count}" for code, count in one.failed.items()) for one in every
        )
        yield "failed with", [said or _DASH for said in codes]
    yield "from stored answers", [f"{one.cached:,} of {one.rows:,}" for one in every]


def _variants(found: VariantComparison) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column(f"{found.sample:,} of {found.rows:,} rows", style="dim", no_wrap=True)
    for one in found.variants:
        table.add_column(one.letter)
    for heading, cells in variant_cells(found):
        table.add_row(heading, *cells)
    return table


def pair_title(pair: PairOutcome) -> str:
    """Return what is compared: `A and golden`."""
    return f"{pair.variant} and {pair.reference}"


def _pair(pair: PairOutcome) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column(pair_title(pair), no_wrap=True)
    for heading in ("kind", "equal (95 %)", "F1", "rows"):
        table.add_column(heading)
    for one in pair.fields:
        cells = (one.kind, percent(one.agreement), percent(one.f1), f"{one.agreement.n:,}")
        table.add_row(one.field, *cells)
    if len(pair.fields) > 1:
        table.add_row("all fields", "", percent(pair.agreement), "", f"{pair.agreement.n:,}")
    return table


def _judged(found: VariantComparison) -> Iterator[str]:
    for one in found.judged:
        yield judged_line(one)
    if found.judged:
        yield ""


def judged_line(one: JudgeOutcome) -> str:
    """Return what a judge found in one line."""
    return (
        f"{one.model} judged {counted(one.judged, 'row')} with other texts: {one.first} better in"
        f" {one.first_preferred:,}, {one.second} in {one.second_preferred:,}, undecided"
        f" {one.undecided:,}; {one.second} preferred {percent(one.preference)}"
    )


def _beside(rows: Sequence[ComparedRow]) -> Table:
    """Return the fields in which rows differ, the answers beside each other."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    letters = list(rows[0].answers)
    has_golden = any(row.golden for row in rows)
    for heading in ("row", "field", *(["golden"] if has_golden else []), *letters):
        table.add_column(heading)
    for row in rows:
        for field in row.differ or ("",):
            known = [shown((row.golden or {}).get(field))] if has_golden else []
            table.add_row(
                printable(row.id), field, *known, *(_cell(row, letter, field) for letter in letters)
            )
    return table


def _cell(row: ComparedRow, letter: str, field: str) -> Text:
    answer = row.answers.get(letter)
    if answer is None:
        return Text(row.errors.get(letter, _DASH), style="red")
    return Text(shown(answer.get(field)), "red" if field in row.deviating.get(letter, ()) else "")
