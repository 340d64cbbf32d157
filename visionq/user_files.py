"""Files that commands write: their directories, and names that no other file has."""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


def user_directory(kind: str, fallback: str, environ: Mapping[str, str]) -> Path:
    """Return visionq's directory below `$XDG_<kind>_HOME`, by default below `~/<fallback>`."""
    base = environ.get(f"XDG_{kind}_HOME", "")
    # The XDG specification asks to ignore a relative path.
    return (Path(base) if Path(base).is_absolute() else Path.home() / fallback) / "visionq"


def keep_copy(path: Path) -> Path:
    """Move a file to a free name beside it, and return that."""
    kept = free_name(path)
    path.rename(kept)
    return kept


def free_name(path: Path) -> Path:
    """Return `….bak`, or `….bak2` and so on where that is taken."""
    endings = chain([".bak"], (f".bak{number}" for number in count(2)))
    names = (path.with_name(path.name + ending) for ending in endings)
    return next(name for name in names if not os.path.lexists(name))


def draft_of(path: Path) -> Path:
    """Return a unique name for a file while it is written."""
    return path.with_name(f"{path.name}.{os.getpid()}-{os.urandom(4).hex()}.part")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a draft that replaces `path` after the block; a failure leaves no draft."""
    draft = draft_of(path)
    try:
        yield draft
        draft.replace(path)
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)


def is_same(one: Path, other: Path) -> bool:
    """Return whether two names lead to one file, links of both kinds followed."""
    try:
        return one.samefile(other)
    except (OSError, ValueError):
        return False
