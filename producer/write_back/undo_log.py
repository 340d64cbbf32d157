"""The undo log: what each file held before it was written, so that all of it can be taken back."""

from __future__ import annotations

import base64
import fcntl
import hashlib
import json
import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, Final

from visionq.blobs import sha256_of
from visionq.errors import RecordFailed, RecordRefused
from visionq.user_files import replacing

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path


#: Bytes that are searched at a time for the end of a line.
_STEP: Final = 1 << 16


def sha256_of_file(path: Path) -> str | None:
    """Return the sha256 of a file; None if it is absent.

    Raises:
        RecordRefused: it can't be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise RecordRefused(f"{path}: can't be read: {error.strerror}") from None


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """One file that was written: its hashes, and what it held before."""

    path: str
    before: str | None
    after: str
    #: The content before, if it was small.
    content: bytes | None = None
    #: The copy of the file before, if it was large.
    copy: str | None = None

    def to_line(self) -> bytes:
        """Return the line of the log."""
        content = None if self.content is None else base64.b64encode(self.content).decode()
        fields = {
            "path": self.path, "before": self.before, "after": self.after,
            "content": content, "copy": self.copy,
        }  # fmt: skip
        return json.dumps(fields, ensure_ascii=False).encode("utf-8", "surrogateescape") + b"\n"


class UndoLog:
    """A JSONL beside OUT. A line is durable before its file changes."""

    def __init__(self, path: Path) -> None:
        """Read the log, if there is one.

        Raises:
            RecordRefused: it can't be read, or a line is not of a log.
        """
        self.path = path
        self._after: dict[str, str] = {}
        self._first: dict[str, str | None] = {}
        for one in _read(path):
            self._note(one)

    def is_ours(self, path: Path) -> bool:
        """Return whether the file is as it was last written."""
        after = self._after.get(str(path))
        return after is not None and after == sha256_of_file(path)

    def original(self, path: Path) -> str | None:
        """Return the hash of an unchanged file before it was first written."""
        return self._first.get(str(path)) if self.is_ours(path) else None

    def replace(self, path: Path, content: bytes, before: bytes | None) -> None:
        """Replace a file atomically, noting what it held.

        Raises:
            RecordFailed: the log or the file can't be written; the file is unchanged.
        """
        after = sha256_of(content)
        held = None if before is None else sha256_of(before)
        self.note(WrittenFile(str(path), held, after, before))
        replace_file(path, content)

    def note(self, written: WrittenFile) -> None:
        """Append a line durably, before the file changes.

        Raises:
            RecordFailed: the log can't be written.
        """
        try:
            with self.path.open("a+b") as file:
                fcntl.flock(file, fcntl.LOCK_EX)  # of another `visionq write`
                _drop_torn_line(file)
                file.write(written.to_line())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise RecordFailed(f"{self.path}: can't be written: {error.strerror}") from None
        self._note(written)

    def keep_original(self, path: Path, digest: str) -> Path:
        """Keep a whole, durable copy of a file, and return it.

        Raises:
            RecordFailed: it can't be copied.
            RecordRefused: the file has changed.
        """
        kept = self.copies / f"{digest}{path.suffix}"
        if sha256_of_file(kept) == digest:
            return kept
        try:
            self.copies.mkdir(exist_ok=True)
            with replacing(kept) as draft:
                shutil.copy2(path, draft)
                with draft.open("rb") as file:
                    os.fsync(file.fileno())
        except OSError as error:
            raise RecordFailed(f"{path}: can't be copied: {error.strerror}") from None
        if sha256_of_file(kept) != digest:
            kept.unlink()
            raise RecordRefused(f"{path}: it changed while it was read: left alone")
        return kept

    def _note(self, written: WrittenFile) -> None:
        if self._after.get(written.path) != written.before:  # first, or edited in between
            self._first[written.path] = written.before
        self._after[written.path] = written.after

    def entries(self) -> list[WrittenFile]:
        """Return what was written, latest first."""
        return list(_read(self.path))[::-1]

    def keep(self, paths: Collection[str]) -> None:
        """Keep only the lines of these files; without any, remove the log and its copies.

        Raises:
            RecordFailed: the log can't be written.
        """
        if paths:
            lines = (one.to_line() for one in _read(self.path) if one.path in paths)
            replace_file(self.path, b"".join(lines))
            return
        self.path.unlink(missing_ok=True)
        shutil.rmtree(self.copies, ignore_errors=True)

    @property
    def copies(self) -> Path:
        """The folder of files as they were before they were written."""
        return self.path.with_suffix(".originals")


def replace_file(path: Path, content: bytes) -> None:
    """Replace a file atomically, keeping its permissions.

    Raises:
        RecordFailed: it can't be written; it is unchanged.
    """
    try:
        with replacing(path) as draft:
            with draft.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            with suppress(FileNotFoundError):
                draft.chmod(path.stat().st_mode & 0o7777)
    except OSError as error:
        raise RecordFailed(f"{path}: can't be written: {error.strerror}") from None


def _read(path: Path) -> Iterator[WrittenFile]:
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n"):
                    return  # torn by a crash: its file was not changed
                yield _parsed(line, path, number)
    except FileNotFoundError:
        return
    except OSError as error:
        raise RecordRefused(f"{path}: can't be read: {error.strerror}") from None


def _drop_torn_line(file: IO[bytes]) -> None:
    """Cut off a last line that a crash or a full disk left unfinished."""
    end = file.seek(0, os.SEEK_END)
    start = end
    while start:
        step = min(start, _STEP)
        file.seek(start - step)
        found = file.read(step).rfind(b"\n")
        start -= step
        if found >= 0:
            start += found + 1
            break
    if start != end:
        file.truncate(start)


def _parsed(line: bytes, path: Path, number: int) -> WrittenFile:
    try:
        fields: dict[str, Any] = json.loads(line.decode("utf-8", "surrogateescape"))
        content = fields["content"]
        return WrittenFile(
            str(fields["path"]),
            fields["before"],
            str(fields["after"]),
            None if content is None else base64.b64decode(content),
            fields["copy"],
        )
    except (ValueError, KeyError, TypeError):
        raise RecordRefused(
            f"{path}: line {number} is not of an undo log: move the file away"
        ) from None
