"""What pages for people have in common: their style, and small pictures."""

from __future__ import annotations

import base64
from html import escape
from typing import TYPE_CHECKING, Final

from producer.thumbnails import thumbnail
from visionq.submission import is_data_url

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Pixels of the longer side of a picture.
_SIDE: Final = 256
_STYLE: Final = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; --miss: #d334; --sure: #2a64; }
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 80rem; padding: 0 1rem }
h1 { font-size: 1.5rem; margin-bottom: .2rem } h2 { font-size: 1.15rem; margin-top: 2rem }
table { border-collapse: collapse; margin: .6rem 0 } .wide { overflow-x: auto }
th, td { border-bottom: 1px solid var(--line); padding: .35rem .7rem; text-align: left;
  vertical-align: top; overflow-wrap: anywhere }
thead th { border-bottom-width: 2px } tbody th { font-weight: 500; white-space: nowrap }
td.n { font-variant-numeric: tabular-nums; white-space: nowrap }
td.miss { background: var(--miss) } td.same { background: var(--sure) }
p.note { color: #777 } img { max-height: 10rem; max-width: 12rem }
li { margin: .25rem 0 } article { border: 1px solid var(--line); border-radius: 8px; margin: 1rem 0;
  padding: .7rem 1rem; display: flex; gap: 1rem; flex-wrap: wrap } article > div { flex: 1 1 30rem }
summary { cursor: pointer } h3 { font-size: 1rem; margin: 0 0 .3rem; overflow-wrap: anywhere }
"""
_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def page_begins(kind: str) -> str:
    """Return how pages of a kind begin: by this they are known."""
    return f"<!doctype html>\n<!-- visionq {kind} -->"


def html_page(kind: str, title: str, parts: Iterable[str]) -> str:
    """Return a page with these parts in its body; it loads nothing."""
    return "\n".join(
        (
            page_begins(kind),
            f'<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>',
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
            '<meta name="viewport" content="width=device-width"><style>',
            _STYLE,
            "</style></head><body>",
            *parts,
            "</body></html>\n",
        )
    )


def picture_of(image: str) -> str:
    """Return a small local picture as HTML; empty where it can't be made."""
    if "://" in image and not is_data_url(image):
        return ""
    small = thumbnail(image, _SIDE, "WEBP")
    if small is None:
        return ""
    data = base64.b64encode(small).decode()
    return f'<img alt="" src="data:image/webp;base64,{data}">'
