"""OUT.jsonl, the record of a run: append rows durably, repair and sort it."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from producer.run.record_index import Index, Rows, check_begins_as_record, entry_of, read_into
from producer.run.rows import to_line
from visionq.errors import RecordFailed, RecordRefused
from visionq.user_files import draft_of, free_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from producer.run.record_index import IndexEntry

#: Bytes of a row with a short answer.
_ROW_BYTES: Final = 900
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)


class Record:
    """The open file, locked for this run, and its index.

    A row counts once its line is complete and durable; a partial line after the last complete one,
    left by a crash or a full disk, is cut off.
    """

    def __init__(self, path: Path, *, fresh: bool = False) -> None:
        """Open, lock and read the file; with `fresh`, ignore its content.

        Raises:
            RecordRefused: it can't be written, another run uses it, or a line is not a row.
        """
        self.path = path
        self.index = Index()
        self.question: str | None = None
        self._size = 0
        self._descriptor = _opened(path)
        try:
            if fresh:
                check_begins_as_record(path)
            else:
                self._size, self.question = read_into(self.index, path)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Unlock the file, and remove it if it is empty."""
        if os.fstat(self._descriptor).st_size == 0:
            with suppress(OSError):
                self.path.unlink()
        os.close(self._descriptor)
        self.index.close()

    def begin(self) -> None:
        """Cut off a partial line; with `fresh`, move the content to `….bak`.

        Raises:
            RecordFailed: it can't be written.
        """
        if os.fstat(self._descriptor).st_size == self._size:
            if shutil.disk_usage(self.path.parent).free == 0:  # before anything is paid
                raise RecordFailed(f"{self.path}: {_reason(OSError(errno.ENOSPC, ''))}")
            return
        try:
            if not self._size:
                shutil.copyfile(self.path, free_name(self.path))
            os.ftruncate(self._descriptor, self._size)
        except OSError as error:
            raise RecordFailed(f"{self.path}: {_reason(error)}") from None

    def room_is_short(self, rows: int) -> str | None:
        """Return a warning if the disk has hardly room for more `rows`, else None."""
        free = shutil.disk_usage(self.path.parent).free
        if (needed := rows * _ROW_BYTES) < free:
            return None
        return (
            f"OUT will grow by about {needed / 1e6:,.0f} MB, and {free / 1e6:,.0f} MB are free in"
            f" {self.path.parent}: when the disk is full the run stops, and nothing is lost"
        )

    def check(self, fingerprint: str) -> None:
        """Check that the rows answer the question with this fingerprint.

        Raises:
            RecordRefused: they answer another one.
        """
        if self.question not in (None, fingerprint):
            raise RecordRefused(
                f"{self.path}: contains answers to another prompt, model, detail or schema:"
                " choose another OUT, or start again with --fresh, which moves them to OUT.bak"
            )

    def check_origin(self, *, simulates: bool | None) -> None:
        """Check that answers of the simulator and of a model are not mixed.

        `simulates`: whether the simulator will answer; None if that is not known here.

        Raises:
            RecordRefused: they would be mixed.
        """
        simulated, real = self.index.origins()
        if simulates is False and simulated:
            held, coming = f"{simulated:,} rows of the simulator", "a model"
        elif simulates and real:
            held, coming = f"{real:,} answers of a model", "the simulator"
        else:
            return
        raise RecordRefused(
            f"{self.path}: contains {held}, and now {coming} would answer:"
            " choose another OUT, or start again with --fresh, which moves them to OUT.bak"
        )

    def append(self, rows: Sequence[dict[str, Any]]) -> None:
        """Write rows durably.

        Raises:
            RecordFailed: the disk is full or the file can't be written; no partial row remains.
        """
        lines = [to_line(row) for row in rows]
        try:
            _write(self._descriptor, b"".join(lines), self._size)
        except OSError as error:
            with suppress(OSError):  # the next start cuts it off
                os.ftruncate(self._descriptor, self._size)
            raise RecordFailed(f"{self.path}: {_reason(error)}") from None
        self.index.add(self._entries(rows, lines))

    def _entries(
        self, rows: Sequence[dict[str, Any]], lines: Sequence[bytes]
    ) -> Iterator[IndexEntry]:
        for row, line in zip(rows, lines, strict=True):
            yield entry_of(row, self._size, len(line))
            self._size += len(line)

    def row(self, entry: IndexEntry) -> dict[str, Any]:
        """Return the row of an index entry."""
        found: dict[str, Any] = json.loads(os.pread(self._descriptor, entry.length, entry.start))
        return found

    def rows(self, *, ordered: bool) -> Rows:
        """Return each row once; `ordered`: in the order of the source."""
        # The file that was opened: `settle` may have replaced it.
        return Rows(self._descriptor, self.index, ordered=ordered)

    def settle(self, *, ordered: bool) -> None:
        """Keep only the last line of each row; `ordered`: sorted as the source.

        The file is replaced atomically.

        Raises:
            RecordFailed: there is no room for a second copy; the record is unchanged.
        """
        rows, _ = self.index.count()
        if not ordered and self.index.lines == rows:
            return
        draft = draft_of(self.path)
        try:
            with draft.open("xb") as file:
                for start, length in self.index.in_order(of_source=ordered):
                    file.write(os.pread(self._descriptor, length, start))
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self.path)
        except OSError as error:
            with suppress(OSError):
                draft.unlink(missing_ok=True)
            raise RecordFailed(
                f"{self.path}: can't be sorted: {_reason(error)}; no row is lost"
            ) from None


def _opened(path: Path) -> int:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise RecordRefused(f"{path}: {_unwritable(path, error)}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # A run that has just ended may have removed or replaced it.
        replaced = not path.exists() or os.fstat(descriptor).st_ino != path.stat().st_ino
    except OSError as error:
        os.close(descriptor)
        busy = error.errno in (errno.EWOULDBLOCK, errno.EACCES)
        reason = "another run is writing it" if busy else f"can't be locked: {error.strerror}"
        raise RecordRefused(f"{path}: {reason}") from None
    if replaced:
        os.close(descriptor)
        return _opened(path)
    return descriptor


def _write(descriptor: int, content: bytes, start: int) -> None:
    """Write all of it durably; a nearly full disk may take it in parts."""
    view = memoryview(content)
    while view:
        written = os.pwrite(descriptor, view, start)
        view, start = view[written:], start + written
    os.fsync(descriptor)


def _unwritable(path: Path, error: OSError) -> str:
    if error.errno == errno.ENOENT and not path.parent.is_dir():
        return f"there is no folder {path.parent}: create it, or choose another OUT"
    if error.errno in _FULL:
        return _reason(error)
    return f"{_reason(error)}: choose another OUT"


def _reason(error: OSError) -> str:
    if error.errno in _FULL:
        return "the disk is full; make room and run the same command again"
    return f"can't be written: {error.strerror}"
