"""The log file of a child: bounded in size, and readable while it grows."""

from __future__ import annotations

import os
import shutil
from typing import IO, TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

#: Bytes after which a log starts anew; one older part is kept.
LARGEST: Final = 20_000_000
_LONGEST_READ: Final = 1_000_000


class LogFile:
    """One file that a child appends to and its supervisor reads and bounds."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read_to = path.stat().st_size if path.exists() else 0

    def open_for_child(self) -> IO[bytes]:
        """Open for appending: a truncated log is continued at its new end."""
        return os.fdopen(os.open(self.path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600), "wb", 0)

    def note(self, line: str) -> None:
        """Append a line of the supervisor's own."""
        with self.open_for_child() as file:
            file.write(f"[up] {line}\n".encode())

    def new_lines(self) -> list[str]:
        """Return the whole lines that were written since the last call, and bound the file."""
        with self.path.open("rb") as file:
            file.seek(self._read_to)
            text = file.read(_LONGEST_READ)
            if len(text) < _LONGEST_READ:  # keep a line that is being written for the next time
                text = text[: text.rfind(b"\n") + 1]
            self._read_to += len(text)
            size = os.fstat(file.fileno()).st_size
        if size > LARGEST:
            shutil.copyfile(self.path, self.path.with_name(f"{self.path.name}.1"))
            os.truncate(self.path, 0)
            self._read_to = 0
        return text.decode("utf-8", "replace").splitlines()

    def tail(self, lines: int) -> list[str]:
        """Return the last lines, for a message about a child that failed."""
        return self.path.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]
