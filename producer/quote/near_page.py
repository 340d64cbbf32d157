"""Pairs of pictures that look alike, side by side: as lines, and as one HTML file."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Final

import click

from producer.html_pages import html_page, page_begins, picture_of
from producer.outputs import check_begins, write_text
from producer.sources.source import printable
from visionq.cli.shared import FILE
from visionq.errors import RecordRefused

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from producer.quote.document import NearPairQuote, Quote

_PAGE: Final = "near"
_SUFFIX: Final = ".html"
#: Pairs that a terminal shows.
_LINES: Final = 5


def lines_of(pairs: Sequence[NearPairQuote]) -> Iterator[str]:
    """Yield a few pairs by the names of their pictures."""
    for one in pairs[:_LINES]:
        names = f"{printable(one.file)} gets the answer of {printable(one.source_file)}"
        yield f"  distance {one.distance}: {names}"


near_page_option: Final = click.option(
    "--near-page",
    type=FILE,
    help="Write pairs of near-duplicates side by side to FILE.html.",
)


def check_page(out: Path | None, near: int | None) -> None:
    """Check that a page may be written there.

    Raises:
        click.UsageError: nobody looks for near-duplicates.
        RecordRefused: its suffix is another, or visionq did not write the file that is there.
    """
    if out is None:
        return
    if near is None:
        raise click.UsageError("--near-page shows what --near N finds: give both")
    if out.suffix.lower() != _SUFFIX:
        raise RecordRefused(f"{out}: --near-page ends in {_SUFFIX}")
    check_begins(out, page_begins(_PAGE).encode())


def write_page(out: Path, quote: Quote) -> None:
    """Write the page of a quote.

    Raises:
        RecordFailed: it can't be written.
    """
    write_text(out, _page(quote.near_pairs, quote.near))


def _page(pairs: Sequence[NearPairQuote], found: int) -> str:
    said = (
        f"{found:,} rows would get the answer of a picture that looks alike. Shown are the pairs"
        " that differ most; if one of them needs an answer of its own, choose a smaller --near."
    )
    parts = ("<h1>Near-duplicates</h1>", f'<p class="note">{escape(said)}</p>')
    return html_page(_PAGE, "visionq near-duplicates", (*parts, *map(_article, pairs)))


def _article(pair: NearPairQuote) -> str:
    sides = ((pair.source_file, pair.source_id, "asked"), (pair.file, pair.id, "gets its answer"))
    cells = "".join(
        f"<figure>{picture_of(file)}<figcaption>{escape(row_id)}: {what}</figcaption></figure>"
        for file, row_id, what in sides
    )
    return f"<article><h3>distance {pair.distance}</h3>{cells}</article>"
