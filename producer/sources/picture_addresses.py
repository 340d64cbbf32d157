"""Addresses of pictures as people write them into tables and lists."""

from __future__ import annotations

import os
import re
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

from producer.sources.files import PICTURE_SUFFIXES
from visionq.sdk.images import is_url
from visionq.submission import is_data_url

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: What is not seen: byte order marks, joiners, soft hyphens.
_INVISIBLE: Final = re.compile("[\u00ad\u200b-\u200d\u2060\ufeff]")
_BLANKS: Final = re.compile(r"\s+")
_FILE: Final = "file://"
_STORE: Final = "s3://"
#: Where an address with a scheme begins behind another address.
_NEXT: Final = re.compile(r"[\s,;|]+(?=(?:https?|s3|file)://|data:)", re.IGNORECASE)
#: What stands in no name.
_LINES: Final = re.compile(r"\s*[|\r\n]\s*")
#: A comma or semicolon separates only behind the ending of a picture: names hold them too.
_BEHIND_PICTURE: Final = re.compile(
    f"(?:{'|'.join(f'(?<={re.escape(ending)})' for ending in sorted(PICTURE_SUFFIXES))})"
    r"\s*[,;]\s*",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Address:
    """One picture: as it was written, and where that is."""

    given: str
    located: str


def clean(text: str) -> str:
    """Return a text without what is not seen, its blanks made one space each."""
    return _BLANKS.sub(" ", _INVISIBLE.sub("", text)).strip()


def addresses_in(text: str, folder: Path) -> list[Address]:
    """Return the pictures that a cell or a line names: one, or several with separators between.

    The name of a file that is there is one name, whatever stands in it.
    """
    whole = text if is_data_url(text) else _INVISIBLE.sub("", text).strip()
    if not whole:
        return []
    if not _has_scheme(whole) and (found := _find_file(whole, folder)) is not None:
        return [Address(whole, found)]
    return [locate(part, folder) for part in _parts(whole)]


def locate(given: str, folder: Path) -> Address:
    """Return the address of one picture, the name of a file relative to `folder` resolved."""
    if is_data_url(given) or given.startswith(_STORE):
        return Address(given, given)
    if is_url(given):
        return Address(given, given.strip().replace(" ", "%20"))
    name = _path_of(given) if given.lower().startswith(_FILE) else given
    found = _find_file(name, folder)
    return Address(given, str(folder / name) if found is None else found)


def _parts(text: str) -> Iterator[str]:
    for part in _NEXT.split(text):
        if is_data_url(part):
            yield part
            continue
        for line in _LINES.split(part):
            names = [line] if _has_scheme(line) else _BEHIND_PICTURE.split(line)
            yield from (name for one in names if (name := one.strip().rstrip(",;").strip()))


def _has_scheme(text: str) -> bool:
    return is_url(text) or text[:7].lower().startswith((_STORE, _FILE))


def _path_of(url: str) -> str:
    """Return the path of a `file://` address; a host in it, as `localhost`, is of no matter."""
    path = unquote(urlsplit(url).path)
    # `file:///C:/photos/a.jpg`: a drive is no folder below the root.
    return path[1:] if re.match(r"/[A-Za-z]:/", path) else path


def _find_file(name: str, folder: Path) -> str | None:
    """Return the path under which a file is there.

    Tables come from Windows and archives from a Mac: a backslash may stand for a slash, and `й`
    and `ё` are one character in the one and two in the other.
    """
    return next((path for path in _spellings(name, folder) if os.path.exists(path)), None)  # noqa: PTH110  # false for what can be no path, where `Path.exists` may raise


def _spellings(name: str, folder: Path) -> Iterator[str]:
    slashed = name.replace("\\", "/")
    for text in dict.fromkeys((name, slashed)):
        for form in (None, "NFC", "NFD"):
            spelled = text if form is None else unicodedata.normalize(form, text)
            yield str(folder / spelled)
    if slashed.startswith("~/"):
        yield os.path.expanduser(slashed)  # noqa: PTH111  # leaves what has no home as it is
