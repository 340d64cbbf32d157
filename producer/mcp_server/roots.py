"""The folders that an agent may read, and the check that a source stays in them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from producer.sources import BadRow, open_source
from visionq.errors import InvalidSource
from visionq.sdk.images import is_url

if TYPE_CHECKING:
    from collections.abc import Iterable

    from producer.sources import Row, Source


@dataclass(frozen=True, slots=True)
class Roots:
    """Folders by their real paths."""

    folders: tuple[Path, ...]

    def path(self, name: str) -> Path:
        """Return the real path of a file or folder, relative to any root.

        Raises:
            InvalidSource: it is absent, or outside the roots, perhaps by a link.
        """
        for folder in self.folders:
            try:
                real = (folder / name).resolve(strict=True)
            except (OSError, ValueError, RuntimeError):
                continue
            if self._holds(real):
                return real
        raise InvalidSource(f"{name[:200]!r} is not in the folders that this server may read")

    def source(self, name: str) -> Source:
        """Open a source, none of whose rows leaves the roots or names a tenant.

        Raises:
            InvalidSource: it isn't, or can't be read.
        """
        source = open_source(str(self.path(name)))
        for row in source.rows():
            if not isinstance(row, BadRow):
                self._check(row)
        return source

    def picture(self, name: str) -> str:
        """Return the real path of a picture, or its web address.

        Raises:
            InvalidSource: it is neither.
        """
        return name if is_url(name) else str(self.path(name))

    def _check(self, row: Row) -> None:
        if "tenant" in row.overrides:
            raise InvalidSource(f"row {row.id!r} names a tenant: this server charges its own")
        for image in row.images:
            if is_url(image):
                continue
            if "://" in image or not self._holds(Path(image).resolve()):
                raise InvalidSource(f"row {row.id!r} names a picture outside of the folders")

    def _holds(self, real: Path) -> bool:
        return any(real.is_relative_to(folder) for folder in self.folders)


def open_roots(folders: Iterable[Path]) -> Roots:
    """Return the roots.

    Raises:
        InvalidSource: one is absent, no folder, or a link, which could lead elsewhere later.
    """
    found = []
    for folder in folders:
        if folder.is_symlink():
            raise InvalidSource(f"{folder}: this is a link: name the folder {folder.resolve()}")
        if not folder.is_dir():
            raise InvalidSource(f"{folder}: there is no such folder")
        found.append(folder.resolve())
    return Roots(tuple(found))
