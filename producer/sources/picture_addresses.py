"""Parse addresses of pictures as people write them in tables and lists."""

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

#: Invisible characters: byte order marks, joiners, soft hyphens.
_INVISIBLE: Final = re.compile("[\u00ad\u200b-\u200d\u2060\ufeff]")
_BLANKS: Final = re.compile(r"\s+")
_FILE: Final = "file://"
_STORE: Final = "s3://"
#: The beginning of an address with a scheme, after another address.
_NEXT: Final = re.compile(r"[\s,;|]+(?=(?:https?|s3|file)://|data:)", re.IGNORECASE)
#: Separators that no name contains.
_LINES: Final = re.compile(r"\s*[|\r\n]\s*")
#: A comma or semicolon separates only after a picture's suffix: names contain them too.
_BEHIND_PICTURE: Final = re.compile(
    f"(?:{'|'.join(f'(?<={re.escape(ending)})' for ending in sorted(PICTURE_SUFFIXES))})"
    r"\s*[,;]\s*",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Address:
    """One picture: its address as written, and resolved."""

    given: str
    located: str


def clean(text: str) -> str:
    """Return a text without invisible characters, each run of blanks as one space."""
    return _BLANKS.sub(" ", _INVISIBLE.sub("", text)).strip()


def addresses_in(text: str, folder: Path) -> list[Address]:
    """Return the pictures that a cell or line names, one or several with separators.

    The name of an existing file is one name, separators or not.
    """
    whole = text if is_data_url(text) else _INVISIBLE.sub("", text).strip()
    if not whole:
        return []
    if not _has_scheme(whole) and (found := _find_file(whole, folder)) is not None:
        return [Address(whole, found)]
    return [locate(part, folder) for part in _parts(whole)]


def locate(given: str, folder: Path) -> Address:
    """Return the address of one picture; names of files are relative to `folder`."""
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
    """Return the path of a `file://` address; a host in it is ignored."""
    path = unquote(urlsplit(url).path)
    # `file:///C:/photos/a.jpg`: a drive is not a folder below the root.
    return path[1:] if re.match(r"/[A-Za-z]:/", path) else path


def _find_file(name: str, folder: Path) -> str | None:
    """Return the path of a file that exists under one of its spellings.

    Tables come from Windows and archives from macOS: a backslash may mean a slash, and `й` and
    `ё` are one character in Windows and two on macOS.
    """
    return next((path for path in _spellings(name, folder) if os.path.exists(path)), None)  # noqa: PTH110  # false for an invalid path, where `Path.exists` may raise


def _spellings(name: str, folder: Path) -> Iterator[str]:
    slashed = name.replace("\\", "/")
    for text in dict.fromkeys((name, slashed)):
        for form in (None, "NFC", "NFD"):
            spelled = text if form is None else unicodedata.normalize(form, text)
            yield str(folder / spelled)
    if slashed.startswith("~/"):
        yield os.path.expanduser(slashed)  # noqa: PTH111  # unchanged without a home directory
