"""Pairs of pictures that look alike, side by side: as lines, and as one HTML file."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Final

import click

from producer.html_pages import POLICY, STYLE, picture_of
from producer.sources.source import printable
from visionq.cli.shared import FILE
from visionq.errors import RecordFailed, RecordRefused
from visionq.user_files import replacing

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from producer.quote.document import NearPairQuote, Quote

_BEGINS: Final = "<!doctype html>\n<!-- visionq near -->"
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
    try:
        known = out.read_bytes()[: len(_BEGINS)] if out.exists() else b""
    except OSError as error:
        raise RecordRefused(f"{out}: can't be read: {error.strerror}") from None
    if known not in (b"", _BEGINS.encode()):
        raise RecordRefused(
            f"{out}: visionq did not write this file and leaves it alone: choose another"
        )


def write_page(out: Path, quote: Quote) -> None:
    """Write the page of a quote.

    Raises:
        RecordFailed: it can't be written.
    """
    try:
        with replacing(out) as draft:
            draft.write_text(
                _page(quote.near_pairs, quote.near), encoding="utf-8", errors="backslashreplace"
            )
    except OSError as error:
        raise RecordFailed(f"{out}: can't be written: {error.strerror or error}") from None


def _page(pairs: Sequence[NearPairQuote], found: int) -> str:
    said = (
        f"{found:,} rows would get the answer of a picture that looks alike. Shown are the pairs"
        " that differ most; if one of them needs an answer of its own, choose a smaller --near."
    )
    return "\n".join(
        (
            _BEGINS,
            '<html lang="en"><head><meta charset="utf-8"><title>visionq near-duplicates</title>',
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
            '<meta name="viewport" content="width=device-width"><style>',
            STYLE,
            "</style></head><body><h1>Near-duplicates</h1>",
            f'<p class="note">{escape(said)}</p>',
            *map(_article, pairs),
            "</body></html>\n",
        )
    )


def _article(pair: NearPairQuote) -> str:
    sides = ((pair.source_file, pair.source_id, "asked"), (pair.file, pair.id, "gets its answer"))
    cells = "".join(
        f"<figure>{picture_of(file)}<figcaption>{escape(row_id)}: {what}</figcaption></figure>"
        for file, row_id, what in sides
    )
    return f"<article><h3>distance {pair.distance}</h3>{cells}</article>"
