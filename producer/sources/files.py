"""Pictures that are files: a folder with its subfolders, a glob, one file."""

from __future__ import annotations

import os
import re
from fnmatch import translate
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from producer.sources.source import Row, Source, printable
from visionq.errors import InvalidSource
from visionq.images.kinds import HEAD_BYTES, KINDS, format_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from producer.sources.source import BadRow

#: Suffixes of files that are looked at; their content decides which are taken.
PICTURE_SUFFIXES: Final = frozenset(
    (
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif"),
        *(".bmp", ".tif", ".tiff", ".avif", ".heic", ".heif"),
    )
)
#: What systems leave between pictures: thumbnails, copies, deleted files.
JUNK: Final = frozenset(
    (
        *("@eadir", "#recycle", "$recycle.bin", "__macosx", "lost+found"),
        *("system volume information", "thumbs.db", "ehthumbs.db", "desktop.ini"),
    )
)
#: The name under which hidden files and folders are counted.
HIDDEN: Final = "hidden"
_MAGIC: Final = re.compile(r"[*?\[]")


class Files(Source):
    """Files below a folder, in the order of their names; ids are names relative to the folder.

    Only the names of one directory are in memory at a time. Hidden files and folders, `JUNK`, and
    links to folders, which may form a circle, are skipped.
    """

    columns = ("id", "file", "folder")
    _ids_may_repeat = False

    def __init__(
        self, folder: Path, description: str, pattern: re.Pattern[str] | None, depth: int
    ) -> None:
        self.description = description
        self._folder = folder
        #: None: any file with the suffix of a picture.
        self._pattern = pattern
        #: Depth of folders to look into; 0: no limit.
        self._depth = depth

    def fingerprint(self) -> str:
        """Return its address: the content of a folder may grow."""
        shape = self._pattern.pattern if self._pattern else "*"
        return f"files:{self._folder.resolve()}:{shape}"

    def _read(self) -> Iterator[tuple[int, Row | BadRow]]:
        self.skipped = 0
        self.passed_over.clear()
        for number, (name, path) in enumerate(self._files(self._folder, ""), 1):
            shown = printable(name)
            folder, _, file = shown.rpartition("/")
            variables = {"id": shown, "file": file, "folder": folder}
            yield number, Row(number, shown, (path,), variables, given=(shown,))

    def _files(self, folder: Path, below: str) -> Iterator[tuple[str, str]]:
        for name, path, is_folder in _entries(folder):
            if (junk := junk_in(name)) is not None:
                self.passed_over[junk] += 1
            elif is_folder:
                if not self._depth or below.count("/") + 1 < self._depth:
                    yield from self._files(Path(path), f"{below}{name}/")
            elif self._takes(f"{below}{name}", path):
                yield f"{below}{name}", path
            elif self._pattern is None:
                self.skipped += 1

    def _takes(self, name: str, path: str) -> bool:
        if self._pattern is not None:
            return self._pattern.fullmatch(name) is not None
        suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122  # of millions of names
        return suffix in PICTURE_SUFFIXES or (not suffix and is_picture(path))

    def _nothing(self) -> str:
        if self._pattern is not None:
            return "no file matches"
        return f"it contains no picture ({self.skipped} files of other kinds)"


def open_folder(path: Path) -> Files:
    """Return all pictures of a folder and its subfolders."""
    return Files(path, f"folder {path}", None, 0)


def open_file(path: Path) -> Files:
    """Return a source of one picture."""
    return Files(path.parent, f"picture {path}", re.compile(re.escape(path.name)), 1)


def has_magic(spec: str) -> bool:
    """Return whether a name contains wildcards."""
    return _MAGIC.search(spec) is not None


def open_glob(pattern: str) -> Files:
    """Return the files that match a glob; only `**` crosses folders.

    Raises:
        InvalidSource: the part before the first wildcard is not a folder.
    """
    parts = Path(pattern).parts
    fixed = next(place for place, part in enumerate(parts) if has_magic(part))
    folder, rest = Path(*parts[:fixed]), parts[fixed:]
    if not folder.is_dir():
        raise InvalidSource(f"{pattern}: there is no folder {folder}")
    depth = 0 if "**" in rest else len(rest)
    return Files(folder, f"glob {pattern}", re.compile(_as_regex(rest)), depth)


def folder_of(spec: str) -> Path | None:
    """Return the folder that names of a source are relative to, or None."""
    path = Path(spec)
    if path.is_dir():
        return path
    if path.is_file():
        return path.parent
    fixed = Path(*takewhile(lambda part: not has_magic(part), path.parts))
    return fixed if has_magic(spec) and fixed.is_dir() else None


def _as_regex(parts: tuple[str, ...]) -> str:
    """Return a regular expression for relative names with `/` between their parts."""
    pieces = []
    for place, part in enumerate(parts):
        last = place == len(parts) - 1
        if part == "**":
            pieces.append(".*" if last else "(?:[^/]+/)*")
            continue
        # `translate` wraps its pattern as `(?s:…)\Z`; neither wildcard may cross a slash.
        inner = translate(part).removeprefix("(?s:").removesuffix(r")\Z")
        pieces.append(inner.replace(".*", "[^/]*") + ("" if last else "/"))
    return "".join(pieces)


def is_picture(path: str | Path) -> bool:
    """Return whether a file begins like a picture that a model takes."""
    try:
        with Path(path).open("rb") as file:
            return format_of(file.read(HEAD_BYTES)) in KINDS
    except OSError:
        return False


def _entries(folder: Path) -> list[tuple[str, str, bool]]:
    """Return (name, path, whether it is a folder) of each entry, sorted by name."""
    try:
        with os.scandir(folder) as entries:
            found = [
                (entry.name, entry.path, entry.is_dir(follow_symlinks=False))
                for entry in entries
                if entry.is_dir(follow_symlinks=False) or entry.is_file()
            ]
    except OSError as error:
        raise InvalidSource(f"{folder}: can't be read: {error.strerror}") from None
    return sorted(found)


def junk_in(name: str) -> str | None:
    """Return the part of a name that makes it junk, `HIDDEN`, or None."""
    for part in name.split("/"):
        if part.lower() in JUNK:
            return part
        if part.startswith("."):
            return HIDDEN
    return None
