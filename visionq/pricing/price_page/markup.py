"""Convert HTML to text: a table row becomes a line, its cells separated by tabs."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Final

#: Elements whose text is not displayed.
_UNSEEN: Final = frozenset({"script", "style", "svg", "template"})
_CELLS: Final = frozenset({"td", "th"})
#: Elements that do not break a line.
_INLINE: Final = frozenset(
    {"a", "abbr", "b", "code", "em", "i", "small", "span", "strong", "sub", "sup", "u"}
)
_MARKUP: Final = re.compile(
    r"<(!doctype|html|body|table|tbody|tr|div|section|main|form)\b", re.IGNORECASE
)
_BLANKS: Final = re.compile(r"[ \t\r\n\f]+")


def is_markup(text: str) -> bool:
    """Return whether a text is HTML or a fragment of it."""
    return _MARKUP.search(text) is not None


def lines_of_markup(text: str) -> str:
    """Return the displayed text of a page, line by line.

    Raises:
        ValueError: its markup is broken.
    """
    reader = _Reader()
    try:
        reader.feed(text)
        reader.close()
    except AssertionError as error:  # the parser's answer to a broken declaration
        raise ValueError(str(error)) from None
    return "".join(reader.shown)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.shown: list[str] = []
        self._unseen = 0
        self._in_row = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        del attrs
        if tag in _UNSEEN:
            self._unseen += 1
        elif tag == "tr":
            self._in_row = True
            self.shown.append("\n")
        elif tag not in _CELLS and tag not in _INLINE:
            self.shown.append(" " if self._in_row else "\n")

    def handle_endtag(self, tag: str) -> None:
        if tag in _UNSEEN:
            self._unseen = max(0, self._unseen - 1)
        elif tag in _CELLS:
            self.shown.append("\t")
        elif tag in {"tr", "table"}:
            self._in_row = False
            self.shown.append("\n")
        elif tag not in _INLINE:
            self.shown.append(" " if self._in_row else "\n")

    def handle_data(self, data: str) -> None:
        if not self._unseen:
            self.shown.append(_BLANKS.sub(" ", data))
