"""OUT.jsonl, the record of a run: appended to, made durable, repaired and put in order."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from producer.outputs import RecordFailed, RecordRefused
from producer.run.record_index import Index, Rows, check_begins_as_record, entry_of, read_into
from producer.run.rows import to_line
from visionq.output_files import draft_of, free_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from producer.run.record_index import IndexEntry

#: Of a row with a short answer.
_ROW_BYTES: Final = 900
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)


class Record:
    """The open file, locked for this run alone, and what stands in it.

    A row counts once its line is whole and durable; what a crash or a full disk left of a line
    behind the last whole one is cut off.
    """

    def __init__(self, path: Path, *, fresh: bool = False) -> None:
        """Open, lock and repair the file; with `fresh` its content is let be until `begin`.

        Raises:
            RecordRefused: it can't be written, another run has it, or a line of it is no row.
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
        """Give the file free; one in which nothing stands goes."""
        if os.fstat(self._descriptor).st_size == 0:
            with suppress(OSError):
                self.path.unlink()
        os.close(self._descriptor)
        self.index.close()

    def begin(self) -> None:
        """Cut off what is no whole line; what `fresh` lets go is kept beside it, as `….bak`.

        Raises:
            RecordFailed: it can't be written.
        """
        if os.fstat(self._descriptor).st_size == self._size:
            if shutil.disk_usage(self.path.parent).free == 0:  # told before anything is paid
                raise RecordFailed(f"{self.path}: {_reason(OSError(errno.ENOSPC, ''))}")
            return
        try:
            if not self._size:
                shutil.copyfile(self.path, free_name(self.path))
            os.ftruncate(self._descriptor, self._size)
        except OSError as error:
            raise RecordFailed(f"{self.path}: {_reason(error)}") from None

    def room_is_short(self, rows: int) -> str | None:
        """Return what to say where the disk has hardly room for so many more rows."""
        free = shutil.disk_usage(self.path.parent).free
        if (needed := rows * _ROW_BYTES) < free:
            return None
        return (
            f"OUT will grow by about {needed / 1e6:,.0f} MB, and {free / 1e6:,.0f} MB are free in"
            f" {self.path.parent}: where the disk is full the run stops, and nothing is lost"
        )

    def check(self, fingerprint: str) -> None:
        """See that what stands here answers the same question.

        Raises:
            RecordRefused: it does not.
        """
        if self.question not in (None, fingerprint):
            raise RecordRefused(
                f"{self.path}: holds answers to another prompt, model, detail or schema:"
                " choose another OUT, or --fresh to begin anew: what it holds then goes to OUT.bak"
            )

    def check_origin(self, *, simulates: bool | None) -> None:
        """See that answers of the simulator and of a model do not come into one file.

        `simulates` says which are to come; None: that is not known here.

        Raises:
            RecordRefused: they would.
        """
        simulated, real = self.index.origins()
        if simulates is False and simulated:
            held, coming = f"{simulated:,} rows of the simulator", "a model"
        elif simulates and real:
            held, coming = f"{real:,} answers of a model", "the simulator"
        else:
            return
        raise RecordRefused(
            f"{self.path}: holds {held}, and now {coming} would answer:"
            " choose another OUT, or --fresh to begin anew: what it holds then goes to OUT.bak"
        )

    def append(self, rows: Sequence[dict[str, Any]]) -> None:
        """Write rows and return when they are durable.

        Raises:
            RecordFailed: the disk is full or the file can't be written; no part of a row stays.
        """
        lines = [to_line(row) for row in rows]
        try:
            _write(self._descriptor, b"".join(lines), self._size)
        except OSError as error:
            with suppress(OSError):  # then the next start cuts it off
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
        """Return the row that stands at an entry of the index."""
        found: dict[str, Any] = json.loads(os.pread(self._descriptor, entry.length, entry.start))
        return found

    def rows(self, *, ordered: bool) -> Rows:
        """Return what stands here, each row once; `ordered`: as the source has them."""
        # The file that was opened: `settle` may have put another in its place.
        return Rows(self._descriptor, self.index, ordered=ordered)

    def settle(self, *, ordered: bool) -> None:
        """Leave one line a row: the last; with `ordered`, in the order of the source.

        The file is replaced at once, so that a crash leaves the old one or the new one.

        Raises:
            RecordFailed: there is no room for a second copy; the record stays as it was.
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
                f"{self.path}: can't be put in order: {_reason(error)}; no row is lost"
            ) from None


def _opened(path: Path) -> int:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise RecordRefused(f"{path}: {_unwritable(path, error)}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # A run that ended just now may have removed it, or put another in its place.
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
    """Write all of it, durably; a full disk may take a part of it first."""
    view = memoryview(content)
    while view:
        written = os.pwrite(descriptor, view, start)
        view, start = view[written:], start + written
    os.fsync(descriptor)


def _unwritable(path: Path, error: OSError) -> str:
    if error.errno == errno.ENOENT and not path.parent.is_dir():
        return f"there is no folder {path.parent}: make it, or choose another OUT"
    if error.errno in _FULL:
        return _reason(error)
    return f"{_reason(error)}: choose another OUT"


def _reason(error: OSError) -> str:
    if error.errno in _FULL:
        return "the disk is full; make room and run the same command again"
    return f"can't be written: {error.strerror}"
